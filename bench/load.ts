import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Established, parseManifest } from './manifest.ts';

const run = promisify(execFile);

/** What bench/load.c is to do; what is left out is its default. */
export interface LoadOptions {
  /** IPv4 or IPv6, on loopback or in a test network; others are refused. */
  readonly address: string;
  /** One port, or first and last of a range that the connections take in turn. */
  readonly ports: number | readonly [first: number, last: number];
  readonly count: number;
  /** How many may be open at once; `count` itself is a burst: all at once. */
  readonly concurrency?: number;
  /** Starts per second; 0 for as fast as possible. */
  readonly rate?: number;
  /** fin closes at once, rst resets at once, data sends and closes, hold waits for the peer's close. */
  readonly mode?: 'fin' | 'rst' | 'data' | 'hold';
  /** Connection i comes from this address plus i, which must be routed back to this host. */
  readonly firstSource?: string;
  /** What `data` sends. */
  readonly text?: string;
  /** Longest that `hold` holds. */
  readonly holdMs?: number;
  /** Longest that a handshake may take. */
  readonly connectTimeoutMs?: number;
  /** Longest that the whole load may take; what is not established then counts as ETIMEDOUT. */
  readonly wallS?: number;
  /** Network namespace (`ip netns`) to run in. */
  readonly namespace?: string;
}

/** What bench/load.c says of a run. */
export interface LoadSummary {
  readonly attempted: number;
  readonly established: number;
  /** Established connections that the peer reset before they were seen. */
  readonly reset_by_peer: number;
  /** Connections that were not established, by errno's name. */
  readonly errors: Readonly<Record<string, number>>;
  readonly wall_s: number;
  readonly rate: number;
  /** CLOCK_MONOTONIC at the first start. */
  readonly began_ns: number;
  /** The same moment since the epoch. */
  readonly began_realtime_us: number;
  readonly connect_us: Readonly<Record<'p50' | 'p90' | 'p99' | 'max', number>>;
}

export interface LoadResult {
  readonly established: Established[];
  readonly summary: LoadSummary;
}

/** Runs a compiled bench/load.c to its end. */
export async function runLoadProgram(program: string, options: LoadOptions): Promise<LoadResult> {
  const directory = await mkdtemp(join(tmpdir(), 'honeyport-load-'));
  const manifest = join(directory, 'manifest');
  try {
    const [file, ...args] = inNamespace(options.namespace, [
      program,
      ...loadArguments(options),
      '-o',
      manifest,
    ]);
    const { stdout } = await run(file!, args);
    return { established: parseManifest(await readFile(manifest, 'utf8')), summary: JSON.parse(stdout) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The command as it is run in a namespace: `ip netns exec` replaces itself with it, so the pid stays. */
export function inNamespace(namespace: string | undefined, command: readonly string[]): string[] {
  return namespace === undefined ? [...command] : ['ip', 'netns', 'exec', namespace, ...command];
}

/** `80` or `80-90`, as the C programs take it. */
export function portArgument(ports: LoadOptions['ports']): string {
  return typeof ports === 'number' ? String(ports) : ports.join('-');
}

function loadArguments(options: LoadOptions): string[] {
  const values: [option: string, value: string | number | undefined][] = [
    ['-t', options.address],
    ['-p', portArgument(options.ports)],
    ['-n', options.count],
    ['-c', options.concurrency],
    ['-r', options.rate],
    ['-m', options.mode],
    ['-b', options.firstSource],
    ['-d', options.text],
    ['-H', options.holdMs],
    ['-T', options.connectTimeoutMs],
    ['-w', options.wallS],
  ];
  return values.flatMap(([option, value]) => (value === undefined ? [] : [option, String(value)]));
}
