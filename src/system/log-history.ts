import { closeSync, constants, createReadStream, fstatSync, openSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { isErrnoException, messageOf } from '../errors.ts';

export interface LogHistoryOptions {
  /** The log in use; its rotated siblings stand beside it. */
  readonly path: string;
  /** Given each whole line, oldest first, one character for each byte, without its line feed. */
  readonly onLine: (line: string) => void;
  /** Given, in words, each file or line that cannot be read; the rest is read all the same. */
  readonly onTrouble: (message: string) => void;
}

/** Twice what the longest event takes: 64 KiB from a peer, each byte as `\xNN`. */
const MOST_LINE_BYTES = 512 * 1024;
/** As many descriptors are open at once; logrotate keeps 14 as shipped. */
const MOST_FILES = 500;
const CHUNK_BYTES = 256 * 1024;

/**
 * Reads a log with its rotated siblings, `.1`, `.2.gz`, `-20261124` and the like, up to where they end at the call. In
 * memory there is no more than a line. Never waits: a FIFO or a device is trouble, not read.
 *
 * @returns the files that were read, oldest first; none where there is no log
 */
export async function readLogHistory({ path, onLine, onTrouble }: LogHistoryOptions): Promise<string[]> {
  const files = openAll(findLogFiles(path, onTrouble), onTrouble);
  for (const file of files) await readLines(file, onLine, onTrouble);
  return files.map(({ name }) => name);
}

interface RotatedLog {
  readonly name: string;
  /** Digits; empty for a numbered log. */
  readonly date: string;
  readonly number: number;
}

/** The log and its siblings, newest first. */
function findLogFiles(path: string, onTrouble: (message: string) => void): string[] {
  const names = listSiblings(path, onTrouble);
  const rotated = names.flatMap((name) => rotatedLog(name, basename(path)) ?? []);
  // While logrotate compresses a log, and after a crash in that time, both are there and the uncompressed one is whole.
  const whole = rotated.filter(({ name }) => {
    const compression = compressionOf(name);
    return compression === '' || !names.includes(name.slice(0, -compression.length));
  });
  const siblings = whole.sort(newestFirst).map(({ name }) => join(dirname(path), name));
  const files = [path, ...siblings];
  if (files.length > MOST_FILES)
    onTrouble(`${path}: only the newest ${MOST_FILES} of ${files.length} files are read`);
  return files.slice(0, MOST_FILES);
}

function listSiblings(path: string, onTrouble: (message: string) => void): string[] {
  try {
    return readdirSync(dirname(path));
  } catch (error) {
    // without its directory there is no log, which is no trouble
    if (!isGone(error)) onTrouble(`${path}: its rotated siblings cannot be looked for: ${reasonOf(error)}`);
    return [];
  }
}

/** `.3` and `.3.gz` as logrotate names them, and its `dateext`, with a time where `dateformat` adds one. */
const ROTATED = /^(?:\.(?<number>\d{1,9})|[.-](?<date>\d{4}-?\d\d-?\d\d(?:[-_.]?\d{1,10})?))$/;

/** With its dot; empty for a plain file. */
function compressionOf(name: string): string {
  return /\.(?:gz|xz|zst|bz2)$/.exec(name)?.[0] ?? '';
}

function rotatedLog(name: string, base: string): RotatedLog | undefined {
  if (!name.startsWith(base)) return undefined;
  const suffix = name.slice(base.length, name.length - compressionOf(name).length);
  const groups = ROTATED.exec(suffix)?.groups;
  if (groups === undefined) return undefined;
  const { number = '', date } = groups;
  // a number of eight digits is a date
  if (date === undefined && number.length < 8) return { name, date: '', number: Number(number) };
  return { name, date: (date ?? number).replace(/\D/g, ''), number: 0 };
}

/** Who has both changed from dates to numbers, as honeyport's own logrotate file does. */
function newestFirst(a: RotatedLog, b: RotatedLog): number {
  if (a.date === b.date) return a.number - b.number;
  if (a.date === '') return -1;
  return b.date !== '' && a.date > b.date ? -1 : 1;
}

interface OpenLog {
  readonly name: string;
  readonly fd: number;
  readonly size: number;
}

/**
 * Opens all before one is read, the newest first: who rotates meanwhile neither takes a file away nor makes it another
 * one, and a file that was renamed in between is there under both names, but read once.
 */
function openAll(paths: readonly string[], onTrouble: (message: string) => void): OpenLog[] {
  const files = new Map<string, OpenLog>();
  for (const name of paths) {
    try {
      const { inode, ...file } = openLog(name);
      if (files.has(inode)) closeSync(file.fd);
      else files.set(inode, file);
    } catch (error) {
      if (!isGone(error)) onTrouble(`${name}: ${reasonOf(error)}`);
    }
  }
  return [...files.values()].reverse();
}

function openLog(name: string): OpenLog & { inode: string } {
  if (!['', '.gz'].includes(compressionOf(name))) throw new Error('of compressed logs only .gz is read');
  // Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
  const fd = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  const stats = fstatSync(fd);
  if (stats.isFile()) return { name, fd, size: stats.size, inode: `${stats.dev}:${stats.ino}` };
  closeSync(fd);
  throw new Error('expected a regular file, so it is not read');
}

async function readLines(
  { name, fd, size }: OpenLog,
  onLine: (line: string) => void,
  onTrouble: (message: string) => void,
): Promise<void> {
  const splitter = createLineSplitter(onLine);
  try {
    if (size === 0) closeSync(fd);
    // Up to the size that it has now: who writes faster than this reads would have it read for ever.
    else
      await feed(createReadStream('', { fd, end: size - 1, highWaterMark: CHUNK_BYTES }), name, splitter.add);
  } catch (error) {
    onTrouble(`${name}: ${reasonOf(error)}; what follows in it is missing`);
  }
  const { tooLong } = splitter;
  if (tooLong() > 0)
    onTrouble(`${name}: lines longer than ${MOST_LINE_BYTES} bytes are left out: ${tooLong()}`);
}

async function feed(file: Readable, name: string, add: (chunk: Buffer) => void): Promise<void> {
  const consume = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) add(chunk);
  };
  if (compressionOf(name) === '') await pipeline(file, consume);
  else await pipeline(file, createGunzip({ chunkSize: CHUNK_BYTES }), consume);
}

/** Cuts chunks into lines; what follows the last line feed is still being written, or was cut off. */
function createLineSplitter(onLine: (line: string) => void) {
  let begun = '';
  let skipping = false;
  let tooLong = 0;
  return { add, tooLong: () => tooLong };

  function add(chunk: Buffer): void {
    const rest = skipping ? afterLongLine(chunk) : chunk;
    const text = begun + rest.toString('latin1');
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      if (end - start > MOST_LINE_BYTES) tooLong++;
      else onLine(text.slice(start, end));
      start = end + 1;
    }
    keep(text.slice(start));
  }

  /** Not made a text: most of a gzip bomb is in here. */
  function afterLongLine(chunk: Buffer): Buffer {
    const end = chunk.indexOf('\n');
    skipping = end < 0;
    return skipping ? chunk.subarray(0, 0) : chunk.subarray(end + 1);
  }

  function keep(rest: string): void {
    begun = rest;
    if (rest.length <= MOST_LINE_BYTES) return;
    begun = '';
    skipping = true;
    tooLong++;
  }
}

function isGone(error: unknown): boolean {
  return isErrnoException(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function reasonOf(error: unknown): string {
  if (!isErrnoException(error)) return messageOf(error);
  return REASONS[error.code] ?? messageOf(error);
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  // what open says of a socket
  ENXIO: 'expected a regular file, so it is not read',
  Z_BUF_ERROR: 'the compressed data ends early',
  Z_DATA_ERROR: 'the compressed data is damaged',
};
