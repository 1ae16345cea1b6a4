import { existsSync } from 'node:fs';
import type { Dome9Configuration } from '../configuration/dome9.ts';
import { isMapping } from '../configuration/mapping.ts';
import { printable } from '../configuration/printable.ts';
import { messageOf } from '../errors.ts';
import { openStateFile, type StateFile } from './state-file.ts';
import { createWantedReader } from './wanted.ts';

/** What the service keeps in `<state>/status.json` after each attempt. Times are milliseconds since the epoch. */
export interface ServiceStatus {
  readonly version: 1;
  readonly pid: number;
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
  const isRunning = status !== undefined && existsSync(`/proc/${status.pid}`);
  const wanted = countWanted(configuration.state, now);
  const rows = [
    ['target', targetName(configuration)],
    ['service', isRunning ? `runs, process ${status.pid}` : 'does not run'],
    ['wanted', wanted.text],
    ...(status === undefined ? [] : statusRows(status, now)),
  ];
  const isWell = isRunning && wanted.isKnown && status.error === undefined;
  // what the API said is in it
  const lines = rows.map(
    ([name, text]) => `${(name === '' ? '' : `${name}:`).padEnd(12)}${printable(text!)}\n`,
  );
  return { text: lines.join(''), isWell };
}

function readStatus(state: string): ServiceStatus | undefined {
  const value = openStatusFile(state).read();
  return isStatus(value) ? value : undefined;
}

/** The file is the service user's, and asked for by root. */
function isStatus(value: unknown): value is ServiceStatus {
  if (!isMapping(value) || value.version !== 1) return false;
  const isTime = (time: unknown) => typeof time === 'number' && time >= 0 && time <= LATEST_TIME_MS;
  const { pid, leftOut, calls, lastSyncAt = 0, nextAttemptAt, present = 0, foreign = 0, error } = value;
  const isErrorWell =
    error === undefined ||
    (isMapping(error) &&
      isTime(error.since) &&
      [error.message, error.hint === undefined ? '' : error.hint].every((text) => typeof text === 'string'));
  const numbers = [pid, leftOut, calls, present, foreign];
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
    [
      'next',
      nextAttemptAt <= now ? 'now' : `in ${durationText(nextAttemptAt - now)}, or as something changes`,
    ],
    ['calls', String(calls)],
    ['last error', error === undefined ? 'none' : `${error.message} (since ${timeText(error.since, now)})`],
    ...(error?.hint === undefined ? [] : [['', error.hint]]),
  ];
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
