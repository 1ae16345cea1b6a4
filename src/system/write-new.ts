import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';

/**
 * Writes a file that must not be there, to the disk.
 * @param mode permission bits
 * @throws ErrnoException, EEXIST for whatever is there, a link included
 */
export function writeNew(path: string, bytes: Uint8Array | string, mode = 0o600): void {
  const fd = openSync(path, 'wx', mode);
  try {
    const rest = Buffer.from(bytes);
    for (let at = 0; at < rest.length; ) at += writeSync(fd, rest, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
