import { readdirSync, readlinkSync } from 'node:fs';
import { endianness } from 'node:os';
import { addressFromBytes } from '../address.ts';
import { readRegularFile } from '../configuration/read.ts';

/** A TCP socket that listens in this network namespace. */
export interface ListeningSocket {
  /** Canonical; `0.0.0.0` or `::` for all addresses. */
  readonly address: string;
  readonly port: number;
  /** As links in /proc/PID/fd name it. */
  readonly socket: string;
}

const MOST_BYTES = 64 * 1024 * 1024;
// state TCP_LISTEN in /proc/net/tcp: https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
const LISTENING = '0A';

/** @throws UnreadableFile where there is no /proc/net/tcp */
export function readListeningSockets(proc = '/proc'): ListeningSocket[] {
  return [...socketsOf(readTable(`${proc}/net/tcp`)), ...socketsOf(readOrEmpty(`${proc}/net/tcp6`))];
}

function socketsOf(table: string): ListeningSocket[] {
  return table.split('\n').flatMap((row) => {
    const fields = row.trim().split(/\s+/);
    const [, address, port] = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(fields[1] ?? '') ?? [];
    if (address === undefined || fields[3] !== LISTENING) return [];
    return [
      { address: readAddress(address), port: Number.parseInt(port!, 16), socket: `socket:[${fields[9]}]` },
    ];
  });
}

/** Numbers of 32 bits, as this machine has them in memory. */
function readAddress(hexadecimal: string): string {
  const words = hexadecimal.match(/.{8}/g)!.map((word) => Buffer.from(word, 'hex'));
  const bytes = Buffer.concat(words.map((word) => (endianness() === 'LE' ? word.reverse() : word)));
  return addressFromBytes(bytes, 0, bytes.length === 4 ? 4 : 16);
}

/** Which processes hold each of the sockets; only root sees those of other users. */
export function findSocketHolders(sockets: ReadonlySet<string>, proc = '/proc'): Map<string, number[]> {
  const holders = new Map<string, number[]>();
  for (const pid of processIds(proc)) {
    for (const target of openFiles(pid, proc)) {
      if (sockets.has(target)) holders.set(target, [...(holders.get(target) ?? []), pid]);
    }
  }
  return holders;
}

export function processIds(proc = '/proc'): number[] {
  const names = listOrEmpty(proc);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** What the descriptors of a process lead to; nothing where one may not look. */
function openFiles(pid: number, proc: string): string[] {
  const directory = `${proc}/${pid}/fd`;
  return listOrEmpty(directory).flatMap((fd) => {
    try {
      return [readlinkSync(`${directory}/${fd}`)];
    } catch {
      // it was closed meanwhile
      return [];
    }
  });
}

function listOrEmpty(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function readTable(path: string): string {
  return Buffer.from(readRegularFile(path, MOST_BYTES)).toString('latin1');
}

/** A host without IPv6 has no such table. */
function readOrEmpty(path: string): string {
  try {
    return readTable(path);
  } catch {
    return '';
  }
}
