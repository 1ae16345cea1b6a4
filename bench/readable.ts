import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Established, type Logged, nameOf } from './manifest.ts';

/** The log had `size` bytes that could be read at `ns` (CLOCK_MONOTONIC). */
export interface Growth {
  readonly ns: number;
  readonly size: number;
}

/** Watches a file with bench/readable.c; the returned function ends that and tells what it saw. */
export async function watchGrowth(program: string, path: string): Promise<() => Promise<Growth[]>> {
  const child = spawn(program, [path], { stdio: ['pipe', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('latin1').on('data', (chunk) => {
    output += chunk;
  });
  const closed = once(child, 'close');
  await Promise.race([once(child.stdout, 'data'), closed]);
  if (!output.startsWith('ready')) throw new Error(`cannot watch ${path}`);
  return async () => {
    child.stdin.end();
    await closed;
    return output.split('\n').slice(1, -1).map(parseGrowth);
  };
}

function parseGrowth(line: string): Growth {
  const [ns, size] = line.split(' ');
  return { ns: Number(ns), size: Number(size) };
}

/** Nanoseconds from connect() to the readable line of each logged connection, ascending. */
export function latenciesNs(
  growths: readonly Growth[],
  logged: readonly Logged[],
  established: readonly Established[],
): number[] {
  const started = new Map(established.map((connection) => [nameOf(connection), connection.startNs]));
  const latencies: number[] = [];
  let growth = 0;
  for (const line of logged) {
    while (growth < growths.length && growths[growth]!.size < line.endOffset) growth++;
    const startNs = started.get(nameOf(line));
    if (growth < growths.length && startNs !== undefined) latencies.push(growths[growth]!.ns - startNs);
  }
  return latencies.sort((a, b) => a - b);
}

/** The value below which `share` of the ascending values lie. */
export function percentile(ascending: readonly number[], share: number): number {
  return ascending[Math.floor(share * (ascending.length - 1))] ?? Number.NaN;
}
