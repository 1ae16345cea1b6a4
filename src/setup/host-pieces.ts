import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { PackageFile } from '../installation/package-files.ts';
import { findAccount } from './accounts.ts';
import { type Sender, SOCKET_DIRECTORY } from './generated-files.ts';
import { isThere, keptPiece, type Piece } from './piece.ts';
import { line } from './plan.ts';
import { SERVICE_USER } from './service.ts';
import { isTrustedPath } from './trusted-path.ts';

/** Users that the file for systemd-sysusers names and the host has not. */
export async function accountPieces(files: readonly PackageFile[]): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for (const { source } of files.filter(({ target }) => target.includes('/sysusers.d/'))) {
    const names = [...readFileSync(source, 'utf8').matchAll(/^u!?\s+(honeyport[a-z0-9-]*)\s/gm)];
    for (const name of names.map((match) => match[1]!)) {
      if ((await findAccount(name)) !== undefined) continue;
      pieces.push({
        lines: [line('+', `user ${name}`)],
        changes: [{ kind: 'user', name, sysusers: source }],
      });
    }
  }
  return pieces;
}

/** The log's directory and an empty log, since fail2ban 1.0.2 does not start while a jail's log is missing. */
export function logPieces(root: string, log: string): Piece[] {
  const directory = dirname(log);
  if (isThere(root, log)) return [];
  if (!isTrustedPath(root, directory) || !isThere(root, dirname(directory)))
    return [
      keptPiece(log, 'not made: its directory may be replaced by others, or is missing; make it yourself'),
    ];
  const makeDirectory: Piece = {
    lines: [line('+', `${directory}/`)],
    changes: [{ kind: 'directory', path: directory, mode: 0o750, user: SERVICE_USER }],
  };
  const makeLog: Piece = {
    lines: [line('+', log)],
    changes: [{ kind: 'log', path: log, mode: 0o640, user: SERVICE_USER }],
  };
  return isThere(root, directory) ? [makeLog] : [makeDirectory, makeLog];
}

/** Where rsyslogd makes its socket; systemd-tmpfiles makes it again at each boot. */
export function socketPieces(senders: readonly Sender[]): Piece[] {
  const path = SOCKET_DIRECTORY;
  if (!senders.some(({ kind }) => kind === 'socket') || isThere('/', path)) return [];
  return [
    {
      lines: [line('+', `${path}/`)],
      changes: [{ kind: 'directory', path, mode: 0o750, user: undefined, group: SERVICE_USER }],
    },
  ];
}
