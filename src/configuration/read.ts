import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { ConfigurationError, messageOf } from '../errors.ts';
import { printable } from './printable.ts';

/** A configuration that names every port one by one stays below a tenth of this. */
const MOST_BYTES = 1024 * 1024;

/**
 * The bytes of a regular file of at most 1 MiB. Never waits: a FIFO or a device is refused, not read.
 *
 * @throws ConfigurationError `FILE: no such file` and the like, with what to do about it
 */
export function readBounded(file: string): Uint8Array {
  try {
    return readFile(file);
  } catch (error) {
    throw error instanceof ConfigurationError ? error : unreadable(file, error);
  }
}

function readFile(file: string): Uint8Array {
  // Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw refusal(file, `expected a regular file, got ${kindOf(stats)}`);
    return readAll(file, descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readAll(file: string, descriptor: number): Uint8Array {
  // Not by the size that fstat tells: a file can grow, and those in /proc are of size 0.
  const buffer = Buffer.allocUnsafe(MOST_BYTES + 1);
  let length = 0;
  for (let read = -1; read !== 0 && length < buffer.length; length += read) {
    read = readSync(descriptor, buffer, length, buffer.length - length, null);
  }
  if (length > MOST_BYTES) throw refusal(file, 'expected at most 1 MiB, got more');
  return buffer.subarray(0, length);
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a FIFO';
  return stats.isSocket() ? 'a socket' : 'a device';
}

const REASONS: Readonly<Record<string, { readonly message: string; readonly hint?: string }>> = {
  ENOENT: {
    message: 'no such file',
    hint: 'docs/honeyport.yaml is a sample to start from; without any file, `honeyport run -p 2222` listens too',
  },
  ENOTDIR: { message: 'no such file, a part of its path is not a directory' },
  EACCES: {
    message: 'permission denied',
    hint: 'let the user that runs honeyport read the file and enter its directory',
  },
  ELOOP: { message: 'too many symbolic links' },
  ENAMETOOLONG: { message: 'the name is too long' },
  // What open says of a socket, and of a device that is not there.
  ENXIO: { message: 'expected a regular file, got a socket or a device' },
  ERR_INVALID_ARG_VALUE: { message: 'not the name of a file' },
};

function unreadable(file: string, error: unknown): ConfigurationError {
  const reason = REASONS[String((error as NodeJS.ErrnoException).code)];
  return refusal(file, reason?.message ?? `cannot be read: ${messageOf(error)}`, reason?.hint);
}

function refusal(file: string, message: string, hint?: string): ConfigurationError {
  return new ConfigurationError([printable(`${file}: ${message}`)], hint);
}
