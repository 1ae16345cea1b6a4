import type { Contestant } from './contestant.ts';
import {
  type MeasureName,
  measureOnePort,
  type Sample,
  type Sizes,
  type Verification,
  type Workshop,
} from './measure.ts';

/** One way to run honeyport, to be held against another. */
export interface Side {
  readonly name: string;
  readonly contestant: Contestant;
}

export interface SidesOptions {
  /** The last one is what the others are compared with. */
  readonly sides: readonly Side[];
  readonly rounds: number;
  readonly sizes: Sizes;
  readonly workshop: Workshop;
  readonly progress: (what: string) => void;
}

/** A measure on every side, in their order: the medians. */
export interface SidesRow {
  readonly label: string;
  readonly values: readonly number[];
}

export interface SidesResult {
  readonly names: readonly string[];
  readonly rows: readonly SidesRow[];
  readonly verifications: readonly Verification[];
}

const MEASURES: readonly { readonly name: MeasureName; readonly label: string }[] = [
  { name: 'startMs', label: 'start to listening (ms)' },
  { name: 'fullRatePerS', label: 'connections, full rate (/s)' },
  { name: 'fullRateCpuUs', label: 'CPU per connection, full rate (us)' },
  { name: 'pacedCpuUs', label: 'CPU per connection, 2,000/s (us)' },
  { name: 'latencyP50Us', label: 'connect to readable line, p50 (us)' },
  { name: 'latencyP99Us', label: 'connect to readable line, p99 (us)' },
  { name: 'afterFullRateMib', label: 'resident, after full rate (MiB)' },
];

/** Measures one port on all sides in turn, each round with fresh processes. */
export async function measureSides(options: SidesOptions): Promise<SidesResult> {
  const { sides, rounds, sizes, workshop, progress } = options;
  const samples = sides.map((): Sample[] => []);
  const verifications: Verification[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const [index, { name, contestant }] of sides.entries()) {
      progress(`round ${round} of ${rounds}: ${name}`);
      const findings = await measureOnePort(contestant, workshop, sizes);
      samples[index]!.push(findings.sample);
      verifications.push(...findings.verifications);
    }
  }
  const rows = MEASURES.map(({ name, label }) => ({
    label,
    values: samples.map((side) => medianOf(side.map((sample) => sample[name] ?? Number.NaN))),
  }));
  return { names: sides.map(({ name }) => name), rows, verifications };
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1]!;
}

/** The medians, and behind each how many times that of the last side it is. */
export function formatSides({ names, rows }: SidesResult): string {
  const widths = names.map((name) => Math.max(name.length, 15));
  const line = (label: string, cells: readonly string[]) =>
    [label.padEnd(36), ...cells.map((cell, index) => cell.padStart(widths[index]!))].join('  ');
  const cellsOf = (values: readonly number[]) =>
    values.map((value, index) => {
      const ratio = (value / values.at(-1)!).toFixed(2);
      return index === values.length - 1 ? value.toFixed(1) : `${value.toFixed(1)} (${ratio})`;
    });
  return [line('median', names), ...rows.map(({ label, values }) => line(label, cellsOf(values)))].join('\n');
}
