import { closeSync, fsyncSync, lstatSync, mkdirSync, openSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isErrnoException, UserError } from '../errors.ts';
import { missingDirectories } from '../installation/compare-installed.ts';
import { JOURNAL_FILE } from '../installation/manifest.ts';
import { readInstalled } from '../installation/read-installed.ts';
import { writeNew } from '../system/write-new.ts';
import type { Leftovers } from './plan.ts';
import { requireTrustedPath } from './trusted-path.ts';

/**
 * What leads back from anywhere within an installation, or on from its end. It is on the disk before the first change,
 * and goes after the last one.
 */
export interface Journal {
  readonly verb: 'install' | 'uninstall';
  /** `back`: undo what was done. `on`: all is done, and what is left over goes. */
  readonly way: 'back' | 'on';
  /** In the order in which they are done. */
  readonly changes: readonly JournalChange[];
  /** Whether programs of the host may have been told something. */
  readonly isTold: boolean;
  /** What ran before. */
  readonly services: ServicesBefore;
  readonly leftovers: Leftovers;
  /** Directories that were made for the journal itself, outermost first. */
  readonly made: readonly string[];
}

export type JournalChange =
  | { readonly kind: 'file'; readonly path: string; readonly isNew: boolean }
  | { readonly kind: 'log'; readonly path: string }
  | { readonly kind: 'directory'; readonly path: string; readonly isUsers: boolean }
  | { readonly kind: 'user'; readonly name: string };

export interface ServicesBefore {
  readonly units: readonly { readonly name: string; readonly enabled: boolean; readonly active: boolean }[];
  /** Jails that use what is ours. */
  readonly jails: readonly string[];
  readonly readsUnits: boolean;
  readonly restartsRsyslog: boolean;
}

export const NO_SERVICES: ServicesBefore = {
  units: [],
  jails: [],
  readsUnits: false,
  restartsRsyslog: false,
};

/**
 * The journal of an installation that was cut off; undefined where there is none.
 * @throws UserError when somebody else may have written it
 */
export function readJournal(root: string): Journal | undefined {
  const path = join(root, JOURNAL_FILE);
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  requireTrustedPath(root, JOURNAL_FILE);
  const isOwn = stats.isFile() && stats.nlink === 1 && [0, process.geteuid!()].includes(stats.uid);
  if (!isOwn || (stats.mode & 0o022) !== 0) throw untrusted(path, 'a file that only root may write');
  const found = readInstalled(path);
  if (found.kind !== 'file') throw untrusted(path, 'a file');
  try {
    return JSON.parse(Buffer.from(found.bytes).toString()) as Journal;
  } catch {
    throw untrusted(path, 'JSON');
  }
}

function untrusted(path: string, expected: string): UserError {
  return new UserError(`${path}: expected ${expected}`, {
    hint: 'no installation leaves such a journal: look at it, and remove it',
    exitCode: 1,
  });
}

/** Puts the journal on the disk, whole or not at all. */
export function writeJournal(root: string, journal: Journal): void {
  const path = join(root, JOURNAL_FILE);
  const staged = stagedJournal(path);
  rmSync(staged, { force: true });
  writeNew(staged, `${JSON.stringify(journal)}\n`);
  renameSync(staged, path);
  syncDirectory(dirname(path));
}

/** The last thing of an installation, whichever way it went. */
export function removeJournal(root: string, made: readonly string[]): void {
  const path = join(root, JOURNAL_FILE);
  for (const file of [stagedJournal(path), path]) rmSync(file, { force: true });
  syncDirectory(dirname(path));
  for (const directory of made.toReversed()) removeIfEmpty(join(root, directory));
}

/** Makes the directory of the journal. @returns what was made, outermost first */
export function makeJournalDirectory(root: string): string[] {
  requireTrustedPath(root, JOURNAL_FILE);
  const missing = missingDirectories(root, JOURNAL_FILE);
  for (const directory of missing) mkdirSync(join(root, directory), { mode: 0o755 });
  return missing;
}

function stagedJournal(path: string): string {
  return `${path}.new~`;
}

/** @returns whether it is gone */
export function removeIfEmpty(directory: string): boolean {
  // where the file system is read-only, what is missing would be refused, too
  if (isMissing(directory)) return true;
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    if (isErrnoException(error) && error.code === 'ENOENT') return true;
    if (isErrnoException(error) && ['ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EBUSY'].includes(error.code))
      return false;
    throw error;
  }
}

export function isMissing(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) === undefined;
}

/** Names of files are on the disk when their directory is. */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
