import { readlinkSync } from 'node:fs';
import { isErrnoException, UserError } from '../errors.ts';
import { type ProgramResult, runProgram } from './run-program.ts';

/** A ban that is in force. */
export interface CurrentBan {
  readonly jail: string;
  /** As fail2ban has it: an address, a network, or whatever else a jail bans. */
  readonly what: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Undefined: for ever. */
  readonly until: number | undefined;
}

export interface CurrentBans {
  readonly bans: readonly CurrentBan[];
  /** Why not all bans are known, with what to do about it; empty when they are. */
  readonly problems: readonly UserError[];
}

const TIMEOUT_MS = 10_000;
/** A ban takes about 60 bytes, so this is a quarter of a million in one jail. */
const MOST_BYTES = 16 * 1024 * 1024;
/** Each client is a Python that takes a tenth of a second; hosts with fifty jails have not as many processors. */
const AT_ONCE = 4;

/** Whether a ban of a jail is asked for. */
export type IsWanted = (what: string, jail: string) => boolean;

/** Asks fail2ban for the bans of all its jails that `isWanted` takes. What fails is a problem, not an error. */
export async function listBans(isWanted: IsWanted): Promise<CurrentBans> {
  const found: CurrentBans[] = [];
  const { jails, problems } = await listJails();
  for (let first = 0; first < jails.length; first += AT_ONCE) {
    const some = jails.slice(first, first + AT_ONCE);
    found.push(...(await Promise.all(some.map((jail) => listJailBans(jail, isWanted)))));
  }
  return {
    bans: found.flatMap(({ bans }) => bans).sort((a, b) => jailOrder(a.jail, b.jail)),
    problems: [...problems, ...found.flatMap(({ problems }) => problems)],
  };
}

async function listJails(): Promise<{ jails: string[]; problems: UserError[] }> {
  try {
    return { jails: parseJails(await ask('status')), problems: [] };
  } catch (error) {
    return { jails: [], problems: [asProblem(error)] };
  }
}

async function listJailBans(jail: string, isWanted: IsWanted): Promise<CurrentBans> {
  try {
    const text = await ask('get', jail, 'banip', '--with-time');
    return { bans: parseBans(jail, text, timeZone(), isWanted), problems: [] };
  } catch (error) {
    return { bans: [], problems: [asProblem(error)] };
  }
}

/** @throws what is a fault of this program */
function asProblem(error: unknown): UserError {
  if (error instanceof UserError) return error;
  throw error;
}

function jailOrder(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** The jails in what `fail2ban-client status` prints. */
export function parseJails(status: string): string[] {
  const list = /^`- Jail list:\t(.*)$/m.exec(status)?.[1];
  if (list === undefined) throw unexpected('status', status);
  return list.split(', ').filter((jail) => jail !== '');
}

/** What fail2ban may ban is a user's name, too; so the times are looked for at the end of the line. */
const BAN = /^(.*) \t(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \+ (-?\d+) = (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$/;

/**
 * The bans in what `fail2ban-client get JAIL banip --with-time` prints.
 * @param zone the server's time zone, which it prints times in; undefined: that of this process
 */
export function parseBans(
  jail: string,
  text: string,
  zone: string | undefined,
  isWanted: IsWanted,
): CurrentBan[] {
  const bans: CurrentBan[] = [];
  for (const line of text.split('\n').filter((line) => line !== '')) {
    const [, what, begin, seconds, end] = BAN.exec(line) ?? [];
    if (what === undefined) throw unexpected(`get ${jail} banip`, line);
    if (!isWanted(what, jail)) continue;
    const durationMs = Number(seconds) * 1000;
    const since = readLocalTime(begin!, { text: end!, afterMs: durationMs }, zone);
    // what ends after the year 9999 has this end, too
    const forEver = durationMs < 0 || end === LAST_SECOND;
    bans.push({ jail, what, since, until: forEver ? undefined : since + durationMs });
  }
  return bans;
}

const LAST_SECOND = '9999-12-31 23:59:59';
const DAY_MS = 86_400_000;

/**
 * A time of the wall clock as milliseconds since the epoch. When clocks go back, an hour comes twice: where the end of
 * the ban does not, it tells which of the two is meant.
 */
function readLocalTime(
  text: string,
  end: { text: string; afterMs: number },
  zone: string | undefined,
): number {
  const format = wallClock(zone);
  const utc = Date.parse(`${text.replace(' ', 'T')}Z`);
  const offsetAt = (time: number) => Date.parse(`${format(time).replace(' ', 'T')}Z`) - time;
  const candidates = [utc - offsetAt(utc - DAY_MS), utc - offsetAt(utc + DAY_MS)];
  const possible = candidates.filter((time) => format(time) === text);
  return possible.find((time) => format(time + end.afterMs) === end.text) ?? possible[0] ?? candidates[0]!;
}

/** Times as fail2ban prints them, in a zone. */
function wallClock(zone: string | undefined): (time: number) => string {
  // Sweden writes 2026-11-24 08:00:00
  const style = { dateStyle: 'short', timeStyle: 'medium' } as const;
  const { format } = new Intl.DateTimeFormat(
    'sv-SE',
    zone === undefined ? style : { ...style, timeZone: zone },
  );
  return (time) => (Math.abs(time) < 8.64e15 ? format(time) : '');
}

/**
 * The host's time zone, which a service has; TZ in the environment of who asks is nothing to it.
 * @param link leads to the zone's file, tzset(3); where there is none, it is UTC
 * @returns undefined where the zone has no name
 */
export function timeZone(link = '/etc/localtime'): string | undefined {
  try {
    const name = /\/zoneinfo\/(?:posix\/)?(.+)$/.exec(readlinkSync(link))?.[1];
    new Intl.DateTimeFormat('sv-SE', { timeZone: name });
    return name;
  } catch (error) {
    return isErrnoException(error) && error.code === 'ENOENT' ? 'UTC' : undefined;
  }
}

/** @throws UserError when there is no answer */
async function ask(...args: string[]): Promise<string> {
  const limits = { timeoutMs: TIMEOUT_MS, mostBytes: MOST_BYTES };
  const result = await runProgram({ program: 'fail2ban-client', args, ...limits });
  if (result.end.kind === 'exit' && result.end.code === 0) return result.stdout;
  throw fail2banProblem(args, result);
}

export function fail2banProblem(args: readonly string[], { end, stdout, stderr }: ProgramResult): UserError {
  const asked = `fail2ban-client ${args.join(' ')}`;
  switch (end.kind) {
    case 'missing':
      return problem(
        'fail2ban is not installed, or fail2ban-client is not in PATH',
        'apt-get install fail2ban',
      );
    case 'timeout':
      return problem(`fail2ban gave no answer within ${TIMEOUT_MS / 1000} s to: ${asked}`, SEE_ITS_LOG);
    case 'too much output':
      return problem(`expected at most 16 MiB, got more from: ${asked}`, 'run that command yourself');
    case 'failure':
      // EACCES: it, or a directory of PATH where it might be, is not for everybody
      return problem(`fail2ban-client cannot be run: ${end.message}`, RUN_AS_ROOT);
    case 'exit':
      return refusalOf(asked, `${stdout}\n${stderr}`);
  }
}

/** What fail2ban-client says when it fails, the same in 1.0.2 and 1.1.0 (client/fail2banclient.py, __logSocketError). */
function refusalOf(asked: string, said: string): UserError {
  if (/Permission denied/.test(said)) return problem('no right to ask fail2ban', RUN_AS_ROOT);
  if (/Failed to access socket path|Unable to contact server/.test(said)) {
    // who may not enter the socket's directory does not see that it is there
    const hint =
      process.geteuid?.() === 0 ? 'start it with: systemctl start fail2ban' : `${RUN_AS_ROOT}, to be sure`;
    return problem('fail2ban is not running', hint);
  }
  const [reason = 'no reason given'] = said.split('\n').filter((line) => line.trim() !== '');
  return problem(`${asked}: ${reason.slice(0, 500)}`, SEE_ITS_LOG);
}

const RUN_AS_ROOT = 'run it as root';
const SEE_ITS_LOG = "fail2ban's own log may say why: /var/log/fail2ban.log";

function unexpected(command: string, got: string): UserError {
  return problem(
    `expected bans or jails from fail2ban-client ${command}, got ${JSON.stringify(got.slice(0, 100))}`,
  );
}

function problem(message: string, hint?: string): UserError {
  return new UserError(message, { hint, exitCode: 1 });
}
