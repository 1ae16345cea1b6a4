import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { ConfigurationError, messageOf } from '../errors.ts';
import { printable } from './printable.ts';

/** Why a file cannot be read, without its name: `no such file`. */
export class UnreadableFile extends Error {
  /** What to do about it. */
  readonly hint: string | undefined;

  constructor(reason: string, hint?: string) {
    super(reason);
    this.name = 'UnreadableFile';
    this.hint = hint;
  }
}

/** What to do about some errno codes. */
type Hints = Readonly<Record<string, string>>;

/** What to do about EACCES. */
export const MAY_READ_HINT = 'let the user that runs honeyport read the file and enter its directory';

/** Why a regular file is refused before it is read, and what to do about it. */
export type RefuseFile = (stats: Stats) => { readonly message: string; readonly hint: string } | undefined;

const MEBIBYTE = 1024 * 1024;

/**
 * The bytes of a regular file of at most `mostMebibytes`, as `readRegularFile` reads them.
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
    return readRegularFile(file, mostMebibytes * MEBIBYTE, hints, refuse);
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
    throw new ConfigurationError([printable(`${file}: ${error.message}`)], error.hint);
  }
}

/**
 * The bytes of a regular file of at most `mostBytes`. Never waits: a FIFO or a device is refused, not read.
 *
 * @throws UnreadableFile
 */
export function readRegularFile(
  file: string,
  mostBytes: number,
  hints: Hints = {},
  refuse: RefuseFile = () => undefined,
): Uint8Array {
  try {
    return readOpened(file, mostBytes, refuse);
  } catch (error) {
    throw error instanceof UnreadableFile ? error : unreadable(error, hints);
  }
}

function readOpened(file: string, mostBytes: number, refuse: RefuseFile): Uint8Array {
  // Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new UnreadableFile(`expected a regular file, got ${kindOf(stats)}`);
    const refused = refuse(stats);
    if (refused !== undefined) throw new UnreadableFile(refused.message, refused.hint);
    return readAll(descriptor, mostBytes);
  } finally {
    closeSync(descriptor);
  }
}

function readAll(descriptor: number, mostBytes: number): Uint8Array {
  // Not by the size that fstat tells: a file can grow, and those in /proc are of size 0.
  const buffer = Buffer.allocUnsafe(mostBytes + 1);
  let length = 0;
  for (let read = -1; read !== 0 && length < buffer.length; length += read) {
    read = readSync(descriptor, buffer, length, buffer.length - length, null);
  }
  if (length > mostBytes) throw new UnreadableFile(`expected at most ${sizeText(mostBytes)}, got more`);
  return buffer.subarray(0, length);
}

function sizeText(bytes: number): string {
  return bytes < MEBIBYTE ? `${bytes / 1024} KiB` : `${bytes / MEBIBYTE} MiB`;
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

function unreadable(error: unknown, hints: Hints): UnreadableFile {
  const code = String((error as NodeJS.ErrnoException).code);
  return new UnreadableFile(REASONS[code] ?? `cannot be read: ${messageOf(error)}`, hints[code]);
}
