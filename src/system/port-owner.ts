import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

/** A program that listens on a port. */
export interface PortOwner {
  readonly name: string;
  readonly pid: number;
}

// state TCP_LISTEN in /proc/net/tcp: https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
const LISTENING = '0A';

/**
 * The program that listens on a TCP port of this network namespace, on whatever address.
 * @returns undefined when there is none, or when it belongs to another user and only root may look
 */
export function findPortOwner(port: number): PortOwner | undefined {
  const sockets = new Set([
    ...listeningInodes('/proc/net/tcp', port),
    ...listeningInodes('/proc/net/tcp6', port),
  ]);
  if (sockets.size === 0) return undefined;
  const pid = processIds().find((candidate) => holdsOneOf(candidate, sockets));
  return pid === undefined ? undefined : { pid, name: processName(pid) };
}

function listeningInodes(table: string, port: number): string[] {
  const localPort = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return readOrEmpty(() => readFileSync(table, 'latin1').split('\n'))
    .map((row) => row.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(localPort) && fields[3] === LISTENING)
    .map((fields) => `socket:[${fields[9]}]`);
}

function processIds(): number[] {
  return readOrEmpty(() => readdirSync('/proc'))
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function holdsOneOf(pid: number, sockets: ReadonlySet<string>): boolean {
  return readOrEmpty(() => readdirSync(`/proc/${pid}/fd`)).some((fd) =>
    readOrEmpty(() => [readlinkSync(`/proc/${pid}/fd/${fd}`)]).some((target) => sockets.has(target)),
  );
}

/** A script's own name is in comm, and not in exe; but Node from 24 on has the name of a thread there. */
function processName(pid: number): string {
  const [name = 'a program'] = readOrEmpty(() => [readFileSync(`/proc/${pid}/comm`, 'latin1').trim()]);
  if (!name.endsWith('MainThread')) return name;
  return readOrEmpty(() => [basename(readlinkSync(`/proc/${pid}/exe`))])[0] ?? name;
}

/** Processes end while one looks at them, and those of others may not be looked at. */
function readOrEmpty<T>(read: () => T[]): T[] {
  try {
    return read();
  } catch {
    return [];
  }
}
