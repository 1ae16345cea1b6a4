import type { AllowedNetwork } from '../configuration/allow-entry.ts';
import { type AddressKey, prefixKey } from '../network.ts';

/** Networks to look addresses up in; what a look-up costs depends on how many lengths of prefixes there are. */
export interface AllowTable {
  /**
   * The network with the longest prefix that covers an address on a decoy's port; among equals the first.
   * @param now milliseconds since the epoch
   */
  find(address: AddressKey, port: number, now: number): AllowedNetwork | undefined;
  /** Every network that covers an address, the longest prefix first, whatever its ports and its end. */
  findAll(address: AddressKey): AllowedNetwork[];
}

/** The networks of one family and length: one alone, where no other has its addresses. */
type Bucket = AllowedNetwork | AllowedNetwork[];

interface Level {
  readonly length: number;
  readonly buckets: Map<AddressKey, Bucket>;
}

export function createAllowTable(networks: Iterable<AllowedNetwork>): AllowTable {
  const levels = { 4: new Map<number, Level>(), 6: new Map<number, Level>() };
  for (const allowed of networks) add(levels[allowed.network.family], allowed);
  const ipv4 = sorted(levels[4]);
  const ipv6 = sorted(levels[6]);

  return { find, findAll };

  function find(address: AddressKey, port: number, now: number): AllowedNetwork | undefined {
    for (const { length, buckets } of typeof address === 'number' ? ipv4 : ipv6) {
      const bucket = buckets.get(prefixKey(address, length));
      if (bucket === undefined) continue;
      const found = Array.isArray(bucket)
        ? bucket.find((allowed) => applies(allowed, port, now))
        : applies(bucket, port, now) && bucket;
      if (found) return found;
    }
    return undefined;
  }

  function findAll(address: AddressKey): AllowedNetwork[] {
    const all = typeof address === 'number' ? ipv4 : ipv6;
    return all.flatMap(({ length, buckets }) => buckets.get(prefixKey(address, length)) ?? []);
  }
}

function add(levels: Map<number, Level>, allowed: AllowedNetwork): void {
  const { length, key } = allowed.network;
  let level = levels.get(length);
  if (level === undefined) {
    level = { length, buckets: new Map() };
    levels.set(length, level);
  }
  const before = level.buckets.get(key);
  if (before === undefined) level.buckets.set(key, allowed);
  else if (Array.isArray(before)) before.push(allowed);
  else level.buckets.set(key, [before, allowed]);
}

function sorted(levels: Map<number, Level>): Level[] {
  return [...levels.values()].sort((one, other) => other.length - one.length);
}

/** Whether a network that covers a source does so on this port and still. */
export function applies({ ports, until }: AllowedNetwork, port: number, now: number): boolean {
  if (until !== undefined && now >= until) return false;
  return ports === undefined || ports.some(({ first, last }) => first <= port && port <= last);
}
