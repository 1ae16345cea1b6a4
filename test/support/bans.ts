import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Fail2ban, type Release, startFail2ban, temporaryDirectory } from './fail2ban.ts';
import { readLines } from './listener.ts';
import {
  type Attempt,
  type AttemptOptions,
  cleanUpAfter,
  createNetwork,
  type Network,
} from './namespaces.ts';
import { waitFor } from './wait.ts';

/** A port of the sensor that is no decoy. */
export const SERVICE = 8080;
/** Dropped packets bring no answer; those that pass are answered within some milliseconds. */
const SILENCE_MS = 400;
/** fail2ban needs a second at most; a loaded machine takes longer. */
const DEADLINE_MS = 20_000;
/** Rounding, and how long a loaded machine takes for a listing; less than what the kernel adds. */
const TOLERANCE_SECONDS = 10;

/** A jail with honeyport's filter and action; an hour's bans where its settings say nothing else. */
export interface JailOptions {
  /** Options of the action, such as `mode=observe`. */
  readonly options?: string;
  /** Lines of the jail; `DIR` stands for the stage's directory. */
  readonly settings?: string;
}

export interface BanStageOptions {
  readonly release: Release;
  /** By name; default: one named honeyport. */
  readonly jails?: Readonly<Record<string, JailOptions>>;
  /** Further files of the configuration; `DIR` as above. */
  readonly files?: Readonly<Record<string, string>>;
  /** Where the actions' bans.log is; default: the stage's directory. */
  readonly banDir?: string;
}

/** When an element of a set goes, in seconds since the epoch; undefined: never. */
export interface Held {
  readonly end: number | undefined;
}

export interface KnockOptions {
  readonly ageSeconds?: number;
  /** The jail whose log gets the line; default: the first. */
  readonly jail?: string;
}

/** A sensor on which a real fail2ban reads a log that the test writes. */
export interface BanStage {
  readonly release: Release;
  readonly network: Network;
  readonly fail2ban: Fail2ban;
  /** What fail2ban sees of the test's files. */
  readonly dir: string;
  /** Where the jails' actions write. */
  readonly banLog: string;
  /** Appends a connect line and returns its id. */
  knock(address: string, options?: KnockOptions): string;
  /**
   * Appends connect lines in one write. Once fail2ban has come to the end of a log, it takes lines of more than a
   * minute ago for lines of now: old ones must be there together.
   */
  knockTogether(addresses: readonly string[], ageSeconds: (index: number) => number): void;
  /** The elements of one of a jail's sets; default: those of banned addresses, of either family. */
  held(jail?: string, sets?: readonly string[]): Map<string, Held>;
  waitForHeld(address: string, jail?: string): Promise<Held>;
  waitForRelease(address: string, jail?: string): Promise<void>;
  /** Checks that the kernel lets an address go half a minute after the end that was last said, in epoch seconds. */
  checkEnd(address: string, end: number): Promise<void>;
  /** Packets that a jail's chain has counted. */
  counted(jail?: string): number;
  /** Ban lines without time, sensor and tag. */
  said(jail?: string): string[];
  waitForSaid(pattern: RegExp): Promise<string>;
  waitForLog(pattern: RegExp): Promise<void>;
  /** Writes the jails anew, for a reload. */
  configure(jails: Readonly<Record<string, JailOptions>>): void;
  cleanUp(step: () => unknown): void;
}

export async function startBans(context: TestContext, options: BanStageOptions): Promise<BanStage> {
  const { release, jails = { honeyport: {} }, files = {} } = options;
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  const banLog = join(options.banDir ?? dir, 'bans.log');
  const names = Object.keys(jails);
  const first = names[0]!;
  for (const index of names.keys()) writeFileSync(logOf(dir, index), '');
  const fail2ban = await startFail2ban({
    network,
    release,
    jails: jailTexts(dir, banLog, jails),
    files: located(dir, files),
    binds: [dir, ...(options.banDir === undefined ? [] : [options.banDir])],
  });
  cleanUp(fail2ban.dispose);

  const bound = (what: string | (() => string)) => ({ deadlineMs: DEADLINE_MS, everyMs: 50, what });
  const rules = () => `${fail2ban.ruleset()}\n${fail2ban.log().split('\n').slice(-30).join('\n')}`;
  let knocks = 0;

  const stage: BanStage = {
    release,
    network,
    fail2ban,
    dir,
    banLog,
    cleanUp,
    knockTogether(addresses, ageSeconds) {
      const lines = addresses.map((address, index) => {
        knocks += 1;
        return connectLine(address, `test.${knocks}`, ageSeconds(index));
      });
      appendFileSync(logOf(dir, 0), lines.join(''));
    },
    knock(address, { ageSeconds = 0, jail = first } = {}) {
      knocks += 1;
      const id = `test.${knocks}`;
      appendFileSync(logOf(dir, names.indexOf(jail)), connectLine(address, id, ageSeconds));
      return id;
    },
    held(jail = first, sets = ['ban_ipv4', 'ban_ipv6']) {
      const listed = sets.map((set) => listSet(fail2ban, `${set}.${identifier(jail)}`));
      return new Map(listed.flatMap((elements) => [...elements]));
    },
    async waitForHeld(address, jail) {
      return await waitFor(
        () => stage.held(jail).get(address),
        bound(() => `${address} in nftables, which has\n${rules()}`),
      );
    },
    async waitForRelease(address, jail) {
      await waitFor(() => !stage.held(jail).has(address), bound(`${address} to be let go by nftables`));
    },
    async checkEnd(address, end) {
      const wanted = end + actionConstant('KERNEL_GRACE_SECONDS');
      const { end: found } = await stage.waitForHeld(address);
      const off = Math.abs(found! - wanted);
      assert.ok(off < TOLERANCE_SECONDS, `nft lets ${address} go at ${found}, wanted ${wanted}`);
    },
    counted: (jail = first) => countPackets(fail2ban, jail),
    said: (jail) =>
      readLines(banLog)
        .map((line) => line.replace(/^\S+ \S+ honeyport\[\d+\]: /, ''))
        .filter((line) => jail === undefined || line.includes(` jail=${jail} `)),
    async waitForSaid(pattern) {
      const what = () => `a ban line like ${pattern} among\n${stage.said().join('\n')}`;
      return await waitFor(() => stage.said().find((line) => pattern.test(line)), bound(what));
    },
    async waitForLog(pattern) {
      await waitFor(
        () => pattern.test(fail2ban.log()),
        bound(() => `${pattern} in\n${fail2ban.log()}`),
      );
    },
    configure: (changed) => fail2ban.configure(jailTexts(dir, banLog, changed)),
  };
  return stage;
}

/** All that the tests of one jail's blocks need to know: whether an attempt from the attacker's side gets through. */
export async function attempt(stage: Pick<BanStage, 'network'>, options: AttemptOptions): Promise<Attempt> {
  return await stage.network.connect({ timeoutMs: SILENCE_MS, ...options });
}

/** Answers over TCP and UDP with what it got, on a host of the network. */
export async function startService(network: Network, host = network.sensor): Promise<void> {
  const service = network.spawn(host, [process.execPath, '-e', SERVICE_PROGRAM]);
  const said = collect(service);
  await waitFor(() => said().includes('ready'), { deadlineMs: DEADLINE_MS, what: 'the service to listen' });
}

const SERVICE_PROGRAM = `
require('node:net').createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(${SERVICE}, '::', () => {
  const udp = require('node:dgram').createSocket('udp6');
  udp.on('message', (message, peer) => udp.send(message, peer.port, peer.address));
  udp.bind(${SERVICE}, '::', () => console.log('ready'));
});`;

/** A connection that the attacker has opened to an echo service. */
export interface OpenConnection {
  send(text: string): void;
  /** What came back so far. */
  echoed(): string;
}

export async function openConnection(
  network: Network,
  ends: { from: string; to: string; port: number },
): Promise<OpenConnection> {
  const argv = [process.execPath, '-e', CLIENT_PROGRAM, ends.to, String(ends.port), ends.from];
  const client = network.spawn(network.attacker, argv);
  const echoed = collect(client);
  const send = (text: string) => client.stdin!.write(text);
  send('hello ');
  await waitFor(() => echoed().includes('hello '), {
    deadlineMs: DEADLINE_MS,
    what: 'the echo of a service',
  });
  return { send, echoed };
}

const CLIENT_PROGRAM = `
const [host, port, localAddress] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port), localAddress });
process.stdin.pipe(socket);
socket.pipe(process.stdout);`;

/** Datagrams from the attacker, some hundred a second; `arrived` counts those that the sensor let through. */
export async function startFlood(network: Network, from: string, to: string): Promise<() => number> {
  const sink = collect(network.spawn(network.sensor, [process.execPath, '-e', SINK_PROGRAM]));
  await waitFor(() => sink().includes('ready'), { deadlineMs: DEADLINE_MS, what: 'a port for datagrams' });
  network.spawn(network.attacker, [process.execPath, '-e', FLOOD_PROGRAM, from, to]);
  return () => sink().split('x').length - 1;
}

const FLOOD_PORT = 8081;
const SINK_PROGRAM = `
const udp = require('node:dgram').createSocket('udp6');
udp.on('message', () => process.stdout.write('x')).bind(${FLOOD_PORT}, '::', () => process.stdout.write('ready'));`;
const FLOOD_PROGRAM = `
const [from, to] = process.argv.slice(1);
const udp = require('node:dgram').createSocket(to.includes(':') ? 'udp6' : 'udp4');
udp.on('error', () => {}).bind(0, from, () => setInterval(() => udp.send('x', ${FLOOD_PORT}, to), 2));`;

function collect(child: ChildProcess): () => string {
  let said = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return () => said;
}

function logOf(dir: string, index: number): string {
  return join(dir, `honeyport-${index}.log`);
}

function jailTexts(dir: string, banLog: string, jails: Readonly<Record<string, JailOptions>>): string {
  const texts = Object.entries(jails).map(([name, { options = '', settings = '' }], index) => {
    const given = [/\blog=/.test(options) ? '' : `log="${banLog}"`, options].filter(Boolean).join(', ');
    const defaults = {
      enabled: 'true',
      filter: 'honeyport',
      logpath: logOf(dir, index),
      usedns: 'no',
      maxretry: '1',
      findtime: '1d',
      bantime: '1h',
      'bantime.increment': 'false',
      banaction: `honeyport_nftables.py[${given}]`,
    };
    // fail2ban takes a setting once only.
    const own = Object.entries(defaults).filter(([key]) => !new RegExp(`^${key} = `, 'm').test(settings));
    const lines = own.map(([key, value]) => `${key} = ${value}`);
    return `[${name}]\n${lines.join('\n')}\n${settings}\n`;
  });
  return texts.join('\n').replaceAll('DIR', dir);
}

function located(dir: string, files: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, text.replaceAll('DIR', dir)]));
}

/** fail2ban ignores what is older than findtime, and takes the line's time as the ban's begin. */
function connectLine(address: string, id: string, ageSeconds: number): string {
  const time = new Date(Date.now() - ageSeconds * 1000).toISOString().replace('Z', '+00:00');
  const ends = `src=${address} spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet`;
  return `${time} web-1 honeyport[812]: connect ${ends} id=${id} ttl=52\n`;
}

/** A jail's name as the action has it in its chain and sets. */
export function identifier(jail: string): string {
  const bare = jail.replaceAll(/[^A-Za-z0-9_-]/g, '_').slice(0, 64);
  return bare === jail ? bare : `${bare}.${createHash('sha256').update(jail).digest('hex').slice(0, 12)}`;
}

type Listed =
  | string
  | { readonly elem: { readonly val: string; readonly expires?: number } }
  | { readonly prefix: { readonly addr: string; readonly len: number } };

function listSet(fail2ban: Fail2ban, name: string): Map<string, Held> {
  const { nftables } = JSON.parse(fail2ban.nft('-j', 'list', 'set', 'inet', 'honeyport', name));
  const now = Date.now() / 1000;
  const elements: Listed[] = nftables.find((entry: object) => 'set' in entry).set.elem ?? [];
  const held = (element: Listed): [string, Held] => {
    if (typeof element === 'string') return [element, { end: undefined }];
    if ('prefix' in element) return [`${element.prefix.addr}/${element.prefix.len}`, { end: undefined }];
    const { val, expires } = element.elem;
    return [val, { end: expires === undefined ? undefined : now + expires }];
  };
  return new Map(elements.map(held));
}

function countPackets(fail2ban: Fail2ban, jail: string): number {
  const chain = fail2ban.nft('list', 'chain', 'inet', 'honeyport', `prerouting.${identifier(jail)}`);
  return [...chain.matchAll(/counter packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** A constant of the shipped action, which it cannot be asked for. */
export function actionConstant(name: string): number {
  const file = new URL('../../fail2ban/action.d/honeyport_nftables.py', import.meta.url);
  const value = new RegExp(`^${name} = ([\\d_]+)$`, 'm').exec(readFileSync(file, 'utf8'))?.[1];
  if (value === undefined) throw new Error(`Expected the action to have ${name}, got none`);
  return Number(value.replaceAll('_', ''));
}

/** The end that a ban line says, in seconds since the epoch. */
export function untilOf(line: string): number {
  return Date.parse(/ until=(\S+)/.exec(line)![1]!) / 1000;
}
