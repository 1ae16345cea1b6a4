import type { Api, ApiCall } from './api.ts';
import { ApiError } from './api-error.ts';
import { overdueSensor } from './comment.ts';
import { isDone, type ListItem, type ListPlan, planList } from './plan.ts';
import type { Outcome, Target } from './target.ts';
import type { Want } from './want.ts';

export interface IpListOptions {
  readonly api: Api;
  readonly name: string;
  readonly sensor: string;
  readonly maxItems: number;
  /** Says what the user ought to know once. */
  readonly onNotice: (message: string) => void;
}

/** Between two of our looks somebody else may write: more often than that, and it has to wait. */
const MOST_ROUNDS = 3;

const IPV4_ONLY_MS = 60 * 60_000;

/** An IP list of the v2 API. It has neither calls for items nor a version: a list is read and replaced as a whole. */
export function createIpList({ api, name, sensor, maxItems, onNotice }: IpListOptions): Target {
  /** Where the list was last time. */
  let id: string | undefined;
  /** The documentation does not say whether a list takes IPv6. In milliseconds of `performance.now()`; 0: it does. */
  let ipv4OnlyUntil = 0;
  const planOf = (list: IpList | undefined, wants: readonly Want[]) =>
    planList(list?.items ?? [], ipv4OnlyUntil === 0 ? wants : wants.filter(isIpv4), { sensor, maxItems });

  return {
    async converge(wants) {
      try {
        return await bringWithIpv6(wants);
      } catch (error) {
        if (!isMissing(error) || id === undefined) throw error;
        id = undefined;
        throw new ApiError('unavailable', `list ${name} was deleted meanwhile: ${error.message}`);
      }
    },
    async preview(wants) {
      return planOf((await find())[0], wants);
    },
  };

  async function bring(wants: readonly Want[]): Promise<Outcome> {
    const skipped = ipv4OnlyUntil === 0 ? 0 : wants.filter((want) => !isIpv4(want)).length;
    const [first, ...others] = await findOrCreate();
    for (const other of others) await takeOwnOut(other);
    let list = first!;
    id = list.id;
    noticeOverdue(list);
    for (let round = 1; ; round++) {
      const plan = planOf(list, wants);
      if (isDone(plan)) return outcomeOf(plan, skipped);
      if (round > MOST_ROUNDS)
        throw new ApiError('unavailable', `list ${name} does not stay as it is written`);
      await replace(list, plan);
      list = await read(list.id);
    }
  }

  /** Without IPv6 where a list with it is refused, twice, and one without it is not; tried again an hour later. */
  async function bringWithIpv6(wants: readonly Want[]): Promise<Outcome> {
    if (ipv4OnlyUntil <= performance.now()) ipv4OnlyUntil = 0;
    const isLimited = ipv4OnlyUntil > 0 || wants.every(isIpv4);
    const refusal = await refusalOf(() => bring(wants));
    if (!(refusal instanceof WriteRefused)) return refusal;
    if (isLimited) throw refusal;
    const second = await refusalOf(() => bring(wants));
    if (!(second instanceof WriteRefused)) return second;
    ipv4OnlyUntil = performance.now() + IPV4_ONLY_MS;
    try {
      const outcome = await bring(wants);
      onNotice(`the list does not take IPv6 addresses, which are left out: ${second.message}`);
      return outcome;
    } catch (error) {
      ipv4OnlyUntil = 0;
      throw error instanceof WriteRefused ? second : error;
    }
  }

  async function findOrCreate(): Promise<IpList[]> {
    const found = await find();
    if (found.length > 0) return found;
    await create();
    // another host may have made one at the same time: all are to use the same
    const made = await find();
    if (made.length === 0) throw new ApiError('unavailable', `list ${name} is not there after it was made`);
    return made;
  }

  /** The list as it was found last time; else all of that name, the one to use first. */
  async function find(): Promise<IpList[]> {
    if (id !== undefined) {
      try {
        return [await read(id)];
      } catch (error) {
        if (!isMissing(error)) throw error;
        id = undefined;
      }
    }
    const named = parseNamed(await api.send({ method: 'GET', path: '/v2/IpList' }), name);
    // where the overview leaves items out, a list is not an empty one
    const lists: IpList[] = [];
    for (const list of named) lists.push(list.items == null ? await read(String(list.id)) : parseList(list));
    if (lists.length > 1)
      onNotice(`the account has ${lists.length} lists ${name}: delete all but ${lists[0]!.id}`);
    return lists;
  }

  /** A call to make the list that was given up may have been carried out later: what it left must not block for ever. */
  async function takeOwnOut(other: IpList): Promise<void> {
    const plan = planOf(other, []);
    if (isDone(plan)) return;
    try {
      await replace(other, plan);
    } catch (error) {
      // somebody has deleted it, as was asked for
      if (!isMissing(error)) throw error;
    }
  }

  /** A rule of the account must refer to it before it can block anything, so it is made as soon as possible. */
  async function create(): Promise<void> {
    const json = { name, description: `Kept by honeyport of ${sensor}`, items: [] };
    await write({ method: 'POST', path: '/v2/IpList', body: { json } });
  }

  async function read(listId: string): Promise<IpList> {
    return parseList(parseJson(await api.send({ method: 'GET', path: pathOf(listId) })));
  }

  async function replace(list: IpList, { items }: ListPlan): Promise<void> {
    const json = { description: list.description, items };
    try {
      await write({ method: 'PUT', path: pathOf(list.id), body: { json } });
    } catch (error) {
      throw isRefusal(error) ? new WriteRefused(error) : error;
    }
  }

  /** Whatever is written, a look with the same key came before. */
  async function write(call: ApiCall): Promise<void> {
    try {
      await api.send(call);
    } catch (error) {
      const isDenied = error instanceof ApiError && error.failure === 'credentials';
      throw isDenied ? new ApiError('read-only', error.message, error.retryAfterMs) : error;
    }
  }

  /** The API knows no ends: what a host leaves that is gone, or has got another name, would block for ever. */
  function noticeOverdue(list: IpList): void {
    const sensors = list.items.flatMap(({ comment }) => overdueSensor(comment, sensor, Date.now()) ?? []);
    for (const other of new Set(sensors))
      onNotice(
        `list ${name} has items of sensor ${other} that should have ended: take them out if that host is gone`,
      );
  }
}

/** A list was not taken. */
class WriteRefused extends ApiError {
  constructor({ message, retryAfterMs }: ApiError) {
    super('refused', message, retryAfterMs);
  }
}

async function refusalOf(bring: () => Promise<Outcome>): Promise<Outcome | WriteRefused> {
  try {
    return await bring();
  } catch (error) {
    if (error instanceof WriteRefused) return error;
    throw error;
  }
}

function isRefusal(error: unknown): error is ApiError {
  return error instanceof ApiError && error.failure === 'refused';
}

function isMissing(error: unknown): error is ApiError {
  return error instanceof ApiError && error.failure === 'missing';
}

function isIpv4({ ip }: Want): boolean {
  return !ip.includes(':');
}

function outcomeOf({ present, leftOut, foreign, nextEnd }: ListPlan, skipped: number): Outcome {
  return { present, leftOut: leftOut + skipped, foreign, nextEnd, isUnfinished: false };
}

interface IpList {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly items: readonly ListItem[];
}

function pathOf(id: string): string {
  return `/v2/IpList/${encodeURIComponent(id)}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unexpected('JSON');
  }
}

/** Those of that name, the oldest first where ids rise; of the others nothing is expected. */
function parseNamed(text: string, name: string): Record<string, unknown>[] {
  const lists = parseJson(text);
  if (!Array.isArray(lists)) throw unexpected('a list of IP lists');
  return lists
    .filter((list) => list?.name === name)
    .sort((one, other) => String(one.id).localeCompare(String(other.id), 'en', { numeric: true }));
}

/** Whatever else stands in an item is kept, and sent back as it came. */
function parseList(value: unknown): IpList {
  const { id, name, description, items } = (value ?? {}) as Record<string, unknown>;
  if (typeof id !== 'string' && typeof id !== 'number') throw unexpected('an IP list with an id');
  if (typeof name !== 'string') throw unexpected('an IP list with a name');
  const all = items === null ? [] : items;
  if (!Array.isArray(all) || !all.every(isItem)) throw unexpected('an IP list with items that have an ip');
  return {
    id: String(id),
    name,
    description: typeof description === 'string' ? description : '',
    items: all,
  };
}

function isItem(value: unknown): value is ListItem {
  return typeof value === 'object' && value !== null && typeof (value as { ip?: unknown }).ip === 'string';
}

/** Nothing is written to what cannot be read. */
function unexpected(what: string): ApiError {
  return new ApiError('unexpected', `the answer is not ${what}: is url the one of the API?`);
}
