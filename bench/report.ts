import type { MeasureName, Sample, Verification } from './measure.ts';

/** What a measure should reach: a ratio to the reference of the same round, or a value of its own. */
interface Aim {
  readonly of: 'ratio' | 'value';
  readonly atLeast?: number;
  readonly atMost?: number;
}

interface Measure {
  readonly name: MeasureName;
  readonly label: string;
  readonly unit: string;
  readonly aim: Aim;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** One line of the result. */
export interface Row {
  readonly label: string;
  readonly unit: string;
  readonly honeyport: Spread;
  readonly reference?: Spread;
  /** Of honeyport to reference: each round's own ratio, so that a busy minute hits both sides. */
  readonly ratio?: Spread;
  readonly aim: string;
  readonly met: boolean;
}

/** All loads of one kind, over all rounds. */
export interface LoadRow {
  readonly load: string;
  readonly contestant: Verification['contestant'];
  readonly attempted: number;
  readonly established: number;
  readonly missing: number;
  readonly duplicated: number;
  readonly invented: number;
  readonly listenOverflows: number;
  readonly met: boolean;
}

const MEMORY: Aim = { of: 'value', atMost: 80 };

const MEASURES: readonly Measure[] = [
  {
    name: 'fullRatePerS',
    label: 'connections, full rate',
    unit: '/s',
    aim: { of: 'ratio', atLeast: 0.95 },
  },
  {
    name: 'fullRateCpuUs',
    label: 'CPU per connection, full rate',
    unit: 'us',
    aim: { of: 'ratio', atMost: 1.5 },
  },
  { name: 'pacedCpuUs', label: 'CPU per connection, 2,000/s', unit: 'us', aim: { of: 'ratio', atMost: 2.5 } },
  {
    name: 'latencyP50Us',
    label: 'connect to readable line, p50',
    unit: 'us',
    aim: { of: 'ratio', atMost: 1.3 },
  },
  {
    name: 'latencyP99Us',
    label: 'connect to readable line, p99',
    unit: 'us',
    aim: { of: 'ratio', atMost: 4 },
  },
  {
    name: 'startMs',
    label: 'start to listening, 1,000 ports',
    unit: 'ms',
    aim: { of: 'value', atMost: 500 },
  },
  { name: 'onePortMib', label: 'resident, 1 port', unit: 'MiB', aim: MEMORY },
  { name: 'onePortPeakMib', label: 'resident, 1 port, peak', unit: 'MiB', aim: MEMORY },
  { name: 'manyPortsMib', label: 'resident, 5,000 ports', unit: 'MiB', aim: MEMORY },
  { name: 'manyPortsPeakMib', label: 'resident, 5,000 ports, peak', unit: 'MiB', aim: MEMORY },
  { name: 'afterFullRateMib', label: 'resident, after full rate', unit: 'MiB', aim: MEMORY },
  { name: 'afterFullRatePeakMib', label: 'resident, after full rate, peak', unit: 'MiB', aim: MEMORY },
  { name: 'afterMillionMib', label: 'resident, after a million', unit: 'MiB', aim: MEMORY },
  { name: 'afterMillionPeakMib', label: 'resident, after a million, peak', unit: 'MiB', aim: MEMORY },
];

/** Sums up the rounds; sample i of both sides is round i. */
export function summarize(honeyport: readonly Sample[], reference: readonly Sample[]): Row[] {
  return MEASURES.flatMap((measure) => {
    const row = summarizeMeasure(measure, values(honeyport, measure.name), values(reference, measure.name));
    return row ? [row] : [];
  });
}

function summarizeMeasure(
  { label, unit, aim }: Measure,
  honeyport: readonly number[],
  reference: readonly number[],
): Row | undefined {
  if (honeyport.length === 0) return undefined;
  const own = spread(honeyport);
  if (reference.length === 0) {
    return { label, unit, honeyport: own, aim: describe(aim), met: isMet(aim, own.median) };
  }
  const ratio = spread(honeyport.map((value, round) => value / reference[round]!));
  const met = isMet(aim, aim.of === 'ratio' ? ratio.median : own.median);
  return { label, unit, honeyport: own, reference: spread(reference), ratio, aim: describe(aim), met };
}

function values(samples: readonly Sample[], name: MeasureName): number[] {
  return samples.map((sample) => sample[name]).filter((value) => value !== undefined);
}

function spread(numbers: readonly number[]): Spread {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** A value that could not be had (NaN) meets nothing. */
function isMet({ atLeast, atMost }: Aim, value: number): boolean {
  return value >= (atLeast ?? Number.NEGATIVE_INFINITY) && value <= (atMost ?? Number.POSITIVE_INFINITY);
}

function describe({ of, atLeast, atMost }: Aim): string {
  const bound = atLeast === undefined ? `<= ${atMost}` : `>= ${atLeast}`;
  return of === 'ratio' ? `ratio ${bound}` : bound;
}

/** Sums up the comparisons of logs with the truth, per load and contestant, in the order of the first round. */
export function summarizeLoads(verifications: readonly Verification[]): LoadRow[] {
  const groups = new Map<string, Verification[]>();
  for (const verification of verifications) {
    const key = `${verification.load} ${verification.contestant}`;
    groups.set(key, [...(groups.get(key) ?? []), verification]);
  }
  return [...groups.values()].map(sumLoads);
}

function sumLoads(group: readonly Verification[]): LoadRow {
  const sum = (count: (one: Verification) => number) => group.reduce((total, one) => total + count(one), 0);
  const row = {
    load: group[0]!.load,
    contestant: group[0]!.contestant,
    attempted: sum(({ summary }) => summary.attempted),
    established: sum(({ summary }) => summary.established),
    missing: sum(({ differences }) => differences.missing.length),
    duplicated: sum(({ differences }) => differences.duplicated.length),
    invented: sum(({ differences }) => differences.invented.length),
    listenOverflows: sum(({ listenOverflows }) => listenOverflows),
  };
  return { ...row, met: isComplete(row) };
}

/** No difference, in a load that came about: what was hardly established proves nothing. */
function isComplete(row: Omit<LoadRow, 'met'>): boolean {
  return row.missing + row.duplicated + row.invented === 0 && row.established >= row.attempted * 0.99;
}

/** The result for people. */
export function format(rows: readonly Row[], loads: readonly LoadRow[]): string {
  const measured = rows.map((row) => [
    `${row.label} (${row.unit})`,
    formatSpread(row.honeyport),
    row.reference ? formatSpread(row.reference) : '-',
    row.ratio ? row.ratio.median.toFixed(2) : '-',
    row.aim,
    row.met ? 'met' : 'missed',
  ]);
  const verified = loads.map((row) => [
    row.load,
    row.contestant,
    ...[row.attempted, row.established, row.missing, row.duplicated, row.invented].map(String),
    row.met ? 'met' : 'missed',
  ]);
  return [
    table([['measure: median (min-max)', 'honeyport', 'reference', 'ratio', 'aim', ''], ...measured]),
    table([
      [
        'every connection in the log once',
        '',
        'attempted',
        'established',
        'missing',
        'twice',
        'invented',
        '',
      ],
      ...verified,
    ]),
  ].join('\n\n');
}

function formatSpread({ median, min, max }: Spread): string {
  return min === max ? round(median) : `${round(median)} (${round(min)}-${round(max)})`;
}

function round(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0);
}

/** Columns as wide as they must be; the first line has as many as any. */
export function table(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
