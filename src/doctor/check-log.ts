import { lstatSync, type Stats, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { isErrnoException, messageOf } from '../errors.ts';
import { parseLine } from '../format/parse-line.ts';
import { deniedAt, type User } from '../system/access-rights.ts';
import { type LogTail, readLogTail } from '../system/log-tail.ts';
import { finding, note, orOk, type Result, RUN_AS_ROOT, skipped } from './result.ts';

export interface LogSubject {
  readonly path: string;
  /** Whom the listener runs as; undefined where that is not known. */
  readonly user: User | undefined;
  readonly now: number;
}

/** A line takes about 200 bytes. */
const LEAST_FREE_BYTES = 16 * 1024 * 1024;
const GROUP_OR_OTHERS = 0o022;

/** Whether the log is there, can be written by the listener, and ends in a line. */
export function checkLog(subject: LogSubject): Result[] {
  const { path } = subject;
  const stats = lookAt(path);
  if (typeof stats === 'string') return [noLog(path, stats), ...directoryResults(subject)];
  if (!stats.isFile()) return [finding(`${path} is no regular file`, `remove it: rm ${path}`)];
  const tail = tailOf(path);
  const results = [...rightResults(subject), ...directoryResults(subject), ...tailResults(path, tail)];
  return orOk(results, `${path} is there${lastText(tail, subject.now)}`);
}

/** Where it leads to, too: a link is a link in a directory of the listener's. */
function lookAt(path: string): Stats | string {
  try {
    return lstatSync(path);
  } catch (error) {
    return isErrnoException(error) ? error.code : messageOf(error);
  }
}

function noLog(path: string, code: string): Result {
  if (code === 'EACCES') return skipped(`${path}: permission denied`, RUN_AS_ROOT);
  return finding(
    `there is no log ${path}${code === 'ENOENT' ? '' : ` (${code})`}: fail2ban 1.0.2 does not start without it`,
    'start honeyport, which makes it: systemctl start honeyport',
  );
}

function rightResults({ path, user }: LogSubject): Result[] {
  const denied = user === undefined ? undefined : deniedAt(path, 'write', user);
  if (denied === undefined) return [];
  const advice = denied === path ? `chown honeyport: ${path}` : `chmod o+x ${denied}`;
  return [
    finding(`the listener's user (uid ${user!.uid}) may not write ${path}: ${denied} keeps it out`, advice),
  ];
}

function directoryResults({ path, user }: LogSubject): Result[] {
  const directory = dirname(path);
  const stats = statOf(directory);
  if (stats === undefined)
    return [
      finding(`there is no directory ${directory}`, `install -d -o honeyport -g honeyport ${directory}`),
    ];
  return [
    ...(stats.mode & GROUP_OR_OTHERS && !(stats.mode & 0o1000) ? [openToMany(directory, stats)] : []),
    ...(user !== undefined && deniedAt(directory, 'write', user) !== undefined
      ? [noNewLog(directory, user)]
      : []),
    ...spaceResults(directory),
  ];
}

function openToMany(directory: string, { mode }: Stats): Result {
  const text = (mode & 0o7777).toString(8).padStart(4, '0');
  return finding(
    `${directory} may be written by its group or by everybody (mode ${text}): logrotate refuses to rotate in it`,
    `chmod go-w ${directory}`,
  );
}

function noNewLog(directory: string, { uid }: User): Result {
  return finding(
    `the listener's user (uid ${uid}) may make no file in ${directory}: no log after a rotation, no allow list for fail2ban`,
    `chown honeyport: ${directory}`,
  );
}

function spaceResults(directory: string): Result[] {
  try {
    const { bavail, bsize, files, ffree } = statfsSync(directory);
    const free = bavail * bsize;
    const isFull = free < LEAST_FREE_BYTES || (files > 0 && ffree === 0);
    if (!isFull) return [];
    const what = free < LEAST_FREE_BYTES ? `${Math.floor(free / 1024)} KiB are free` : 'no inode is free';
    return [finding(`the disk of ${directory} is full: ${what}`, `make room: df -h ${directory}`)];
  } catch (error) {
    return [skipped(`whether the disk of ${directory} is full cannot be told: ${messageOf(error)}`)];
  }
}

function tailOf(path: string): LogTail | string {
  try {
    return readLogTail(path);
  } catch (error) {
    return isErrnoException(error) ? error.code : messageOf(error);
  }
}

function tailResults(path: string, tail: LogTail | string): Result[] {
  if (typeof tail === 'string') return [skipped(`${path} cannot be read: ${tail}`, RUN_AS_ROOT)];
  const { lines, isTorn } = tail;
  const foreign = lines.filter((line) => parseLine(line) === undefined).length;
  return [
    ...(isTorn ? [tornLine(path)] : []),
    ...(foreign > 0 ? [foreignLines(path, foreign, lines.length)] : []),
  ];
}

function tornLine(path: string): Result {
  return note(
    `the last line of ${path} is torn: the disk was full, or the machine went down`,
    'honeyport ends it when it opens the log: systemctl reload honeyport',
  );
}

function foreignLines(path: string, count: number, of: number): Result {
  return note(
    `${count} of the last ${of} lines of ${path} are none of honeyport's`,
    'give honeyport a log of its own, into which nobody else writes',
  );
}

function lastText(tail: LogTail | string, now: number): string {
  const line = typeof tail === 'string' ? undefined : tail.lines.at(-1);
  const time = line === undefined ? undefined : parseLine(line)?.event.time;
  if (time === undefined) return line === undefined ? ', without a line so far' : '';
  return `, its last line was written ${ageText(now - time)} ago`;
}

export function ageText(ageMs: number): string {
  const seconds = Math.max(0, Math.round(ageMs / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
