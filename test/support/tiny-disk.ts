import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A file system of `kibibytes`, unmounted and removed when the test ends. Needs root. */
export function mountTinyDisk(context: TestContext, kibibytes: number): string {
  const directory = mkdtempSync(join(tmpdir(), 'honeyport-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kibibytes}k`, 'honeyport-test', directory]);
  context.after(() => {
    execFileSync('umount', ['-l', directory]);
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** Bytes that can still be written. */
export function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/** Leaves no room, even where somebody else takes some of it meanwhile. @returns the file that takes it */
export function fillDisk(directory: string): string {
  const ballast = join(directory, 'ballast');
  try {
    writeFileSync(ballast, Buffer.alloc(freeBytes(directory)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return ballast;
}
