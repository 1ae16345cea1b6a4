import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isErrnoException, UserError } from '../errors.ts';
import { readInstalled } from '../installation/read-installed.ts';
import { writeNew } from '../system/write-new.ts';
import type { Account } from './accounts.ts';
import { isMissing, type JournalChange, removeIfEmpty, syncDirectory } from './journal.ts';
import type { Change } from './plan.ts';

type Put = Extract<Change, { kind: 'put' }>;
type Remove = Extract<Change, { kind: 'remove' }>;
type Directory = Extract<Change, { kind: 'directory' }>;
type Log = Extract<Change, { kind: 'log' }>;

/**
 * Puts a file in its place, whole at any time. What was there keeps a second name until the end, so that the way back
 * needs no room on the disk and brings back the very file.
 */
export function putFile(root: string, { path, bytes, mode, was }: Put): void {
  const target = join(root, path);
  requireUnchanged(target, was);
  writeNew(staged(target), bytes);
  // umask has had its say when the file was made
  chmodSync(staged(target), mode);
  if (was === undefined) {
    // never over a file that came meanwhile; its first name tells later that it is ours
    linkSync(staged(target), target);
  } else {
    linkSync(target, kept(target));
    renameSync(staged(target), target);
  }
  syncDirectory(dirname(target));
}

export function removeFile(root: string, { path, was, ifEmpty }: Remove): void {
  const target = join(root, path);
  const stats = lstatSync(target, { throwIfNoEntry: false });
  if (stats === undefined || (ifEmpty && stats.size > 0)) return;
  if (was !== undefined) requireUnchanged(target, was);
  renameSync(target, kept(target));
  syncDirectory(dirname(target));
}

/** @param account whose it becomes, if anybody's */
export function makeDirectory(root: string, { path, mode }: Directory, account: Account | undefined): void {
  const target = join(root, path);
  mkdirSync(target, { mode: 0o700 });
  const fd = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if (account !== undefined) fchownSync(fd, account.uid, account.gid);
    fchmodSync(fd, mode);
  } finally {
    closeSync(fd);
  }
  syncDirectory(dirname(target));
}

/** Makes an empty file in a directory that somebody else may write to: never through a link, never over anything. */
export function makeLog(root: string, { path, mode }: Log, account: Account): void {
  const fd = openSync(
    join(root, path),
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    fchownSync(fd, account.uid, account.gid);
    fchmodSync(fd, mode);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Brings back what was at a path, however far the change came; again and again has the same effect.
 * @param isTold whether our service may have run meanwhile, so that what a log says is about nothing but that
 */
export function undoFileChange(root: string, change: JournalChange, isTold: boolean): void {
  if (change.kind === 'user') return;
  const target = join(root, change.path);
  if (change.kind === 'file' && change.isNew) takeBack(target);
  else if (change.kind === 'file') bringBack(target);
  else if (change.kind === 'log') removeLog(target, isTold);
  else removeDirectory(target, change.isUsers);
}

/** Removes what the way back would have needed. */
export function finishFileChange(root: string, change: JournalChange): void {
  if (change.kind !== 'file') return;
  const target = join(root, change.path);
  for (const name of [staged(target), kept(target)]) removeIfThere(name);
}

/** logrotate, fail2ban, rsyslog and systemd take no file whose name ends so. */
function staged(target: string): string {
  return join(dirname(target), `.${basename(target)}.honeyport-new~`);
}

function kept(target: string): string {
  return join(dirname(target), `.${basename(target)}.honeyport-old~`);
}

function requireUnchanged(target: string, was: string | undefined): void {
  const now = readInstalled(target);
  const sha256 = now.kind === 'file' ? now.sha256 : undefined;
  if (now.kind !== 'other' && sha256 === was) return;
  throw new UserError(`${target} was changed while honeyport was at work`, {
    hint: 'run it again',
    exitCode: 1,
  });
}

function takeBack(target: string): void {
  const first = lstatSync(staged(target), { throwIfNoEntry: false });
  if (first === undefined) return;
  if (lstatSync(target, { throwIfNoEntry: false })?.ino === first.ino) unlinkSync(target);
  unlinkSync(staged(target));
  syncDirectory(dirname(target));
}

function bringBack(target: string): void {
  if (lstatSync(kept(target), { throwIfNoEntry: false }) !== undefined) renameSync(kept(target), target);
  // rename(2) of two names of one file does nothing, and leaves both
  for (const name of [staged(target), kept(target)]) removeIfThere(name);
  syncDirectory(dirname(target));
}

function removeLog(target: string, isTold: boolean): void {
  const stats = lstatSync(target, { throwIfNoEntry: false });
  if (stats?.isFile() && (isTold || stats.size === 0)) removeIfThere(target);
}

/** What our programs leave in the directory of their log, and nothing else; never into a directory below it. */
const LEFT_BY_US = /^(honeyport|bans)\.(log|allow\.json)/;

function removeDirectory(target: string, isUsers: boolean): void {
  if (isUsers) removeFilesIn(target, LEFT_BY_US);
  removeIfEmpty(target);
}

/** Removes files by their names from a directory, which may be somebody's who would like to have others removed. */
export function removeFilesIn(directory: string, names: RegExp): void {
  for (const name of listOrEmpty(directory)) if (names.test(name)) removeIfThere(join(directory, name));
}

function listOrEmpty(directory: string): string[] {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(directory);
}

/** A link itself goes, a directory stays. */
function removeIfThere(path: string): void {
  if (isMissing(path)) return;
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isErrnoException(error) || !['ENOENT', 'ENOTDIR', 'EISDIR', 'EPERM'].includes(error.code))
      throw error;
  }
}
