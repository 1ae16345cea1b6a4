import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { printable } from '../configuration/printable.ts';
import { readRegularFile } from '../configuration/read.ts';

/** What the kernel tells of a process. */
export interface ProcessStatus {
  readonly pid: number;
  /** Printable ASCII: whoever runs a process may give it any name. */
  readonly name: string;
  readonly argv: readonly string[];
  /** Its effective user and groups. */
  readonly uid: number;
  readonly gids: readonly number[];
  /** Effective capabilities, one bit each. */
  readonly capabilities: bigint;
  /** How many descriptors it may have; undefined where it may not be told, or has no limit. */
  readonly mostOpenFiles: number | undefined;
}

const MOST_BYTES = 256 * 1024;

/** @returns undefined where there is no such process, or it is hidden */
export function readProcessStatus(pid: number, proc = '/proc'): ProcessStatus | undefined {
  const status = read(`${proc}/${pid}/status`);
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1];
  if (uid === undefined) return undefined;
  const gid = /^Gid:\s+\d+\s+(\d+)/m.exec(status)?.[1];
  const groups = /^Groups:\s*([\d ]*)$/m.exec(status)?.[1] ?? '';
  const files = /^Max open files\s+(\d+)/m.exec(read(`${proc}/${pid}/limits`))?.[1];
  return {
    pid,
    name: printable(nameOf(pid, status, proc)),
    argv: readArguments(pid, proc),
    uid: Number(uid),
    gids: [gid ?? '', ...groups.split(' ')].filter((text) => text !== '').map(Number),
    capabilities: BigInt(`0x${/^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`),
    mostOpenFiles: files === undefined ? undefined : Number(files),
  };
}

/** A script's own name is there, and not in exe; but Node from 24 on has the name of a thread there. */
function nameOf(pid: number, status: string, proc: string): string {
  const name = /^Name:\s+(.*)$/m.exec(status)?.[1] ?? '';
  if (!name.endsWith('MainThread')) return name;
  try {
    return basename(readlinkSync(`${proc}/${pid}/exe`));
  } catch {
    return name;
  }
}

/** Nothing of a process that is the kernel's or has ended. */
export function readArguments(pid: number, proc = '/proc'): string[] {
  return read(`${proc}/${pid}/cmdline`).split('\0').slice(0, -1);
}

function read(path: string): string {
  try {
    return Buffer.from(readRegularFile(path, MOST_BYTES)).toString('latin1');
  } catch {
    return '';
  }
}
