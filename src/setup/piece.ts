import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Comparison } from '../installation/compare-installed.ts';
import { missingDirectories } from '../installation/compare-installed.ts';
import { JOURNAL_FILE, type ManifestFile } from '../installation/manifest.ts';
import { type Installed, readInstalled, sha256Of } from '../installation/read-installed.ts';
import type { GeneratedFile } from './generated-files.ts';
import { type Change, line } from './plan.ts';

/** A part of a plan. */
export interface Piece {
  readonly lines: readonly string[];
  readonly changes: readonly Change[];
  readonly refusals?: readonly string[];
  /** What the manifest says of it afterwards. */
  readonly records?: readonly ManifestFile[];
}

const FILE_MODE = 0o644;

/** Brings one of our own files to the package's. What was edited is kept beside it. */
export function shippedPiece(root: string, { path, state, bytes, installed }: Comparison): Piece {
  const records = [{ path, sha256: sha256Of(bytes), kind: 'shipped' as const }];
  switch (state) {
    case 'same':
      return { lines: [line('=', path)], changes: [], records };
    case 'missing':
      return { lines: [line('+', path)], changes: [put(path, bytes)], records };
    case 'other version':
      return { lines: [line('~', path)], changes: [put(path, bytes, installed)], records };
    case 'edited':
      return { ...keepBeside(root, path, installed as File, bytes), records };
    case 'foreign':
      return {
        lines: [],
        changes: [],
        refusals: [`${path}: expected none, or one of honeyport's, got ${whatIs(installed)}`],
      };
  }
}

type File = Extract<Installed, { kind: 'file' }>;

function whatIs(installed: Installed): string {
  return installed.kind === 'other' ? installed.what : "somebody else's file";
}

function keepBeside(root: string, path: string, edited: File, bytes: Uint8Array): Piece {
  const beside = freeName(root, path);
  return {
    lines: [line('~', path, `it was edited: kept as ${beside}`)],
    changes: [put(beside, edited.bytes, undefined, edited.mode), put(path, bytes, edited)],
  };
}

/** logrotate, fail2ban, rsyslog and systemd take no file whose name ends so. */
function freeName(root: string, path: string): string {
  for (let n = 0; ; n += 1) {
    const name = n === 0 ? `${path}~` : `${path}.${n}~`;
    if (readInstalled(join(root, name)).kind === 'missing') return name;
  }
}

function put(path: string, bytes: Uint8Array, before?: Installed, mode = FILE_MODE): Change {
  return { kind: 'put', path, bytes, mode, was: before?.kind === 'file' ? before.sha256 : undefined };
}

/**
 * A file that is written where there is none.
 * @param known what the manifest says of it
 */
export function generatedPiece(
  root: string,
  { path, text }: GeneratedFile,
  known: ManifestFile | undefined,
): Piece {
  const installed = readInstalled(join(root, path));
  const bytes = Buffer.from(text);
  if (installed.kind === 'missing') {
    const record = { path, sha256: sha256Of(bytes), kind: 'generated' as const };
    return { lines: [line('+', path)], changes: [put(path, bytes)], records: [record] };
  }
  return {
    lines: [line('!', path, 'kept: it is yours')],
    changes: [],
    records: known === undefined ? [] : [known],
  };
}

/** A file that is replaced without a word, such as the manifest. */
export function ownPiece(root: string, path: string, text: string): Piece {
  const before = readInstalled(join(root, path));
  const bytes = Buffer.from(text);
  if (before.kind === 'file' && before.sha256 === sha256Of(bytes))
    return { lines: [line('=', path)], changes: [] };
  return { lines: [line(before.kind === 'missing' ? '+' : '~', path)], changes: [put(path, bytes, before)] };
}

/** Removes a file that is as install left it. */
export function removalPiece(path: string, was: string | undefined, ifEmpty = false): Piece {
  return { lines: [line('-', path)], changes: [{ kind: 'remove', path, was, ifEmpty }] };
}

export function keptPiece(path: string, why: string): Piece {
  return { lines: [line('!', path, why)], changes: [] };
}

/** The directories that changes need and that are not there, outermost first, each once. */
export function directoryChanges(root: string, changes: readonly Change[]): Change[] {
  const paths = changes.flatMap((change) => ('path' in change ? [change.path] : []));
  const made = changes.flatMap((change) => (change.kind === 'directory' ? [change.path] : []));
  const missing = new Set(paths.flatMap((path) => missingDirectories(root, path)));
  // the journal, which is there before all changes, makes its own
  for (const path of [...made, ...missingDirectories(root, JOURNAL_FILE)]) missing.delete(path);
  return [...missing].map((path) => ({ kind: 'directory', path, mode: 0o755, user: undefined }));
}

export function isThere(root: string, path: string): boolean {
  return existsSync(join(root, path));
}
