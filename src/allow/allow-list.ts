import type { AllowEntry, AllowedNetwork } from '../configuration/allow-entry.ts';
import { addressKey, parseNetwork } from '../network.ts';
import { type AllowTable, createAllowTable } from './allow-table.ts';

/** Everybody who is never bannable: the entries, the addresses of their host names, and what the guard found. */
export interface AllowList {
  /**
   * What covers a source on a decoy's port: an address or network of the list before a host name and that before the
   * guard; of each, the longest prefix.
   * @param source canonical text
   * @param now milliseconds since the epoch
   */
  find(source: string, port: number, now: number): AllowedNetwork | undefined;
  /** All that cover a source, on whatever port, those whose end is past among them. */
  findAll(source: string): AllowedNetwork[];
  /** Replaces the entries. */
  useEntries(entries: readonly AllowEntry[]): void;
  /** Takes over what the host names stand for now. */
  useHostNames(addressesOf: (name: string) => readonly string[]): void;
  /** Replaces what the guard found. */
  useGuarded(guarded: readonly AllowedNetwork[]): void;
  /** All networks. */
  networks(): Iterable<AllowedNetwork>;
}

export function createAllowList(): AllowList {
  let entries: readonly AllowEntry[] = [];
  let named: readonly AllowedNetwork[] = [];
  let guarded: readonly AllowedNetwork[] = [];
  // one table each, since the last two change often and the first may have a hundred thousand entries
  let tables: Record<'entries' | 'named' | 'guarded', AllowTable> = {
    entries: createAllowTable([]),
    named: createAllowTable([]),
    guarded: createAllowTable([]),
  };

  return {
    find(source, port, now) {
      const key = addressKey(source);
      return (
        tables.entries.find(key, port, now) ??
        tables.named.find(key, port, now) ??
        tables.guarded.find(key, port, now)
      );
    },
    findAll(source) {
      const key = addressKey(source);
      return [tables.entries, tables.named, tables.guarded].flatMap((table) => table.findAll(key));
    },
    useEntries(wanted) {
      entries = wanted;
      tables = { ...tables, entries: createAllowTable(entries.filter(hasNetwork)) };
    },
    useHostNames(addressesOf) {
      named = entries.flatMap((entry) =>
        hasNetwork(entry) ? [] : networksOf(entry, addressesOf(entry.source)),
      );
      tables = { ...tables, named: createAllowTable(named) };
    },
    useGuarded(wanted) {
      guarded = wanted;
      tables = { ...tables, guarded: createAllowTable(guarded) };
    },
    *networks() {
      for (const entry of entries) if (hasNetwork(entry)) yield entry;
      yield* named;
      yield* guarded;
    },
  };
}

function hasNetwork(entry: AllowEntry): entry is AllowEntry & AllowedNetwork {
  return entry.network !== undefined;
}

/** The entry of a host name, once for each of its addresses. */
function networksOf(entry: AllowEntry, addresses: readonly string[]): AllowedNetwork[] {
  return addresses.flatMap((address) => {
    const network = parseNetwork(address);
    return 'expected' in network ? [] : [{ ...entry, network }];
  });
}
