import { randomInt } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { addressKey, parseNetwork, prefixKey } from '../network.ts';
import {
  createNetworkNamespace,
  joinByWire,
  type NetworkNamespace,
  removeAbandonedNamespaces,
} from '../system/network-namespace.ts';
import { type Host, printed, readNumber } from './host.ts';

/** Both ends of a wire over which somebody who is not on this host knocks. */
export interface Wire {
  readonly peer: { readonly 4: string; readonly 6: string };
  readonly sensor: { readonly 4: string; readonly 6: string };
}

/** A host of its own, joined to this one by a wire. */
export interface Peer {
  readonly wire: Wire;
  readonly families: readonly (4 | 6)[];
  /** `open`, `timeout`, or the error's code. */
  connect(from: string, to: string, port: number): Promise<string>;
  remove(): Promise<void>;
}

const PREFIX = 'honeyport-doctor-';
/** So many wires have room in 198.18.0.0/15, each a /30. */
const WIRES = 32_768;
const CONNECT_MS = 1500;
const MOST_TRIES = 100;

/** Addresses of RFC 2544, for tests of networks, and of RFC 4193. */
export function wireOf(number: number): Wire {
  const [high, low] = [18 + (number >> 14), (number << 2) & 0xffff];
  const ipv4 = (end: number) => `198.${high}.${low >> 8}.${(low & 0xff) + end}`;
  const ipv6 = (end: number) => `fd68:6f6e:6579:${(number + 1).toString(16)}::${end}`;
  return { sensor: { 4: ipv4(1), 6: ipv6(1) }, peer: { 4: ipv4(2), 6: ipv6(2) } };
}

/**
 * Makes the peer. Needs root.
 * @throws UserError
 */
export async function createPeer(host: Host): Promise<Peer> {
  const number = await freeNumber(host);
  const wire = wireOf(number);
  const families: (4 | 6)[] =
    readNumber(host, '/proc/sys/net/ipv6/conf/default/disable_ipv6') === 0 ? [4, 6] : [4];
  const namespace = await createNetworkNamespace(`${PREFIX}${number}-${process.pid}`);
  try {
    await join(namespace, wire, families, `hpd${number}`);
    for (const family of families) await addRoute(host, namespace, wire.sensor[family]);
  } catch (error) {
    await namespace.remove();
    throw error;
  }
  const connect: Peer['connect'] = async (from, to, port) => {
    const script = [process.execPath, '-e', CONNECT, to, String(port), from, String(CONNECT_MS)];
    const [program, ...args] = namespace.command(script);
    return ((await printed(host, program!, ...args)) ?? 'no answer').trim();
  };
  return { wire, families, connect, remove: namespace.remove };
}

/** Removes what killed runs left, and returns the addresses that may still be banned for them. */
export async function removeAbandonedPeers(): Promise<string[]> {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  const numbers = names.flatMap((name) => {
    const [, number, pid] = new RegExp(`^${PREFIX}(\\d+)-(\\d+)$`).exec(name) ?? [];
    return number === undefined || existsSync(`/proc/${pid}`) ? [] : [Number(number)];
  });
  await removeAbandonedNamespaces(PREFIX);
  return numbers.flatMap((number) => Object.values(wireOf(number).peer));
}

/** One whose addresses no route of this host knows. */
async function freeNumber(host: Host): Promise<number> {
  const routes = [4, 6].map((family) =>
    printed(host, 'ip', `-${family}`, '-json', 'route', 'show', 'table', 'all'),
  );
  const known = (await Promise.all(routes)).flatMap((text) => [
    ...(text ?? '').matchAll(/"dst":"([0-9a-f.:/]+)"/g),
  ]);
  const networks = known.flatMap(([, text]) => {
    const network = parseNetwork(text!);
    return 'expected' in network || network.length === 0 ? [] : [network];
  });
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const number = randomInt(WIRES);
    const { peer, sensor } = wireOf(number);
    const addresses = [...Object.values(peer), ...Object.values(sensor)];
    const isTaken = networks.some(({ family, length, key }) =>
      addresses.some(
        (address) =>
          (address.includes(':') ? 6 : 4) === family && prefixKey(addressKey(address), length) === key,
      ),
    );
    if (!isTaken) return number;
  }
  throw new Error('every address of 198.18.0.0/15 has a route here');
}

function join(
  namespace: NetworkNamespace,
  wire: Wire,
  families: readonly (4 | 6)[],
  device: string,
): Promise<void> {
  const withLength = (end: Wire['peer']) =>
    families.map((family) => `${end[family]}/${family === 4 ? 30 : 64}`);
  return joinByWire(
    { namespace: undefined, device, addresses: withLength(wire.sensor) },
    { namespace, device: 'wire', addresses: withLength(wire.peer) },
  );
}

/** To addresses of this host that are not on the wire. */
async function addRoute(host: Host, namespace: NetworkNamespace, via: string): Promise<void> {
  await host.run('ip', '-n', namespace.name, 'route', 'add', 'default', 'via', via);
}

/** A program, since a process cannot go into another network. */
const CONNECT = `
const [host, port, localAddress, timeout] = process.argv.slice(1);
const end = (outcome) => { process.stdout.write(outcome); process.exit(); };
const socket = require('node:net').connect({ host, port: Number(port), localAddress });
socket.on('connect', () => end('open')).on('error', (error) => end(error.code));
setTimeout(() => end('timeout'), Number(timeout));`;
