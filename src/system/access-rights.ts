import { type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Somebody whose rights are looked at, by numbers. */
export interface User {
  readonly uid: number;
  readonly gids: readonly number[];
}

export type Right = 'read' | 'write';

const BITS = { read: 4, write: 2, enter: 1 } as const;

/**
 * What keeps a user from reading or writing a path: the path itself, or a directory on the way that he may not enter.
 * Looks at owner, group and mode; access control lists and read-only mounts are not seen.
 *
 * @returns undefined where nothing does; the path itself where it is not there
 */
export function deniedAt(path: string, right: Right, user: User): string | undefined {
  if (user.uid === 0) return undefined;
  const closed = directoriesOf(path).find((directory) => !has('enter', statOf(directory), user));
  return closed ?? (has(right, statOf(path), user) ? undefined : path);
}

/** From the root down. */
function directoriesOf(path: string): string[] {
  const above = dirname(path);
  return above === path ? [] : [...directoriesOf(above), above];
}

function has(right: keyof typeof BITS, stats: Stats | undefined, { uid, gids }: User): boolean {
  if (stats === undefined) return false;
  const shift = stats.uid === uid ? 6 : gids.includes(stats.gid) ? 3 : 0;
  return ((stats.mode >> shift) & BITS[right]) !== 0;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
