import { closeSync, constants, openSync, readSync } from 'node:fs';
import { isErrnoException } from '../errors.ts';

const MOST_BYTES = 256 * 1024;

/**
 * The first 256 KiB of a file, nothing of one that is not there. Never waits, as for a FIFO.
 * @throws Error of the system, as for a file without right to read
 */
export function readHead(file: string): Buffer {
  const descriptor = openIfThere(file);
  if (descriptor === undefined) return Buffer.alloc(0);
  const buffer = Buffer.alloc(MOST_BYTES);
  let length = 0;
  try {
    for (let read = -1; read !== 0 && length < MOST_BYTES; length += read) {
      read = readSync(descriptor, buffer, length, MOST_BYTES - length, null);
    }
  } finally {
    closeSync(descriptor);
  }
  return buffer.subarray(0, length);
}

function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (isErrnoException(error) && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
