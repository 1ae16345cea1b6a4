import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { isErrnoException, messageOf } from '../errors.ts';
import { parseNetwork } from '../network.ts';
import { longerWant, newestWants, type Want } from './want.ts';

/** What fail2ban's action has recorded, in `<state>/wanted`, one file for each jail. */
export interface Wanted {
  /** By address; of an address that several jails want, the ban that lasts longest. */
  readonly wants: ReadonlyMap<string, Want>;
  /** Bans that the action had no room for. */
  readonly leftOut: number;
}

export interface WantedReader {
  /** The directory to watch. */
  readonly directory: string;
  /**
   * The same object as before where no file has changed.
   * @throws WantedError when it cannot be known what is wanted: then nothing may be removed
   */
  read(): Wanted;
}

/** It cannot be known what is wanted; the message says why, and what to do. */
export class WantedError extends Error {
  override readonly name = 'WantedError';
  /** Nothing was ever recorded: there is no directory. */
  readonly isMissing: boolean;

  constructor(message: string, isMissing = false) {
    super(message);
    this.isMissing = isMissing;
  }
}

const MOST_JAILS = 64;
/** Over all jails: beyond it memory would grow without a bound. */
const MOST_WANTS = 100_000;
/** 100,000 bans, the most that the action writes, take 12 MiB. */
const MOST_BYTES = 32 << 20;

/** Reads what changed since it was read last. */
export function createWantedReader(state: string): WantedReader {
  const directory = join(state, 'wanted');
  let known = new Map<string, KnownFile>();
  let wanted: Wanted | undefined;
  return {
    directory,
    read() {
      const files = namesIn(directory).map((name) => {
        const path = join(directory, name);
        return [path, readKnown(path, known.get(path))] as const;
      });
      const isSame = files.length === known.size && files.every(([path, file]) => known.get(path) === file);
      known = new Map(files);
      wanted = isSame && wanted !== undefined ? wanted : merge(files.map(([, file]) => file));
      return wanted;
    },
  };
}

interface KnownFile extends RecordedJail {
  readonly identity: string;
}

interface RecordedJail {
  readonly wants: readonly Want[];
  readonly leftOut: number;
}

function namesIn(directory: string): string[] {
  try {
    // root asks for the status, and the directory above may be the service user's
    if (lstatSync(directory).isSymbolicLink()) throw new Error('it is a symbolic link');
    const names = readdirSync(directory).filter((name) => /^[^.].*\.json$/s.test(name));
    if (names.length > MOST_JAILS)
      throw new Error(`expected at most ${MOST_JAILS} files, got ${names.length}`);
    return names.sort();
  } catch (error) {
    if (isErrnoException(error) && error.code === 'ENOENT')
      throw new WantedError(nothingRecorded(directory), true);
    throw new WantedError(`cannot read ${directory}: ${messageOf(error)}`);
  }
}

function nothingRecorded(directory: string): string {
  return `${directory} is not there: no jail of fail2ban with the action honeyport-dome9.py and this state= has started yet`;
}

function readKnown(path: string, before: KnownFile | undefined): KnownFile {
  try {
    const { dev, ino, mtimeMs, ctimeMs, size } = statSync(path);
    const identity = [dev, ino, mtimeMs, ctimeMs, size].join(' ');
    return before?.identity === identity ? before : { identity, ...parse(readRegular(path)) };
  } catch (error) {
    throw new WantedError(`cannot use ${path}: ${messageOf(error)}; nothing is changed until it can be read`);
  }
}

function readRegular(path: string): string {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new Error('it is not a regular file');
    if (stats.size > MOST_BYTES) throw new Error(`it has ${stats.size} bytes`);
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

function parse(text: string): RecordedJail {
  const { version, jail, bans, leftOut = 0 } = asMapping(parseJson(text), 'the file');
  if (version !== 1) throw new Error('expected version 1; is fail2ban/ of the same release as this program?');
  if (typeof jail !== 'string') throw new Error('expected jail to be a text');
  if (!Array.isArray(bans)) throw new Error('expected bans to be a list');
  if (!Number.isSafeInteger(leftOut) || (leftOut as number) < 0)
    throw new Error('expected leftOut to be a number');
  return { wants: bans.map((ban, index) => wantOf(ban, index, jail)), leftOut: leftOut as number };
}

/** What stands there is not quoted: it may be another file than ours. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
}

function wantOf(ban: unknown, index: number, jail: string): Want {
  const { ip, since, until, dpt, decoy, id } = asMapping(ban, `ban ${index + 1}`);
  const expected = (what: string) => new Error(`ban ${index + 1}: expected ${what}`);
  const network = typeof ip === 'string' ? parseNetwork(ip) : { expected: 'an address' };
  if ('expected' in network) throw expected(`ip to be ${network.expected}`);
  if (!isTime(since)) throw expected('since to be seconds since the epoch');
  if (until !== null && !isTime(until)) throw expected('until to be seconds since the epoch, or null');
  if (dpt !== undefined && !isPort(dpt)) throw expected('dpt to be a port');
  if (decoy !== undefined && !matches(decoy, /^[a-z0-9._-]{1,32}$/))
    throw expected("decoy to be a decoy's name");
  if (id !== undefined && !matches(id, /^[a-z0-9]{1,32}\.[0-9]{1,20}$/))
    throw expected("id to be an event's id");
  return { ip: bareText(network), since, until, jail, decoyPort: dpt, decoy, eventId: id };
}

function asMapping(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new Error(`expected ${what} to be a mapping`);
}

/** Beyond the year 9999 nothing can be written as a date. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < 253_402_300_800;
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535;
}

function matches(value: unknown, pattern: RegExp): value is string {
  return typeof value === 'string' && pattern.test(value);
}

/** A network of one address as the address alone. */
function bareText({ text, family, length }: { text: string; family: 4 | 6; length: number }): string {
  return length === (family === 4 ? 32 : 128) ? text.slice(0, text.indexOf('/')) : text;
}

function merge(jails: readonly RecordedJail[]): Wanted {
  const all = new Map<string, Want>();
  for (const { wants } of jails) {
    for (const want of wants) {
      const other = all.get(want.ip);
      all.set(want.ip, other === undefined ? want : longerWant(want, other));
    }
  }
  const leftOut = jails.reduce((sum, jail) => sum + jail.leftOut, 0);
  if (all.size <= MOST_WANTS) return { wants: all, leftOut };
  const newest = newestWants(all.values(), MOST_WANTS);
  return {
    wants: new Map(newest.map((want) => [want.ip, want])),
    leftOut: leftOut + all.size - newest.length,
  };
}
