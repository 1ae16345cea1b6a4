import { lstatSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from '../errors.ts';

/**
 * Sees that nobody but root, or who runs this, can put something else in the place of the directories that lead to a
 * path; and that below another root none of them leads out of it, as a symbolic link might.
 *
 * @throws UserError that names the directory
 */
export function requireTrustedPath(root: string, path: string): void {
  for (const directory of ancestors(path)) requireTrusted(root, directory);
}

/** Whether `requireTrustedPath` would pass. */
export function isTrustedPath(root: string, path: string): boolean {
  return ancestors(path).every((directory) => problemOf(root, directory) === undefined);
}

/** The directories above a path, outermost first, without the root. */
function ancestors(path: string): string[] {
  const directory = dirname(path);
  return directory === '/' ? [] : [...ancestors(directory), directory];
}

function requireTrusted(root: string, directory: string): void {
  const problem = problemOf(root, directory);
  if (problem === undefined) return;
  throw new UserError(`${join(root, directory)}: ${problem}`, {
    hint: 'whoever may write there could have honeyport change other files',
  });
}

function problemOf(root: string, directory: string): string | undefined {
  const stats = lstatSync(join(root, directory), { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (!isOwn(stats)) return `expected it to belong to root, got user ${stats.uid}`;
  if (stats.isSymbolicLink())
    return root === '/'
      ? undefined
      : 'expected a directory, got a symbolic link, which may lead out of the root';
  if (!stats.isDirectory()) return 'expected a directory, got something else';
  return (stats.mode & 0o002) === 0 ? undefined : 'expected a directory that not everybody may write to';
}

function isOwn({ uid }: Stats): boolean {
  return uid === 0 || uid === process.geteuid!();
}
