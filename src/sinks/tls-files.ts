import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { TlsFiles } from '../configuration/configuration.ts';
import { messageOf, UserError } from '../errors.ts';

/** Those that Debian and its kin trust; Node's own list knows nothing of what the administrator of the host added. */
const SYSTEM_AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt';
const MOST_BYTES = 4 << 20;

/** Certificates that are read from files, and again when these have changed. */
export interface TlsContext {
  /** @throws UserError when a file cannot be read, or is not what it should be */
  current(): SecureContext;
}

/** @throws UserError as `current` does */
export function openTlsContext(files: TlsFiles): TlsContext {
  const paths = pathsOf(files);
  let version = versionOf(paths);
  let context = contextOf(paths);
  return {
    current() {
      const now = versionOf(paths);
      // parsing a host's authorities takes milliseconds, in which no connection is accepted
      if (now !== version) context = contextOf(paths);
      version = now;
      return context;
    },
  };
}

interface Paths {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

function pathsOf({ ca, certificate, key }: TlsFiles): Paths {
  const system = existsSync(SYSTEM_AUTHORITIES) ? SYSTEM_AUTHORITIES : undefined;
  return { ca: ca ?? system, cert: certificate, key };
}

function versionOf(paths: Paths): string {
  return Object.values(paths)
    .map((path) => (path === undefined ? '' : versionOfFile(path)))
    .join('\n');
}

function versionOfFile(path: string): string {
  try {
    const { ino, mtimeMs, ctimeMs, size } = statSync(path);
    return `${ino} ${mtimeMs} ${ctimeMs} ${size}`;
  } catch (error) {
    // reading it says so
    return messageOf(error);
  }
}

function contextOf({ ca, cert, key }: Paths): SecureContext {
  const read = { ca: readCertificates(ca), cert: readCertificates(cert), key: readKey(key) };
  try {
    return createSecureContext({ ...read, minVersion: 'TLSv1.2' });
  } catch (error) {
    // of all files only the pair can still be wrong, and OpenSSL's words name neither
    throw new UserError(`cannot use ${cert} and ${key} for TLS: ${messageOf(error)}`, {
      hint: 'the key must belong to the certificate, and have no passphrase',
    });
  }
}

/** Node takes a file of authorities that has none, and then trusts nobody. */
function readCertificates(path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  const bytes = readFile(path);
  try {
    // the first of them
    new X509Certificate(bytes);
    return bytes;
  } catch {
    throw new UserError(`cannot use ${path} for TLS: expected a PEM file with a certificate`);
  }
}

function readKey(path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  const bytes = readFile(path);
  if (bytes.includes('PRIVATE KEY-----')) return bytes;
  throw new UserError(`cannot use ${path} for TLS: expected a PEM file with a private key`);
}

function readFile(path: string): Buffer {
  try {
    const stats = statSync(path);
    // a FIFO would keep the listener waiting for whoever writes to it
    if (!stats.isFile()) throw new Error('it is not a regular file');
    if (stats.size > MOST_BYTES) throw new Error(`it has ${stats.size} bytes`);
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`, {
      hint: `the user that honeyport runs as must be able to read it (now ${process.geteuid?.()})`,
    });
  }
}
