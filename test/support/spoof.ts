import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { compileC } from '../../bench/compile.ts';
import { inNamespace, portArgument } from '../../bench/load.ts';

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL('spoof.c', import.meta.url));
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/honeyport', import.meta.url));

/** Segments that open a handshake, or belong to none. */
export const SPOOF_KINDS = ['syn', 'synack', 'ack', 'psh', 'fin', 'rst', 'null', 'xmas'] as const;

export interface SpoofOptions {
  /** In 10.99.0.0/16, 127.0.0.0/8 or fd00:99::/32; others are refused. */
  readonly address: string;
  /** One port, or first and last of a range that the segments take in turn. */
  readonly ports: number | readonly [first: number, last: number];
  /** At most a million. */
  readonly count: number;
  readonly kind?: (typeof SPOOF_KINDS)[number];
  /** Default 203.0.113.0 or 2001:db8:99::, and 127.99.0.0 to loopback, which takes no others. */
  readonly firstSource?: string;
  /** How many sources take turns, counted up from the first; default 256. */
  readonly sources?: number;
  /** Segments per second; 0, the default, for as fast as possible. */
  readonly rate?: number;
  /** Network namespace (`ip netns`) to run in. */
  readonly namespace?: string;
}

export interface SpoofSummary {
  readonly attempted: number;
  /** Segments that the kernel took. */
  readonly sent: number;
  readonly wall_s: number;
}

/** Sends single TCP segments from made-up sources, which is root's to do. None of them completes a handshake. */
export async function sendSpoofed(options: SpoofOptions): Promise<SpoofSummary> {
  const program = await compileC(SOURCE, CACHE);
  const [file, ...args] = inNamespace(options.namespace, [program, ...spoofArguments(options)]);
  const { stdout } = await run(file!, args);
  return JSON.parse(stdout);
}

function spoofArguments(options: SpoofOptions): string[] {
  const values: [option: string, value: string | number | undefined][] = [
    ['-t', options.address],
    ['-p', portArgument(options.ports)],
    ['-n', options.count],
    ['-f', options.kind],
    ['-b', options.firstSource],
    ['-s', options.sources],
    ['-r', options.rate],
  ];
  return values.flatMap(([option, value]) => (value === undefined ? [] : [option, String(value)]));
}
