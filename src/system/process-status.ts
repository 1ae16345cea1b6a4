import { readRegularFile } from '../configuration/read.ts';

/** What the kernel tells of a process. */
export interface ProcessStatus {
  readonly pid: number;
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
    name: /^Name:\s+(.*)$/m.exec(status)?.[1] ?? '',
    argv: readArguments(pid, proc),
    uid: Number(uid),
    gids: [gid ?? '', ...groups.split(' ')].filter((text) => text !== '').map(Number),
    capabilities: BigInt(`0x${/^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`),
    mostOpenFiles: files === undefined ? undefined : Number(files),
  };
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
