import { mkdirSync } from 'node:fs';
import { createBackOff } from '../back-off.ts';
import type { Dome9Configuration } from '../configuration/dome9.ts';
import { messageOf } from '../errors.ts';
import { watchDirectory } from '../system/watch-file.ts';
import type { Voice } from '../voice.ts';
import type { Account } from './account.ts';
import { hintOf, pauseAfter } from './attempt.ts';
import { createSchedule } from './schedule.ts';
import { openStatusFile, processMark, type StatusError, targetName } from './status.ts';
import type { Outcome } from './target.ts';
import { isRunning, type Want } from './want.ts';
import { createWantedReader, type Wanted, WantedError } from './wanted.ts';

/** Keeps one account in step, as one configuration has it. */
export interface Keeper {
  readonly configuration: Dome9Configuration;
  readonly account: Account;
  /** How long the pause after the last attempt still lasts, in milliseconds. */
  readonly pauseLeftMs: number;
  /** Breaks off what is under way, and closes the account. */
  stop(): Promise<void>;
}

export interface KeeperOptions {
  readonly configuration: Dome9Configuration;
  readonly account: Account;
  readonly voice: Voice;
  readonly timing?: Partial<Timing>;
  /** How long no attempt is made, in milliseconds. */
  readonly pauseMs?: number;
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
  const schedule = createSchedule(attempt);
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
  schedule.pause(rest.pauseMs ?? 0);
  schedule.runWithin(0);

  return {
    configuration,
    account,
    get pauseLeftMs() {
      return pauseLeftMs();
    },
    async stop() {
      isStopping = true;
      clearInterval(looking);
      await Promise.all([watch.close(), account.close(), schedule.stop()]);
    },
  };

  function pauseLeftMs(): number {
    const { lastRunAt } = schedule;
    return lastRunAt === undefined
      ? schedule.dueInMs
      : Math.max(0, lastRunAt + timing.pauseMs - performance.now());
  }

  /** Also while an attempt is under way, which may have read before. */
  function look(): void {
    if (readWanted() !== seen) schedule.runWithin(timing.settleMs);
  }

  function readWanted(): Wanted | string {
    try {
      return reader.read();
    } catch (error) {
      return messageOf(error);
    }
  }

  async function attempt(): Promise<void> {
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
    { present, leftOut, nextEnd, isUnfinished }: Outcome,
    wants: readonly Want[],
    unrecorded: number,
  ): void {
    const endsInMs = nextEnd === undefined ? Number.POSITIVE_INFINITY : nextEnd * 1000 - Date.now();
    schedule.pause(timing.pauseMs);
    schedule.runWithin(isUnfinished ? 0 : Math.min(endsInMs, timing.periodMs * (1 + Math.random() / 10)));
    if (lastSyncAt === undefined || trouble !== undefined)
      voice.say(`${name} is in step: ${present} of ${wants.length} wanted`);
    lastSyncAt = Date.now();
    trouble = undefined;
    sayLeftOut(leftOut + unrecorded);
    backOff.reset();
  }

  function sayLeftOut(count: number): void {
    const { maxItems } = configuration;
    if (count > 0 && !saidLeftOut)
      voice.warning(
        `${name} lacks ${count} wanted addresses: max_items is ${maxItems}, and the newest that are taken are in it`,
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
    schedule.pause(error instanceof WantedError ? timing.settleMs : pauseMs);
    schedule.runWithin(pauseMs);
  }

  function writeStatus(): void {
    try {
      statusFile.write({
        version: 1,
        pid: process.pid,
        started: processMark(process.pid),
        target: name,
        present: outcome?.present,
        foreign: outcome?.foreign,
        leftOut: (outcome?.leftOut ?? 0) + (typeof seen === 'object' ? seen.leftOut : 0),
        lastSyncAt,
        nextAttemptAt: Date.now() + schedule.dueInMs,
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
