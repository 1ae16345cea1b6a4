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
  const read = {
    ca: readPem(ca, 'CERTIFICATE'),
    cert: readPem(cert, 'CERTIFICATE'),
    key: readPem(key, 'PRIVATE KEY'),
  };
  try {
    return createSecureContext({ ...read, minVersion: 'TLSv1.2' });
  } catch (error) {
    const names = [cert ?? ca, key].filter((path) => path !== undefined).join(' and ');
    // OpenSSL's words name neither file nor key
    throw new UserError(`cannot use ${names} for TLS: ${messageOf(error)}`, {
      hint: 'the key must belong to the certificate, and have no passphrase',
    });
  }
}

function readPem(path: string | undefined, kind: string): Buffer | undefined {
  if (path === undefined) return undefined;
  const bytes = readFile(path);
  if (bytes.includes(`${kind}-----`)) return bytes;
  throw new UserError(`cannot use ${path} for TLS: expected a PEM file with a ${kind.toLowerCase()}`);
}

function readFile(path: string): Buffer {
  try {
    const { size } = statSync(path);
    if (size > MOST_BYTES) throw new Error(`it has ${size} bytes`);
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`cannot read ${path}: ${messageOf(error)}`, {
      hint: `the user that honeyport runs as must be able to read it (now ${process.geteuid?.()})`,
    });
  }
}
