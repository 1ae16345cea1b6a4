import type { Exceptions } from './configuration.ts';
import { type DecoyMapping, decoyMappings, isUnused } from './decoys.ts';
import { highestPortBeside } from './hand-over-port.ts';
import { mergeRanges, type PortRange, readPortRange } from './ports.ts';
import type { Fault, Path } from './problem.ts';
import { DEFAULTS } from './schema-nodes.ts';

/** `except` as the schema has it. */
export type ExceptKey = ExceptItem | readonly ExceptItem[];

type ExceptItem = number | string;

const EPHEMERAL = 'ephemeral';
/** Instead of a value it leaves the key out, as with other keys. */
const OFF = 'off';

/** What `except` without faults leaves alone. */
export function exceptionsOf(except: ExceptKey | undefined): Exceptions {
  const items = itemsOf(except);
  return { ports: mergeRanges(items.flatMap(rangesOf)), ephemeral: items.includes(EPHEMERAL) };
}

/** What the schema cannot say of `ports: unused` and `except`; `lineOf` tells the line on which a value stands. */
export function unusedFaults(root: unknown, lineOf: (path: Path) => number): Fault[] {
  const mappings = decoyMappings(root);
  const unused = mappings.filter(({ decoy }) => isUnused(decoy.ports));
  const [first, ...others] = unused;
  return [
    ...mappings.filter(({ decoy }) => !isUnused(decoy.ports)).flatMap(uselessExcept),
    ...others.map(({ path }) => second(path, lineOf([...first!.path, 'ports']))),
    ...unused.flatMap(companyFaults),
    ...unused.flatMap(exceptFaults),
    ...(first === undefined ? [] : handOverFaults(first, mappings)),
  ];
}

function uselessExcept({ decoy, path }: DecoyMapping): Fault[] {
  if (!isOn(decoy.except)) return [];
  return [{ path: [...path, 'except'], at: 'key', message: 'expected no key except without ports: unused' }];
}

function second(path: Path, line: number): Fault {
  const message = `expected unused in one decoy, got it again (line ${line} has it)`;
  return { path: [...path, 'ports'], at: 'value', message };
}

function companyFaults({ decoy, path }: DecoyMapping): Fault[] {
  return COMPANY.filter(([key]) => isOn(decoy[key])).map(([key, why]) => ({
    path: [...path, key],
    at: 'key',
    message: `expected no key ${key}, as ${why}`,
  }));
}

const COMPANY = [
  ['address', 'ports: unused is on all addresses'],
  ['proxy_protocol', 'no proxy connects to a port that nobody uses'],
] as const;

function isOn(value: unknown): boolean {
  return value !== undefined && value !== OFF;
}

/** Of what is no port and does not look like a range the schema speaks. */
function exceptFaults({ decoy, path }: DecoyMapping): Fault[] {
  const at = [...path, 'except'];
  const items = Array.isArray(decoy.except)
    ? decoy.except.map((item: unknown, index) => ({ item, path: [...at, index] }))
    : [{ item: decoy.except, path: at }];
  return items.flatMap(({ item, path }) => {
    const range = isRangeText(item) ? readPortRange(item) : undefined;
    return typeof range === 'string' ? [{ path, at: 'value', message: range }] : [];
  });
}

function isRangeText(item: unknown): boolean {
  return typeof item === 'string' && /^[0-9]+-[0-9]+$/.test(item);
}

/** The listener needs one port of its own, which is neither excepted nor another decoy's. */
function handOverFaults({ decoy, path }: DecoyMapping, mappings: readonly DecoyMapping[]): Fault[] {
  const ports = mappings.flatMap((each) => [each.decoy.ports].flat().flatMap(rangesOf));
  const left = highestPortBeside([...ports, ...itemsOf(decoy.except).flatMap(rangesOf)]);
  if (left !== undefined) return [];
  const key = isOn(decoy.except) ? 'except' : 'ports';
  const message = 'expected one port at least that is neither excepted nor in another decoy, got none';
  return [{ path: [...path, key], at: 'value', message }];
}

function itemsOf(except: unknown): unknown[] {
  return isOn(except) ? [except].flat() : [...DEFAULTS.except];
}

function rangesOf(item: unknown): PortRange[] {
  const range = readPortRange(item);
  return typeof range === 'string' ? [] : [range];
}
