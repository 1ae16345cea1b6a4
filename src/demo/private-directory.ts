import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Nobody but root can make anything here, unlike in /tmp. */
const PARENT = '/run';
const PREFIX = 'honeyport-demo-';

/** Makes a directory that is this process's alone; who is killed leaves it to `removeAbandonedDirectories`. */
export function createPrivateDirectory(parent = PARENT): string {
  // mode 0700
  return mkdtempSync(join(parent, `${PREFIX}${process.pid}-`));
}

/** Removes the directories of demos that were killed. Comes before one is made. */
export function removeAbandonedDirectories(parent = PARENT): void {
  for (const name of readdirSync(parent)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-[A-Za-z0-9]{6}$`).exec(name)?.[1];
    const path = join(parent, name);
    if (pid !== undefined && isAbandoned(Number(pid)) && isOurs(path)) removeDirectory(path);
  }
}

export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** One with our own number is of an earlier process that had the same. */
function isAbandoned(pid: number): boolean {
  return pid === process.pid || !existsSync(`/proc/${pid}`);
}

function isOurs(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === process.geteuid?.();
}
