import { type Address, parseAddress } from '../address.ts';
import { isMapping } from './mapping.ts';
import { type PortRange, portsOf, readPortRange } from './ports.ts';
import { expectedGot, type Fault, type Path } from './problem.ts';

/** What the schema cannot say of decoys; `lineOf` tells the line of the file on which a value stands. */
export function decoyFaults(root: unknown, lineOf: (path: Path) => number): Fault[] {
  const decoys = drafts(root);
  return [
    ...decoys.flatMap(addressFaults),
    ...nameFaults(decoys, lineOf),
    ...decoys.flatMap(({ ports }) => ports.flatMap(rangeFaults)),
    ...portFaults(decoys, lineOf),
  ];
}

/** `port-<first port>`: the name of a decoy without a configured one. */
export function nameOfPorts(first: number): string {
  return `port-${first}`;
}

/** Whether `ports` of a decoy asks for every port that nobody uses. */
export function isUnused(ports: unknown): boolean {
  return ports === 'unused';
}

/** The name of a decoy with `ports: unused` without a configured one. */
export const NAME_OF_UNUSED = 'unused';

/** A decoy that is at least a mapping, and where it stands. */
export interface DecoyMapping {
  readonly decoy: Readonly<Record<string, unknown>>;
  readonly path: Path;
}

export function decoyMappings(root: unknown): DecoyMapping[] {
  const decoys: unknown[] = isMapping(root) && Array.isArray(root.decoys) ? root.decoys : [];
  return decoys.flatMap((decoy, index) => (isMapping(decoy) ? [{ decoy, path: ['decoys', index] }] : []));
}

/** One entry of `ports`: what it says, or what is wrong with it. */
interface PortEntry {
  readonly path: Path;
  readonly range: PortRange | string;
}

/** As much of a decoy as can be understood; the schema speaks of the rest. */
interface DraftDecoy {
  readonly path: Path;
  readonly name: string | undefined;
  readonly addressText: string | undefined;
  readonly address: Address | undefined;
  readonly ports: readonly PortEntry[];
  /** Whether it is the one with `ports: unused`; of a second one unused.ts speaks. */
  readonly isUnused: boolean;
}

function drafts(root: unknown): DraftDecoy[] {
  const mappings = decoyMappings(root);
  const unused = mappings.find(({ decoy }) => isUnused(decoy.ports));
  return mappings.map((mapping) => draftOf(mapping, mapping === unused));
}

function draftOf({ decoy, path }: DecoyMapping, isUnused: boolean): DraftDecoy {
  const name = typeof decoy.name === 'string' ? decoy.name : undefined;
  const addressText = typeof decoy.address === 'string' ? decoy.address : undefined;
  const address = addressText === undefined ? undefined : parseAddress(addressText);
  return { path, name, addressText, address, ports: portEntries(decoy.ports, [...path, 'ports']), isUnused };
}

function portEntries(ports: unknown, path: Path): PortEntry[] {
  const entries = Array.isArray(ports)
    ? ports.map((item, index) => ({ item, path: [...path, index] }))
    : [{ item: ports, path }];
  return entries
    .filter(({ item }) => isPortOrRange(item))
    .map(({ item, path }) => ({ path, range: readPortRange(item) }));
}

/** Of anything else the schema says what it should be, and of numbers whether they are ports. */
function isPortOrRange(item: unknown): boolean {
  if (typeof item === 'number') return typeof readPortRange(item) !== 'string';
  return typeof item === 'string' && /^[0-9]+-[0-9]+$/.test(item);
}

function addressFaults({ path, addressText, address }: DraftDecoy): Fault[] {
  if (addressText === undefined || address !== undefined) return [];
  const zone = parseAddress(addressText.replace(/%.*$/s, '')) !== undefined;
  const expected = zone ? 'an address without a zone' : 'an IPv4 or IPv6 address';
  return [{ path: [...path, 'address'], at: 'value', message: expectedGot(expected, addressText) }];
}

function rangeFaults({ path, range }: PortEntry): Fault[] {
  return typeof range === 'string' ? [{ path, at: 'value', message: range }] : [];
}

/** A name, given or made from the first port, is what tells decoys apart in the log. */
function nameFaults(decoys: readonly DraftDecoy[], lineOf: (path: Path) => number): Fault[] {
  const owners = new Map<string, Path>();
  // Given names first: a made one gives way to them wherever they stand.
  const named = decoys.filter(({ name }) => name !== undefined);
  const unnamed = decoys.filter(({ name }) => name === undefined);
  return [...named, ...unnamed].flatMap((decoy) => {
    const name = nameOf(decoy);
    if (name === undefined) return [];
    const owner = owners.get(name);
    if (owner === undefined) owners.set(name, decoy.path);
    return owner === undefined ? [] : [secondName(decoy, name, lineOf(owner))];
  });
}

function nameOf({ name, ports, isUnused }: DraftDecoy): string | undefined {
  const range = ports[0]?.range;
  if (name !== undefined) return name;
  if (isUnused) return NAME_OF_UNUSED;
  return typeof range === 'object' ? nameOfPorts(range.first) : undefined;
}

function secondName({ path, name }: DraftDecoy, taken: string, line: number): Fault {
  const message = `expected each name once, got ${taken} (the decoy on line ${line} has it)`;
  if (name !== undefined) return { path: [...path, 'name'], at: 'value', message };
  return {
    path,
    at: 'value',
    message: `expected a key name, as ${taken} is that of the decoy on line ${line}`,
  };
}

/** Who has a port, and where: on an address, or on all of them. */
interface Claim {
  readonly path: Path;
  readonly scope: string;
}

/** Every port on every address of both families; a file that asks for more would only fill the memory. */
const MOST_PORTS = 2 * 65_535;

function portFaults(decoys: readonly DraftDecoy[], lineOf: (path: Path) => number): Fault[] {
  const claims = new Claims(lineOf);
  const faults: Fault[] = [];
  let ports = 0;
  for (const { decoy, path, range } of rangesOf(decoys)) {
    ports += range.last - range.first + 1;
    if (ports > MOST_PORTS) return [...faults, tooManyPorts(path)];
    const message = claims.add(range, path, decoy);
    if (message !== undefined) faults.push({ path, at: 'value', message });
  }
  return faults;
}

function rangesOf(decoys: readonly DraftDecoy[]) {
  return decoys.flatMap((decoy) =>
    decoy.ports.flatMap(({ path, range }) => (typeof range === 'string' ? [] : [{ decoy, path, range }])),
  );
}

function tooManyPorts(path: Path): Fault {
  return {
    path,
    at: 'value',
    message: `expected at most ${MOST_PORTS} ports in all decoys, got more from here on`,
  };
}

/** Which decoy has which port. */
class Claims {
  readonly #claims = new Map<string, Claim>();
  readonly #lineOf: (path: Path) => number;

  constructor(lineOf: (path: Path) => number) {
    this.#lineOf = lineOf;
  }

  /** Claims each port of a range, up to the first that is taken; says which one that is. */
  add(range: PortRange, path: Path, decoy: DraftDecoy): string | undefined {
    const { scope, covers, meets } = reachOf(decoy);
    for (const port of portsOf(range)) {
      const owner = this.#ownerOf(port, meets);
      if (owner !== undefined) return this.#secondPort(port, scope, owner);
      for (const covered of covers) this.#claims.set(`${covered} ${port}`, { path, scope });
    }
    return undefined;
  }

  #ownerOf(port: number, scopes: readonly string[]): Claim | undefined {
    return scopes.map((scope) => this.#claims.get(`${scope} ${port}`)).find((claim) => claim !== undefined);
  }

  #secondPort(port: number, scope: string, owner: Claim): string {
    const where = owner.scope === scope ? '' : ` on ${owner.scope}`;
    return `expected each port once, got ${port} (line ${this.#lineOf(owner.path)} has it${where})`;
  }
}

/** A decoy's addresses: the scopes in which its ports are noted, and those in which a port of others is in its way. */
interface Reach {
  readonly scope: string;
  readonly covers: readonly string[];
  readonly meets: readonly string[];
}

const ALL_ADDRESSES = 'all addresses';
const WILDCARDS = { 4: '0.0.0.0', 6: '::' } as const;

function reachOf({ address, addressText }: DraftDecoy): Reach {
  if (address !== undefined) return reachOfAddress(address);
  // Of an address that is none, only the same text is certain to be the same place.
  if (addressText !== undefined) return { scope: addressText, covers: [addressText], meets: [addressText] };
  return { scope: ALL_ADDRESSES, covers: [ALL_ADDRESSES, 'any 4', 'any 6', 'any'], meets: ['any'] };
}

function reachOfAddress({ text, family }: Address): Reach {
  const covers = [text, `any ${family}`, 'any'];
  const meets = text === WILDCARDS[family] ? [`any ${family}`] : [text, WILDCARDS[family], ALL_ADDRESSES];
  return { scope: text, covers, meets };
}
