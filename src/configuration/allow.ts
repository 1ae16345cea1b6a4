import { ConfigurationError } from '../errors.ts';
import { type AllowEntry, rangesProblem, readSource, readUntil } from './allow-entry.ts';
import { isMapping } from './mapping.ts';
import { type PortRange, readPortRange } from './ports.ts';
import { printable } from './printable.ts';
import type { Fault, Path } from './problem.ts';
import { ALLOW_SOURCE_PATTERN, ALLOW_UNTIL_PATTERN } from './schema-allow.ts';

/** An item of `allow` as the schema has it. */
export type AllowItem = string | AllowSource | { readonly file: string };

interface AllowSource {
  readonly source: string;
  readonly ports?: number | string | readonly (number | string)[];
  readonly until?: string;
  readonly comment?: string;
}

/** The entries of `allow`, in the order of the file, and the list files among them. */
export interface ReadAllowList {
  readonly entries: readonly AllowEntry[];
  readonly files: readonly string[];
}

/** Where the items of `allow` stand. */
export interface AllowListSource {
  readonly file: string;
  /** The line of `file` on which a value stands. */
  readonly lineOf: (path: Path) => number;
  /** Reads a list file; may throw ConfigurationError. */
  readonly readList: (path: string) => AllowEntry[];
}

/** About 100 bytes of memory each; beyond it, a mistake is likelier than a need. */
const MOST_ENTRIES = 250_000;
/** All become elements of a set of the kernel that takes time of their square to change. */
const MOST_RANGES = 8192;
/** Each is asked for again and again. */
const MOST_HOST_NAMES = 1000;

/** What the schema cannot say of `allow`. */
export function allowFaults(root: unknown): Fault[] {
  return itemsOf(root).flatMap((placed) => (isFile(placed.item) ? [] : sourceFaults(placed.item, placed)));
}

/**
 * The entries, with those of the list files, and what is wrong with these, each problem with its file and line. Items
 * that have faults of their own are left out.
 */
export function readAllowList(
  root: unknown,
  { file, lineOf, readList }: AllowListSource,
): ReadAllowList & { readonly problems: readonly string[]; readonly hint: string | undefined } {
  const entries: AllowEntry[] = [];
  const files: string[] = [];
  const problems: string[] = [];
  let hint: string | undefined;
  for (const { item, ...place } of itemsOf(root)) {
    if (!isFile(item)) {
      if (sourceFaults(item, place).length === 0) entries.push(entryOf(item, file, lineOf(place.path)));
      continue;
    }
    files.push(item.file);
    try {
      for (const entry of readList(item.file)) entries.push(entry);
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      problems.push(...error.problems);
      hint ??= error.hint;
    }
  }
  return { entries, files, problems: [...problems, ...boundProblems(file, entries)], hint };
}

function boundProblems(file: string, entries: readonly AllowEntry[]): string[] {
  const ranges = entries.reduce((sum, { ports }) => sum + (ports?.length ?? 0), 0);
  const names = entries.reduce((sum, { network }) => sum + (network === undefined ? 1 : 0), 0);
  return [
    ...tooMany(file, 'entries', entries.length, MOST_ENTRIES),
    ...tooMany(file, 'ports and ranges', ranges, MOST_RANGES),
    ...tooMany(file, 'host names', names, MOST_HOST_NAMES),
  ];
}

function tooMany(file: string, what: string, count: number, most: number): string[] {
  if (count <= most) return [];
  return [
    printable(`${file}: allow: expected at most ${most} ${what} with those of its files, got ${count}`),
  ];
}

interface PlacedItem {
  readonly item: AllowSource | { readonly file: string };
  readonly path: Path;
  /** Where its source stands: the item itself, or a key of it. */
  readonly sourcePath: Path;
}

/** The items that have the shape of one; of the rest the schema speaks. */
function itemsOf(root: unknown): PlacedItem[] {
  const allow = isMapping(root) && Array.isArray(root.allow) ? (root.allow as unknown[]) : [];
  return allow.flatMap((item, index) => {
    const shaped = shapeOf(item);
    const path = ['allow', index];
    const sourcePath = typeof item === 'string' ? path : [...path, 'source'];
    return shaped === undefined ? [] : [{ item: shaped, path, sourcePath }];
  });
}

function shapeOf(item: unknown): PlacedItem['item'] | undefined {
  if (typeof item === 'string') return shapeOf({ source: item });
  if (!isMapping(item)) return undefined;
  if (typeof item.source === 'string' && SOURCE.test(item.source)) return item as unknown as AllowSource;
  return typeof item.file === 'string' && item.file.startsWith('/') ? { file: item.file } : undefined;
}

const SOURCE = new RegExp(ALLOW_SOURCE_PATTERN);

function isFile(item: PlacedItem['item']): item is { readonly file: string } {
  return !('source' in item);
}

function sourceFaults(
  { source, ports, until }: AllowSource,
  { path, sourcePath }: Omit<PlacedItem, 'item'>,
): Fault[] {
  const read = readSource(source);
  const faults = [
    ...(typeof read === 'string' ? [{ path: sourcePath, message: read }] : []),
    ...portFaults(ports, [...path, 'ports']),
    ...untilFaults(until, [...path, 'until']),
  ];
  return faults.map((fault) => ({ ...fault, at: 'value' }));
}

/** Of what is no range at all the schema speaks. */
function portFaults(ports: unknown, path: Path): Omit<Fault, 'at'>[] {
  const items = Array.isArray(ports)
    ? ports.map((item, index) => ({ item, path: [...path, index] }))
    : [{ item: ports, path }];
  const tooManyRanges = rangesProblem(items.length);
  if (tooManyRanges !== undefined) return [{ path, message: tooManyRanges }];
  return items.flatMap(({ item, path: at }) => {
    const range = typeof item === 'string' && /^[0-9]+-[0-9]+$/.test(item) ? readPortRange(item) : undefined;
    return typeof range === 'string' ? [{ path: at, message: range }] : [];
  });
}

/** The schema knows the shape of a day, but not how many days a month has. */
function untilFaults(until: unknown, path: Path): Omit<Fault, 'at'>[] {
  const read = typeof until === 'string' && UNTIL.test(until) ? readUntil(until) : undefined;
  return typeof read === 'string' ? [{ path, message: read }] : [];
}

const UNTIL = new RegExp(ALLOW_UNTIL_PATTERN);

function entryOf({ source, ports, until, comment }: AllowSource, file: string, line: number): AllowEntry {
  const read = readSource(source);
  // of values that are neither the schema speaks; here they must do no harm
  const portItems = [ports ?? []]
    .flat()
    .filter((item) => typeof item === 'number' || typeof item === 'string');
  const ranges = portItems.map(readPortRange).filter(isRange);
  const end = typeof until === 'string' ? readUntil(until) : undefined;
  return {
    source,
    network: typeof read === 'string' ? undefined : read.network,
    ports: ports === undefined ? undefined : ranges,
    until: typeof end === 'number' ? end : undefined,
    comment,
    file,
    line,
  };
}

function isRange(range: PortRange | string): range is PortRange {
  return typeof range !== 'string';
}
