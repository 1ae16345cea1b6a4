import { networkInterfaces } from 'node:os';
import { parseAddress } from '../address.ts';
import { readRegularFile } from '../configuration/read.ts';
import { type ProgramResult, runProgram } from '../system/run-program.ts';

/** The host that is looked at. */
export interface Host {
  /** What stands before /proc, /etc and other paths of the system; empty for this host. */
  readonly root: string;
  readonly isRoot: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Its own addresses, canonical. */
  readonly addresses: readonly string[];
  /** Runs a program within bounds; never rejects. */
  readonly run: Run;
}

export type Run = (program: string, ...args: string[]) => Promise<ProgramResult>;

/** A Python that starts takes a second on a loaded machine. */
const TIMEOUT_MS = 15_000;
const MOST_OUTPUT_BYTES = 32 * 1024 * 1024;
const MOST_FILE_BYTES = 1024 * 1024;

export function thisHost(): Host {
  return {
    root: '',
    isRoot: process.geteuid?.() === 0,
    now: Date.now(),
    addresses: ownAddresses(),
    run,
  };
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.flatMap(({ address }) => parseAddress(address.replace(/%.*$/, ''))?.text ?? []);
}

/** Tools for administrators are not on everybody's PATH. */
async function run(program: string, ...args: string[]): Promise<ProgramResult> {
  const limits = { timeoutMs: TIMEOUT_MS, mostBytes: MOST_OUTPUT_BYTES };
  const result = await runProgram({ program, args, ...limits });
  if (result.end.kind !== 'missing') return result;
  return await runProgram({ program: `/usr/sbin/${program}`, args, ...limits });
}

/** The text of a file of the system; undefined where there is none that can be read. */
export function readText({ root }: Host, path: string, mostBytes = MOST_FILE_BYTES): string | undefined {
  try {
    return Buffer.from(readRegularFile(root + path, mostBytes)).toString('latin1');
  } catch {
    return undefined;
  }
}

/** A number of the kernel's, as in /proc/sys; undefined where there is none. */
export function readNumber(host: Host, path: string): number | undefined {
  const text = readText(host, path, 64)?.trim();
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
}

/** What a program printed, or undefined where it did not end well. */
export async function printed(host: Host, program: string, ...args: string[]): Promise<string | undefined> {
  const { end, stdout } = await host.run(program, ...args);
  return end.kind === 'exit' && end.code === 0 ? stdout : undefined;
}
