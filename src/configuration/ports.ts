import { UserError } from '../errors.ts';
import { brief } from './printable.ts';
import { expectedGot } from './problem.ts';

/** Ports from `first` to `last`, both among them. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

const HIGHEST_PORT = 65_535;
const PORT = 'a port between 1 and 65535';
const PORT_OR_RANGE = `${PORT} or a range such as 5900-5910`;

/** A port is one thing that a range is, or what is wrong with it as `expected ..., got ...`. */
export function readPortRange(item: unknown): PortRange | string {
  if (typeof item === 'number') return isPort(item) ? { first: item, last: item } : expectedGot(PORT, item);
  const ends = typeof item === 'string' ? /^([0-9]+)-([0-9]+)$/.exec(item) : null;
  if (ends === null) return expectedGot(PORT_OR_RANGE, item);
  const first = Number(ends[1]);
  const last = Number(ends[2]);
  if (!isPort(first) || !isPort(last)) return `expected a range between 1 and 65535, got ${bare(item)}`;
  return first > last ? `expected a range that rises, got ${bare(item)}` : { first, last };
}

/** The ranges of a list such as `22,80-90`, or what is wrong with its first bad item. */
export function readPortList(text: string): PortRange[] | string {
  const ranges = text.split(',').map((item) => readPortRange(/^[0-9]+$/.test(item) ? Number(item) : item));
  return ranges.find((range) => typeof range === 'string') ?? (ranges as PortRange[]);
}

/** The same ports in as few ranges as can be, in order. */
export function mergeRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const { first, last } of ranges.toSorted((one, other) => one.first - other.first)) {
    const before = merged.at(-1);
    if (before === undefined || before.last + 1 < first) merged.push({ first, last });
    else merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, last) };
  }
  return merged;
}

/** Each port of a range, in order. */
export function* portsOf({ first, last }: PortRange): Generator<number> {
  for (let port = first; port <= last; port++) yield port;
}

/**
 * The ports of `-p 31337 -p 2000-2010 -p 22,23`, in the order given.
 *
 * @param texts the arguments, one for each -p
 * @throws UserError `-p 70000: expected a port between 1 and 65535, got 70000`, also for a port given twice
 */
export function parsePortArguments(texts: readonly string[]): number[] {
  const ports = new Set<number>();
  for (const text of texts) {
    for (const port of portsOfArgument(text)) {
      if (ports.has(port)) throw refusal(text, `expected each port once, got ${port} again`);
      ports.add(port);
    }
  }
  return [...ports];
}

function portsOfArgument(text: string): number[] {
  const ranges = readPortList(text);
  if (typeof ranges === 'string') throw refusal(text, ranges);
  return ranges.flatMap((range) => [...portsOf(range)]);
}

function refusal(argument: string, message: string): UserError {
  const shown = bare(argument) === '' ? '""' : bare(argument);
  return new UserError(`-p ${shown}: ${message}`, { hint: 'for example -p 22, -p 5900-5910 or -p 22,23' });
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= HIGHEST_PORT;
}

/** Without JSON's quotes: a range is a string only because YAML has no other way. */
function bare(text: unknown): string {
  return brief(text).replace(/^"|"$/g, '');
}
