import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { ConfigurationError, messageOf } from '../errors.ts';
import { printable } from './printable.ts';

/** What to do about some errno codes. */
type Hints = Readonly<Record<string, string>>;

/** Why a regular file is refused before it is read, and what to do about it. */
export type RefuseFile = (stats: Stats) => { readonly message: string; readonly hint: string } | undefined;

/**
 * The bytes of a regular file of at most `mostMebibytes`. Never waits: a FIFO or a device is refused, not read.
 *
 * @throws ConfigurationError `FILE: no such file` and the like, with what to do about it
 */
export function readBounded(
  file: string,
  mostMebibytes: number,
  hints: Hints = {},
  refuse: RefuseFile = () => undefined,
): Uint8Array {
  try {
    return readFile(file, mostMebibytes, refuse);
  } catch (error) {
    throw error instanceof ConfigurationError ? error : unreadable(file, error, hints);
  }
}

function readFile(file: string, mostMebibytes: number, refuse: RefuseFile): Uint8Array {
  // Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw refusal(file, `expected a regular file, got ${kindOf(stats)}`);
    const refused = refuse(stats);
    if (refused !== undefined) throw refusal(file, refused.message, refused.hint);
    return readAll(file, descriptor, mostMebibytes);
  } finally {
    closeSync(descriptor);
  }
}

function readAll(file: string, descriptor: number, mostMebibytes: number): Uint8Array {
  const mostBytes = mostMebibytes * 1024 * 1024;
  // Not by the size that fstat tells: a file can grow, and those in /proc are of size 0.
  const buffer = Buffer.allocUnsafe(mostBytes + 1);
  let length = 0;
  for (let read = -1; read !== 0 && length < buffer.length; length += read) {
    read = readSync(descriptor, buffer, length, buffer.length - length, null);
  }
  if (length > mostBytes) throw refusal(file, `expected at most ${mostMebibytes} MiB, got more`);
  return buffer.subarray(0, length);
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a FIFO';
  return stats.isSocket() ? 'a socket' : 'a device';
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file, a part of its path is not a directory',
  EACCES: 'permission denied',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long',
  // What open says of a socket, and of a device that is not there.
  ENXIO: 'expected a regular file, got a socket or a device',
  ERR_INVALID_ARG_VALUE: 'not the name of a file',
};

function unreadable(file: string, error: unknown, hints: Hints): ConfigurationError {
  const code = String((error as NodeJS.ErrnoException).code);
  return refusal(file, REASONS[code] ?? `cannot be read: ${messageOf(error)}`, hints[code]);
}

function refusal(file: string, message: string, hint?: string): ConfigurationError {
  return new ConfigurationError([printable(`${file}: ${message}`)], hint);
}
