import { mkdirSync } from 'node:fs';
import { createBackOff } from '../back-off.ts';
import type { Dome9Configuration } from '../configuration/dome9.ts';
import { messageOf } from '../errors.ts';
import { watchDirectory } from '../system/watch-file.ts';
import type { Voice } from '../voice.ts';
import type { Account } from './account.ts';
import { hintOf, pauseAfter } from './attempt.ts';
import { openStatusFile, type StatusError, targetName } from './status.ts';
import type { Outcome } from './target.ts';
import { isRunning, type Want } from './want.ts';
import { createWantedReader, type Wanted, WantedError } from './wanted.ts';

/** Keeps one account in step, as one configuration has it. */
export interface Keeper {
  readonly configuration: Dome9Configuration;
  readonly account: Account;
  /** When the pause after the last attempt ends, in milliseconds since the epoch. */
  readonly pausesUntil: number;
  /** Breaks off what is under way, and closes the account. */
  stop(): Promise<void>;
}

export interface KeeperOptions {
  readonly configuration: Dome9Configuration;
  readonly account: Account;
  readonly voice: Voice;
  readonly timing?: Partial<Timing>;
  /** No attempt is made before, in milliseconds since the epoch. */
  readonly pausesUntil?: number;
}

/** All in milliseconds. */
export interface Timing {
  /** From a change until it is brought to the account: bans come in crowds. */
  readonly settleMs: number;
  /** Between two attempts, however much changes. */
  readonly pauseMs: number;
  /** Between two looks at the account when nothing changes: others may write there, too. */
  readonly periodMs: number;
  /** Between two looks at the recorded files, for changes that nobody told of. */
  readonly lookMs: number;
  readonly firstRetryMs: number;
  readonly longestRetryMs: number;
}

const TIMING: Timing = {
  settleMs: 1000,
  pauseMs: 5000,
  periodMs: 10 * 60_000,
  lookMs: 30_000,
  firstRetryMs: 2000,
  longestRetryMs: 10 * 60_000,
};

/** Starts it; changes are seen once it resolves, and the first attempt is under way. */
export async function startKeeper({
  configuration,
  account,
  voice,
  ...rest
}: KeeperOptions): Promise<Keeper> {
  const timing = { ...TIMING, ...rest.timing };
  const { state } = configuration;
  const name = targetName(configuration);
  const reader = createWantedReader(state);
  const statusFile = openStatusFile(state);
  const backOff = createBackOff({ firstMs: timing.firstRetryMs, longestMs: timing.longestRetryMs });
  let timer: NodeJS.Timeout | undefined;
  let nextAt = Number.POSITIVE_INFINITY;
  /** Not before: the pause after the last attempt, or what an error asks for. */
  let earliestAt = rest.pausesUntil ?? 0;
  let lastAttemptAt = earliestAt - timing.pauseMs;
  let underWay: Promise<void> | undefined;
  let isStopping = false;
  /** What the last attempt has seen of the recorded files: what they say, or why they cannot be read. */
  let seen: Wanted | string | undefined;
  let outcome: Outcome | undefined;
  let lastSyncAt: number | undefined;
  let trouble: StatusError | undefined;
  let saidLeftOut = false;
  let statusProblem: string | undefined;

  makeDirectory(state);
  const watch = await watchDirectory({
    path: reader.directory,
    onChange: look,
    onTrouble: (error) =>
      voice.warning(`${reader.directory} is not watched (${error.message}): it is looked at every 30 s`),
  });
  const looking = setInterval(look, timing.lookMs);
  scheduleBy(Date.now());

  return {
    configuration,
    account,
    get pausesUntil() {
      return lastAttemptAt + timing.pauseMs;
    },
    async stop() {
      isStopping = true;
      clearTimeout(timer);
      clearInterval(looking);
      await Promise.all([watch.close(), account.close()]);
      await underWay;
    },
  };

  /** Also while an attempt is under way, which may have read before. */
  function look(): void {
    if (readWanted() !== seen) scheduleBy(Date.now() + timing.settleMs);
  }

  function readWanted(): Wanted | string {
    try {
      return reader.read();
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Makes an attempt at that time if none is due before; never while a pause lasts. */
  function scheduleBy(at: number): void {
    nextAt = Math.max(earliestAt, Math.min(nextAt, at));
    if (underWay === undefined) restartTimer();
  }

  function restartTimer(): void {
    clearTimeout(timer);
    if (!isStopping) timer = setTimeout(attempt, Math.max(0, nextAt - Date.now()));
  }

  function attempt(): void {
    clearTimeout(timer);
    lastAttemptAt = Date.now();
    // a change that comes meanwhile brings it nearer again
    nextAt = Number.POSITIVE_INFINITY;
    underWay = bring().finally(() => {
      underWay = undefined;
      restartTimer();
    });
  }

  async function bring(): Promise<void> {
    try {
      seen = readWanted();
      if (typeof seen === 'string') throw new WantedError(seen);
      const now = Date.now() / 1000;
      const wants = [...seen.wants.values()].filter((want) => isRunning(want, now));
      outcome = await account.target.converge(wants);
      noteSuccess(outcome, wants, seen.leftOut);
    } catch (error) {
      if (isStopping) return;
      noteFailure(error);
    }
    writeStatus();
  }

  function noteSuccess(
    { present, leftOut, isUnfinished }: Outcome,
    wants: readonly Want[],
    unrecorded: number,
  ): void {
    backOff.reset();
    const now = Date.now();
    earliestAt = now + timing.pauseMs;
    const end = Math.min(
      ...wants.map(({ until }) => (until === null ? Number.POSITIVE_INFINITY : until * 1000)),
    );
    scheduleBy(isUnfinished ? earliestAt : Math.min(end, now + timing.periodMs * (1 + Math.random() / 10)));
    if (lastSyncAt === undefined || trouble !== undefined)
      voice.say(`${name} is in step: ${present} of ${wants.length} wanted`);
    lastSyncAt = now;
    trouble = undefined;
    sayLeftOut(leftOut + unrecorded);
  }

  function sayLeftOut(count: number): void {
    const { maxItems } = configuration;
    if (count > 0 && !saidLeftOut)
      voice.warning(
        `${name} lacks ${count} wanted addresses: max_items is ${maxItems}, and the newest are taken`,
      );
    saidLeftOut = count > 0;
  }

  function noteFailure(error: unknown): void {
    const message = messageOf(error);
    const pauseMs = pauseAfter(error, backOff);
    const hint = hintOf(error);
    if (trouble?.message !== message) {
      voice.error(`${name}: ${message}`);
      if (hint !== undefined) voice.hint(hint);
    }
    trouble = { since: trouble?.message === message ? trouble.since : Date.now(), message, hint };
    // what could not be read is worth a try as soon as it changes
    earliestAt = Date.now() + (error instanceof WantedError ? timing.settleMs : pauseMs);
    scheduleBy(Date.now() + pauseMs);
  }

  function writeStatus(): void {
    try {
      statusFile.write({
        version: 1,
        pid: process.pid,
        target: name,
        present: outcome?.present,
        foreign: outcome?.foreign,
        leftOut: (outcome?.leftOut ?? 0) + (typeof seen === 'object' ? seen.leftOut : 0),
        lastSyncAt,
        lastAttemptAt,
        nextAttemptAt: nextAt,
        calls: account.calls,
        error: trouble,
      });
      statusProblem = undefined;
    } catch (error) {
      const problem = messageOf(error);
      const meanwhile = trouble === undefined ? '; the account is kept in step' : '';
      if (problem !== statusProblem) voice.warning(`${problem}${meanwhile}`);
      statusProblem = problem;
    }
  }
}

/** So that it can be watched; the first status tells why it cannot be made. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o750 });
  } catch {
    // told with the status
  }
}
