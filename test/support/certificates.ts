import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { requireProgram } from './programs.ts';

/** PEM files of a certificate and its key. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/** A certificate authority in a directory of the test. */
export interface Authority extends Certificate {
  /**
   * Signs a certificate.
   * @param names `DNS:siem.example` or `IP:127.0.0.1`, as openssl writes them; for a server, who it is
   * @param days 0 for one that has ended
   */
  issue(name: string, options?: { readonly names?: readonly string[]; readonly days?: number }): Certificate;
}

const TIMEOUT_MS = 30_000;

export function createAuthority(directory: string, name: string): Authority {
  const own = { certificate: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) };
  openssl(
    ...['req', '-x509', ...NEW_KEY, '-keyout', own.key, '-out', own.certificate, '-subj', `/CN=${name}`],
    ...['-days', '2', '-addext', 'basicConstraints=critical,CA:TRUE'],
  );
  return {
    ...own,
    issue(subject, { names = [], days = 1 } = {}) {
      const file = (suffix: string) => join(directory, `${name}-${subject}.${suffix}`);
      const issued = { certificate: file('pem'), key: file('key') };
      openssl(...['req', ...NEW_KEY, '-keyout', issued.key, '-out', file('csr'), '-subj', `/CN=${subject}`]);
      writeFileSync(file('ext'), names.length === 0 ? '' : `subjectAltName=${names.join(',')}\n`);
      openssl(
        ...['x509', '-req', '-in', file('csr'), '-CA', own.certificate, '-CAkey', own.key, '-CAcreateserial'],
        ...['-extfile', file('ext'), '-days', String(days), '-out', issued.certificate],
      );
      return issued;
    },
  };
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(...args: string[]): void {
  execFileSync(requireProgram('openssl'), args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: TIMEOUT_MS });
}
