import type { Configuration } from '../configuration/configuration.ts';
import { handOverPort } from '../configuration/hand-over-port.ts';
import { formatPorts } from '../format/ports.ts';
import {
  findSocketHolders,
  type ListeningSocket,
  readListeningSockets,
} from '../system/listening-sockets.ts';
import { type ProcessStatus, readProcessStatus } from '../system/process-status.ts';
import type { Host } from './host.ts';
import { finding, note, orOk, type Result, RUN_AS_ROOT, skipped } from './result.ts';

export interface ListenerSubject {
  readonly host: Host;
  readonly configuration: Configuration;
  /** The processes that are a honeyport. */
  readonly listeners: readonly ProcessStatus[];
}

/** Where the listener is to listen. */
export interface Endpoint {
  /** Undefined: all addresses. */
  readonly address: string | undefined;
  readonly port: number;
}

const START = 'systemctl start honeyport; why it does not: journalctl -u honeyport -n 20';

/** Whether a honeyport listens on every configured port. */
export function checkListener({ host, configuration, listeners }: ListenerSubject): Result[] {
  const wanted = endpointsOf(configuration);
  const foreign = wanted.filter(({ address }) => address !== undefined && !host.addresses.includes(address));
  const sockets = readSockets(host);
  if (sockets === undefined) return [skipped(`${host.root}/proc/net/tcp cannot be read`, RUN_AS_ROOT)];
  const byPort = groupByPort(sockets);
  const found = wanted.map((endpoint) => ({ endpoint, at: socketsAt(endpoint, byPort) }));
  const held = found.filter(({ at }) => at.length > 0);
  const idle = found.filter(({ endpoint, at }) => at.length === 0 && !foreign.includes(endpoint));
  const owners = ownersOf(host, held, listeners);
  const results = [
    ...runningTwice(listeners),
    ...foreign.map(foreignAddress),
    ...(idle.length > 0
      ? [
          nobodyListens(
            idle.map(({ endpoint }) => endpoint),
            listeners,
          ),
        ]
      : []),
    ...[...owners.others].map(([owner, ports]) => taken(owner, ports)),
    ...(owners.unknown.length > 0 ? [unknownOwner(owners.unknown)] : []),
  ];
  if (owners.unknown.length > 0) return results;
  return orOk(results, `honeyport${pidText(listeners)} listens on all ports: ${portsText(wanted)}`);
}

/** Where the listener listens: on the ports of decoys, and where it takes what is for unused ones. */
export function endpointsOf(configuration: Configuration): Endpoint[] {
  const handOver = handOverPort(configuration);
  return [
    ...configuration.decoys.flatMap(({ address, ports }) => ports.map((port) => ({ address, port }))),
    ...(handOver === undefined ? [] : [{ address: undefined, port: handOver }]),
  ];
}

function readSockets({ root }: Host): ListeningSocket[] | undefined {
  try {
    return readListeningSockets(`${root}/proc`);
  } catch {
    return undefined;
  }
}

function groupByPort(sockets: readonly ListeningSocket[]): Map<number, ListeningSocket[]> {
  const byPort = new Map<number, ListeningSocket[]>();
  for (const socket of sockets) byPort.set(socket.port, [...(byPort.get(socket.port) ?? []), socket]);
  return byPort;
}

/** Those that the kernel would hand a connection to the endpoint. */
function socketsAt({ address, port }: Endpoint, byPort: Map<number, ListeningSocket[]>): ListeningSocket[] {
  const there = byPort.get(port) ?? [];
  if (address === undefined) return there;
  const own = there.filter((socket) => socket.address === address);
  return own.length > 0 ? own : there.filter((socket) => /^(?:::|0\.0\.0\.0)$/.test(socket.address));
}

interface Owners {
  readonly others: ReadonlyMap<string, number[]>;
  readonly unknown: readonly number[];
}

function ownersOf(
  host: Host,
  held: readonly { endpoint: Endpoint; at: readonly ListeningSocket[] }[],
  listeners: readonly ProcessStatus[],
): Owners {
  const proc = `${host.root}/proc`;
  const holders = findSocketHolders(new Set(held.flatMap(({ at }) => at.map(({ socket }) => socket))), proc);
  const ours = new Set(listeners.map(({ pid }) => pid));
  const others = new Map<string, number[]>();
  const unknown: number[] = [];
  for (const { endpoint, at } of held) {
    const pids = at.flatMap(({ socket }) => holders.get(socket) ?? []);
    if (pids.some((pid) => ours.has(pid))) continue;
    if (pids.length === 0) unknown.push(endpoint.port);
    const [pid] = pids;
    if (pid === undefined) continue;
    const owner = `${readProcessStatus(pid, proc)?.name ?? 'a program'}[${pid}]`;
    others.set(owner, [...(others.get(owner) ?? []), endpoint.port]);
  }
  return { others, unknown };
}

function runningTwice(listeners: readonly ProcessStatus[]): Result[] {
  if (listeners.length < 2) return [];
  const pids = listeners.map(({ pid }) => pid).join(', ');
  return [note(`honeyport runs ${listeners.length} times: pid ${pids}`, 'end the ones that you do not want')];
}

function foreignAddress({ address, port }: Endpoint): Result {
  return finding(
    `port ${port}: no interface of this host has the address ${address}`,
    '`ip -brief address` shows the addresses of this host',
  );
}

function nobodyListens(idle: readonly Endpoint[], listeners: readonly ProcessStatus[]): Result {
  const ports = portsText(idle);
  if (listeners.length === 0)
    return finding(`honeyport does not run, nobody listens on port ${ports}`, START);
  return finding(
    `honeyport${pidText(listeners)} runs and does not listen on port ${ports}: it has another configuration`,
    'systemctl reload honeyport; whether the change was refused: journalctl -u honeyport -n 20',
  );
}

/** systemd holds the sockets of a service that it starts with the first connection. */
function taken(owner: string, ports: readonly number[]): Result {
  const text = formatPorts(ports);
  if (/\[1\]$/.test(owner))
    return note(`${owner} holds port ${text} for a service that it starts with the first connection`);
  return finding(
    `port ${text} is taken by ${owner}`,
    'a decoy port is one that no service uses: stop that program, or take the port out of the configuration',
  );
}

function unknownOwner(ports: readonly number[]): Result {
  return skipped(`somebody listens on port ${formatPorts(ports)}, only root may see who`, RUN_AS_ROOT);
}

function portsText(endpoints: readonly Endpoint[]): string {
  return formatPorts(new Set(endpoints.map(({ port }) => port)));
}

function pidText(listeners: readonly ProcessStatus[]): string {
  return listeners.length === 1 ? `[${listeners[0]!.pid}]` : '';
}
