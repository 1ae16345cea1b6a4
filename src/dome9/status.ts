import { readFileSync } from 'node:fs';
import type { Dome9Configuration } from '../configuration/dome9.ts';
import { isMapping } from '../configuration/mapping.ts';
import { printable } from '../configuration/printable.ts';
import { messageOf } from '../errors.ts';
import { openStateFile, type StateFile } from '../system/state-file.ts';
import { createWantedReader } from './wanted.ts';

/** What the service keeps in `<state>/status.json` after each attempt. Times are milliseconds since the epoch. */
export interface ServiceStatus {
  readonly version: 1;
  readonly pid: number;
  /** As `processMark` has it for the service itself; undefined where /proc is closed to it, or in an older release. */
  readonly started?: string | undefined;
  /** What is kept in step, as in a message. */
  readonly target: string;
  readonly present: number | undefined;
  readonly foreign: number | undefined;
  readonly leftOut: number;
  readonly lastSyncAt: number | undefined;
  readonly nextAttemptAt: number;
  /** Calls since the service has started. */
  readonly calls: number;
  readonly error: StatusError | undefined;
}

export interface StatusError {
  /** When it was first met. */
  readonly since: number;
  readonly message: string;
  /** What to do about it, where trying again does not help. */
  readonly hint: string | undefined;
}

export function openStatusFile(state: string): StateFile {
  return openStateFile(`${state}/status.json`);
}

/** As in `list honeyport-web-1 at https://api.dome9.com`. */
export function targetName({ api, list, url }: Dome9Configuration): string {
  return `${api === 'v2' ? `list ${list}` : 'the v1 blacklist'} at ${url}`;
}

/** What `honeyport dome9 status` prints, and whether all is well. */
export function describeStatus(
  configuration: Dome9Configuration,
  now: number,
): { text: string; isWell: boolean } {
  const status = readStatus(configuration.state);
  const service = serviceOf(status, now);
  const wanted = countWanted(configuration.state, now);
  const rows = [
    ['target', targetName(configuration)],
    ['service', service.text],
    ['wanted', wanted.text],
    ...(status === undefined ? [] : statusRows(status, now)),
  ];
  const isWell = service.isWell && wanted.isKnown && status?.error === undefined;
  // what the API said is in it
  const lines = rows.map(
    ([name, text]) => `${(name === '' ? '' : `${name}:`).padEnd(12)}${printable(text!)}\n`,
  );
  return { text: lines.join(''), isWell };
}

/** A slow account may hold an attempt up for a minute or two. */
const LONGEST_OVERDUE_MS = 5 * 60_000;

function serviceOf(status: ServiceStatus | undefined, now: number): { text: string; isWell: boolean } {
  const found = status === undefined ? undefined : processMark(status.pid);
  if (status === undefined || found === undefined) return { text: 'does not run', isWell: false };
  const { pid, started, nextAttemptAt } = status;
  if (started === undefined)
    return { text: `not known: restart it, so that process ${pid} can be told from another`, isWell: false };
  if (started !== found) return { text: 'does not run', isWell: false };
  const isHanging = now - nextAttemptAt > LONGEST_OVERDUE_MS;
  return { text: `${isHanging ? 'hangs' : 'runs'}, process ${pid}`, isWell: !isHanging };
}

/**
 * What a process has in common with none that has its number before or after it, in this boot or another.
 *
 * @returns undefined where there is no such process, or none that may be looked at
 */
export function processMark(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // proc(5): the name, which may hold anything, is in parentheses; the state is field 3, the start field 22
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

function readStatus(state: string): ServiceStatus | undefined {
  const value = openStatusFile(state).read();
  return isStatus(value) ? value : undefined;
}

/** The file is the service user's, and asked for by root. */
function isStatus(value: unknown): value is ServiceStatus {
  if (!isMapping(value) || value.version !== 1) return false;
  const isTime = (time: unknown) => typeof time === 'number' && time >= 0 && time <= LATEST_TIME_MS;
  const {
    pid,
    started = '',
    leftOut,
    calls,
    lastSyncAt = 0,
    nextAttemptAt,
    present = 0,
    foreign = 0,
    error,
  } = value;
  const isErrorWell =
    error === undefined ||
    (isMapping(error) &&
      isTime(error.since) &&
      [error.message, error.hint === undefined ? '' : error.hint].every((text) => typeof text === 'string'));
  const numbers = [pid, leftOut, calls, present, foreign];
  if (typeof started !== 'string') return false;
  return numbers.every(Number.isSafeInteger) && isTime(lastSyncAt) && isTime(nextAttemptAt) && isErrorWell;
}

/** What a Date can hold. */
const LATEST_TIME_MS = 8_640_000_000_000_000;

function countWanted(state: string, now: number): { text: string; isKnown: boolean } {
  try {
    const { wants } = createWantedReader(state).read();
    const running = [...wants.values()].filter(({ until }) => until === null || until > now / 1000);
    return { text: String(running.length), isKnown: true };
  } catch (error) {
    return { text: messageOf(error), isKnown: false };
  }
}

function statusRows(status: ServiceStatus, now: number): string[][] {
  const { present, foreign, leftOut, lastSyncAt, nextAttemptAt, calls, error } = status;
  return [
    ['present', present === undefined ? 'not known yet' : `${present}${foreignText(foreign)}`],
    ...(leftOut === 0 ? [] : [['left out', `${leftOut}, for which there is no room or which are not taken`]]),
    ['last sync', lastSyncAt === undefined ? 'never' : timeText(lastSyncAt, now)],
    ['next', nextText(nextAttemptAt - now)],
    ['calls', String(calls)],
    ['last error', error === undefined ? 'none' : `${error.message} (since ${timeText(error.since, now)})`],
    ...(error?.hint === undefined ? [] : [['', error.hint]]),
  ];
}

function nextText(ms: number): string {
  if (ms > 0) return `in ${durationText(ms)}, or as something changes`;
  return -ms > LONGEST_OVERDUE_MS ? `overdue for ${durationText(-ms)}` : 'now';
}

function foreignText(foreign: number | undefined): string {
  return foreign === undefined ? '' : `, beside ${foreign} items that are not ours`;
}

function timeText(ms: number, now: number): string {
  return `${new Date(ms).toISOString()}, ${durationText(Math.max(0, now - ms))} ago`;
}

function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
