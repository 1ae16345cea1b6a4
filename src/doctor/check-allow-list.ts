import { lstatSync, type Stats } from 'node:fs';
import { allowExportPath } from '../allow/allow-export.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { readRegularFile } from '../configuration/read.ts';
import { messageOf } from '../errors.ts';
import { formatRanges } from '../format/ports.ts';
import { addressKey, type Network, parseNetwork, prefixKey } from '../network.ts';
import { ageText } from './check-log.ts';
import { type JailPlace, placeOf } from './check-nftables.ts';
import type { Fail2banFacts } from './fail2ban-facts.ts';
import { type Host, printed } from './host.ts';
import { finding, note, orOk, type Result, RUN_AS_ROOT, skipped } from './result.ts';

export interface AllowListSubject {
  readonly host: Host;
  readonly configuration: Configuration;
  readonly facts: Fail2banFacts;
}

/** As the listener writes at most, and the action reads. */
const MOST_BYTES = 64 * 1024 * 1024;
const RELOAD = 'systemctl reload honeyport; whether the change was refused: journalctl -u honeyport -n 20';
const SEE_LOG = 'fail2ban says why: grep honeyport_nftables /var/log/fail2ban.log';

/** Whether the exported list is the configuration's, can be trusted by the action, and is in the kernel. */
export async function checkAllowList(subject: AllowListSubject): Promise<Result[]> {
  const { host, configuration, facts } = subject;
  const path = allowExportPath(configuration.log.file.path);
  const stats = lookAt(path);
  if (typeof stats === 'string') return [noList(path, stats)];
  const list = readList(path);
  if (typeof list === 'string')
    return [host.isRoot ? unreadable(path, list) : skipped(`${path}: ${list}`, RUN_AS_ROOT)];
  const results = [
    ...trustResults(path, stats, configuration.log.file.path),
    ...stepResults(path, list, configuration, host.now),
    ...(await kernelResults(host, list, facts)),
  ];
  const count = `${list.entries.length} ${list.entries.length === 1 ? 'entry' : 'entries'}`;
  return orOk(
    results,
    `${path} has ${count}, written ${ageText(host.now - list.time)} ago, as the configuration`,
  );
}

interface Exported {
  readonly by: string;
  readonly net: string;
  readonly ports?: string;
  /** For what it holds, where it is not for all. */
  readonly only?: string;
  /** Seconds since the epoch. */
  readonly until?: number;
}

interface List {
  readonly time: number;
  readonly entries: readonly Exported[];
}

function lookAt(path: string): Stats | string {
  try {
    return lstatSync(path);
  } catch (error) {
    return messageOf(error);
  }
}

function noList(path: string, reason: string): Result {
  if (!/^ENOENT/.test(reason)) return skipped(`${path} cannot be looked at: ${reason}`, RUN_AS_ROOT);
  return finding(
    `there is no ${path}: fail2ban's action does not know the allow list`,
    'start honeyport, which writes it beside its log: systemctl start honeyport',
  );
}

function unreadable(path: string, reason: string): Result {
  return finding(
    `${path} cannot be used: ${reason}`,
    `let honeyport write it anew: rm ${path} && systemctl reload honeyport`,
  );
}

function readList(path: string): List | string {
  try {
    const text = Buffer.from(readRegularFile(path, MOST_BYTES)).toString('latin1');
    const { version, time, entries } = JSON.parse(text) as Partial<List> & { version?: number };
    const isList = version === 1 && Array.isArray(entries) && entries.every(isEntry);
    return isList ? { time: Date.parse(String(time)), entries } : 'expected a list of version 1';
  } catch (error) {
    return error instanceof SyntaxError ? 'expected JSON' : messageOf(error);
  }
}

function isEntry(entry: Partial<Exported> | null): boolean {
  return typeof entry === 'object' && typeof entry?.by === 'string' && typeof entry.net === 'string';
}

/** What the action refuses, since somebody else could have written it. */
function trustResults(path: string, stats: Stats, log: string): Result[] {
  const owners = [0, ownerOf(log)];
  if (!stats.isFile() || stats.nlink !== 1)
    return [
      finding(
        `${path} is no regular file of one name: fail2ban's action does not read it`,
        `rm ${path} && systemctl reload honeyport`,
      ),
    ];
  return [
    ...(owners.includes(stats.uid) ? [] : [wrongOwner(path, stats.uid)]),
    ...(stats.mode & 0o022 ? [writable(path)] : []),
  ];
}

function ownerOf(log: string): number | undefined {
  const stats = lookAt(log);
  return typeof stats === 'string' ? undefined : stats.uid;
}

function wrongOwner(path: string, uid: number): Result {
  return finding(
    `${path} belongs to uid ${uid}, neither to root nor to the owner of the log: fail2ban's action does not read it`,
    `rm ${path} && systemctl reload honeyport`,
  );
}

function writable(path: string): Result {
  return finding(
    `${path} may be written by others than its owner: fail2ban's action does not read it`,
    `chmod go-w ${path}`,
  );
}

/** Host names are resolved while the listener runs: of them only that they are there counts. */
function stepResults(
  path: string,
  { entries }: List,
  { allow, guard }: Configuration,
  now: number,
): Result[] {
  const exported = new Set(entries.map(({ by, net, ports = '' }) => `${by} ${net} ${ports}`));
  const names = new Set(entries.map(({ by }) => by.toLowerCase()));
  const inForce = allow.filter(({ until }) => until === undefined || until > now);
  const missing = inForce.filter(({ source, network, ports }) => {
    const key = `${source} ${network?.text} ${ports === undefined ? '' : formatRanges(ports)}`;
    return network !== undefined && !exported.has(key);
  });
  const sources = new Set(allow.map(({ source }) => source.toLowerCase()));
  const gone = [...names].filter((by) => !by.startsWith('guard:') && !sources.has(by));
  const unresolved = inForce.filter(
    ({ source, network }) => network === undefined && !names.has(source.toLowerCase()),
  );
  const guarded = [...names].some((by) => by.startsWith('guard:'));
  return [
    ...missingResults(
      path,
      missing.map(({ source }) => source),
    ),
    ...(gone.length > 0 ? [notInStep(path, `still has ${some(gone)}, which the configuration has not`)] : []),
    ...(guard && !guarded ? [notInStep(path, 'has nothing of the guard, which is on')] : []),
    ...unresolved.slice(0, 5).map(({ source }) => noAddress(source)),
  ];
}

function missingResults(path: string, sources: readonly string[]): Result[] {
  return sources.length === 0 ? [] : [notInStep(path, `lacks ${some(sources)} of the configuration`)];
}

function notInStep(path: string, how: string): Result {
  return finding(`${path} ${how}: the listener has not taken it over`, RELOAD);
}

function noAddress(source: string): Result {
  return note(`the allow entry ${source} has no address: its name was never resolved`, `host ${source}`);
}

function some(items: readonly string[]): string {
  return items.length > 3 ? `${items.slice(0, 3).join(', ')} and ${items.length - 3} more` : items.join(', ');
}

/** Entries with ports are in a set of pairs, which is not compared. */
async function kernelResults(host: Host, { entries }: List, facts: Fail2banFacts): Promise<Result[]> {
  const jails = facts.jails.filter(({ actions }) => actions?.includes('honeyport_nftables'));
  const nets = entries.filter(
    ({ ports, only, until }) =>
      ports === undefined && only === undefined && (until === undefined || until * 1000 > host.now),
  );
  const wanted = nets.flatMap(({ net }) => parsed(net));
  if (jails.length === 0 || wanted.length === 0) return [];
  if (!host.isRoot) return [skipped('whether the kernel has the allow list only root may see', RUN_AS_ROOT)];
  const results: Result[] = [];
  for (const { name } of jails) results.push(...(await jailResults(host, wanted, placeOf(facts, name))));
  return results;
}

async function jailResults(host: Host, wanted: readonly Network[], place: JailPlace): Promise<Result[]> {
  const known = await readElements(host, place);
  if (known === undefined)
    return [finding(`the allow list of jail ${place.jail} is not in the kernel`, SEE_LOG)];
  const lengths = [...new Set(known.map(({ length }) => length))];
  const keys = new Set(known.map(({ family, length, key }) => `${family}/${length} ${key}`));
  const covered = ({ family, length, text }: Network) => {
    const key = addressKey(text.slice(0, text.indexOf('/')));
    return lengths.some((wide) => wide <= length && keys.has(`${family}/${wide} ${prefixKey(key, wide)}`));
  };
  const missing = wanted.filter((network) => !covered(network)).map(({ text }) => text);
  if (missing.length === 0) return [];
  return [
    finding(
      `jail ${place.jail} would block ${some(missing)}: the allow list in the kernel lacks it`,
      SEE_LOG,
    ),
  ];
}

const SETS = ['allow_ipv4', 'allow_ipv6', 'allow_ipv4_host', 'allow_ipv6_host'];

async function readElements(host: Host, { table, jail }: JailPlace): Promise<Network[] | undefined> {
  const elements: Network[] = [];
  for (const set of SETS) {
    const text = await printed(host, 'nft', '-j', 'list', 'set', 'inet', table, `${set}.${jail}`);
    const found = text === undefined ? undefined : elementsIn(text);
    if (found === undefined) return undefined;
    elements.push(...found);
  }
  return elements;
}

type Element = string | { readonly prefix?: { readonly addr: string; readonly len: number } };

function elementsIn(text: string): Network[] | undefined {
  try {
    const { nftables } = JSON.parse(text) as { nftables: { set?: { elem?: Element[] } }[] };
    const elements = nftables.flatMap(({ set }) => set?.elem ?? []);
    return elements.flatMap((element) =>
      typeof element === 'string'
        ? parsed(element)
        : parsed(`${element.prefix?.addr}/${element.prefix?.len}`),
    );
  } catch {
    return undefined;
  }
}

function parsed(text: string): Network[] {
  const network = parseNetwork(text);
  return 'expected' in network ? [] : [network];
}
