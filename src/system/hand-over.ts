import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { isErrnoException, UserError } from '../errors.ts';

/** Who gets what root has made. */
export interface Heir {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** All groups that he is in. */
  readonly groups: readonly number[];
}

const DIRECTORY_MODE = 0o750;
const STICKY = 0o1000;

/**
 * As root, makes the directory of files, if it is missing, and gives the heir those of the files that are root's. He may
 * have put anything there, under any name: only what nobody but root can have put where it is changes hands.
 * @param paths absolute, all in one directory
 * @throws UserError when one of them is another name of a file of root's
 */
export function handOver(paths: readonly [string, ...string[]], heir: Heir): void {
  const directory = findOrMake(dirname(paths[0]), heir);
  if (directory === undefined) return;
  for (const path of paths) handOverFile(join(directory, basename(path)), path, heir);
}

/** The directory by the path that nobody but root can bend; undefined where there is none. */
function findOrMake(path: string, heir: Heir): string | undefined {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) makeDirectory(path, heir);
  return fixedPath(path, heir);
}

/** Where he could exchange it before it is his, he has to make it himself. */
function makeDirectory(path: string, { uid, gid, ...heir }: Heir): void {
  const parent = fixedPath(dirname(path), { uid, gid, ...heir });
  if (parent === undefined || isInReach(lstatSync(parent), { uid, gid, ...heir })) return;
  const directory = join(parent, basename(path));
  mkdirSync(directory);
  chmodSync(directory, DIRECTORY_MODE);
  chownSync(directory, uid, gid);
}

/** The path, if nobody but root can exchange a part of it; one with symbolic links is too much to vouch for. */
function fixedPath(path: string, heir: Heir): string | undefined {
  try {
    const real = realpathSync(path);
    const isFixed =
      real === normalize(path) && !parentsOf(real).some((parent) => isInReach(lstatSync(parent), heir));
    return isFixed ? real : undefined;
  } catch (error) {
    if (isErrnoException(error)) return undefined;
    throw error;
  }
}

function parentsOf(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...parentsOf(parent)];
}

/** Whether the heir, or anybody, can exchange what root has in a directory. In one that is sticky, as /tmp, he cannot. */
function isInReach({ uid, gid, mode }: Stats, { groups }: Heir): boolean {
  if (uid !== 0) return true;
  const isWritable = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && groups.includes(gid));
  return isWritable && (mode & STICKY) === 0;
}

function handOverFile(path: string, shown: string, { name, uid, gid }: Heir): void {
  const fd = openIfThere(path, shown, name);
  if (fd === undefined) return;
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.uid !== 0) return;
    // a hard link, which he may have made to any file that he sees
    if (stats.nlink !== 1) throw refusal(shown, 'another name of a file of root', name);
    fchownSync(fd, uid, gid);
  } finally {
    closeSync(fd);
  }
}

function openIfThere(path: string, shown: string, name: string): number | undefined {
  try {
    return openSync(
      path,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
  } catch (error) {
    if (!isErrnoException(error)) throw error;
    if (error.code === 'ELOOP' && statSync(path, { throwIfNoEntry: false })?.uid === 0)
      throw refusal(shown, 'a symbolic link to what belongs to root', name);
    // what else is wrong with it, the user will find when he opens it
    return undefined;
  }
}

function refusal(path: string, what: string, name: string): UserError {
  return new UserError(`${path} is ${what}: it is not given to user ${name}`, {
    hint: `see who made it (ls -li ${path}); remove it, or set log.file.path`,
  });
}
