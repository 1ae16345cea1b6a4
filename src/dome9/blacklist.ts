import { createHash } from 'node:crypto';
import { UserError } from '../errors.ts';
import type { StateFile } from '../system/state-file.ts';
import type { Api } from './api.ts';
import { ApiError } from './api-error.ts';
import { commentOf } from './comment.ts';
import type { Outcome, Target } from './target.ts';
import { firstEnd, newestWants, type Want } from './want.ts';

export interface BlacklistOptions {
  readonly api: Api;
  /** Which account it is, as in `accountMark`. */
  readonly account: string;
  readonly sensor: string;
  readonly maxItems: number;
  /** Where it is kept what we have put there: what the API answers to a question for it is not documented. */
  readonly record: StateFile;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Says what the user ought to know once. */
  readonly onNotice: (message: string) => void;
}

/** A call for each address: more at once would keep the others of the account waiting. */
const MOST_CALLS = 50;

/** What was put there, or may have been. */
interface PostedItem {
  /** In seconds since the epoch; null: never. */
  readonly until: number | null;
  /** An answer said that it is there. */
  readonly isConfirmed: boolean;
}

type Posted = Map<string, PostedItem>;

/**
 * The blacklist of the v1 API, which ends items by itself. Nobody can tell there whose an item is: only what the record
 * says is ours is ever taken back.
 */
export function createBlacklist({
  api,
  account,
  sensor,
  maxItems,
  record,
  now,
  onNotice,
}: BlacklistOptions): Target {
  const posted: Posted = readRecord(record, account);
  /** Refused once, with the end that was refused. */
  const refused = new Map<string, number | null>();

  return {
    async converge(wants) {
      forgetEnded();
      const { taken, removed, missing, leftOut } = planOf(wants);
      const steps = [...removed.map((ip) => () => remove(ip)), ...missing.map((want) => () => post(want))];
      for (const step of steps.slice(0, MOST_CALLS)) await step();
      return outcomeOf(taken, leftOut, steps.length > MOST_CALLS);
    },
    async preview(wants) {
      forgetEnded();
      const { missing, removed, leftOut } = planOf(wants);
      const names = missing.map(({ ip }) => ip);
      const added = names.filter((ip) => !posted.has(ip));
      return { added, changed: names.filter((ip) => posted.has(ip)), removed, leftOut, foreign: undefined };
    },
  };

  function planOf(wants: readonly Want[]) {
    const taken = newestWants(wants, maxItems);
    const names = new Set(taken.map(({ ip }) => ip));
    const missing = taken.filter(
      ({ ip, until }) => !isThere(ip, until) && !(refused.has(ip) && refused.get(ip) === until),
    );
    const removed = [...posted.keys()].filter((ip) => !names.has(ip));
    return { taken, missing, removed, leftOut: wants.length - taken.length };
  }

  function isThere(ip: string, until: number | null): boolean {
    const item = posted.get(ip);
    return item?.isConfirmed === true && item.until === until;
  }

  function outcomeOf(taken: readonly Want[], noRoom: number, isUnfinished: boolean): Outcome {
    const isPresent = ({ ip }: Want) => posted.get(ip)?.isConfirmed === true;
    const notTaken = taken.filter((want) => refused.has(want.ip) && !isPresent(want)).length;
    const present = taken.filter(isPresent).length;
    return {
      present,
      leftOut: noRoom + notTaken,
      foreign: undefined,
      nextEnd: firstEnd(taken),
      isUnfinished,
    };
  }

  /** The record is first: what is there and not in it would stay for ever. */
  async function post(want: Want): Promise<void> {
    const before = posted.get(want.ip);
    keep(want.ip, { until: want.until, isConfirmed: false });
    try {
      await api.send({ method: 'POST', path: '/v1/blacklist/Items/', body: { form: formOf(want) } });
    } catch (error) {
      if (!(error instanceof ApiError && error.failure === 'refused')) throw error;
      refused.set(want.ip, want.until);
      keep(want.ip, before);
      onNotice(`${want.ip} is left out: ${error.message}`);
      return;
    }
    keep(want.ip, { until: want.until, isConfirmed: true });
  }

  async function remove(ip: string): Promise<void> {
    try {
      await api.send({ method: 'DELETE', path: `/v1/blacklist/items/${encodeURIComponent(ip)}` });
    } catch (error) {
      if (!(error instanceof ApiError && error.failure === 'missing')) throw error;
    }
    keep(ip, undefined);
  }

  function formOf(want: Want): Record<string, string> {
    const form = { IP: want.ip, Comment: commentOf(want, sensor) };
    if (want.until === null) return form;
    return { ...form, TTL: String(Math.max(1, Math.ceil(want.until - now() / 1000))) };
  }

  function forgetEnded(): void {
    const seconds = now() / 1000;
    const isOver = (until: number | null) => until !== null && until <= seconds;
    for (const [ip, { until }] of posted) if (isOver(until)) posted.delete(ip);
    for (const [ip, until] of refused) if (isOver(until)) refused.delete(ip);
  }

  function keep(ip: string, item: PostedItem | undefined): void {
    if (item === undefined) posted.delete(ip);
    else posted.set(ip, item);
    record.write({ version: 1, account, posted: Object.fromEntries(posted) });
  }
}

/** @throws UserError when it is the record of another account: what was put there nobody would take back */
function readRecord(record: StateFile, account: string): Posted {
  const { account: recorded = account, posted = {} } = (record.read() ?? {}) as RecordContent;
  const entries = Object.entries(posted).map(([ip, item]): [string, PostedItem] => {
    const until = typeof item?.until === 'number' ? item.until : null;
    return [ip, { until, isConfirmed: item?.isConfirmed === true }];
  });
  if (recorded !== account && entries.length > 0) {
    throw new UserError(`${record.path} has what was put into another account: url or key has changed`, {
      hint: 'unban all with the former url and key, or take them out of that account by hand and remove the file',
    });
  }
  return new Map(entries);
}

interface RecordContent {
  readonly account?: string;
  readonly posted?: Readonly<Record<string, Partial<PostedItem> | null>>;
}

/** Tells accounts apart without telling the key. */
export function accountMark(url: string, keyId: string): string {
  return createHash('sha256').update(`${url} ${keyId}`).digest('hex').slice(0, 16);
}

/** How many addresses a record says were put there, and may still be. */
export function countRecorded(record: StateFile, nowMs: number): number {
  const { posted = {} } = (record.read() ?? {}) as RecordContent;
  return Object.values(posted).filter((item) => item?.until == null || item.until * 1000 > nowMs).length;
}
