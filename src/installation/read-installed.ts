import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { isErrnoException } from '../errors.ts';

/** What is at a path. */
export type Installed =
  | { readonly kind: 'missing' }
  | { readonly kind: 'file'; readonly bytes: Uint8Array; readonly sha256: string; readonly mode: number }
  /** Neither read nor replaced. */
  | { readonly kind: 'other'; readonly what: string };

/** Configuration files are a hundredth of this. */
const MOST_BYTES = 4 * 1024 * 1024;

/** Reads a file, follows no symbolic link to it, and waits for nobody. @throws what the system refuses */
export function readInstalled(path: string): Installed {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return { kind: 'missing' };
  if (!stats.isFile()) return { kind: 'other', what: kindOf(stats) };
  if (stats.size > MOST_BYTES) return { kind: 'other', what: 'a file of more than 4 MiB' };
  return readFile(path);
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function readFile(path: string): Installed {
  const fd = openOrUndefined(path);
  if (fd === undefined) return { kind: 'other', what: 'a symbolic link' };
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) return { kind: 'other', what: kindOf(stats) };
    const bytes = readFileSync(fd);
    return { kind: 'file', bytes, sha256: sha256Of(bytes), mode: stats.mode & 0o7777 };
  } finally {
    closeSync(fd);
  }
}

function openOrUndefined(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrnoException(error) && error.code === 'ELOOP') return undefined;
    throw error;
  }
}

function kindOf(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link';
  return stats.isDirectory() ? 'a directory' : 'no regular file';
}
