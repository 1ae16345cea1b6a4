import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { honeyport } from './contestant.ts';
import {
  type MeasureName,
  measureOnePort,
  type Sample,
  type Sizes,
  type Verification,
  type Workshop,
} from './measure.ts';

const ENTRIES = 100_000;

export interface AllowOptions {
  readonly cli: string;
  readonly rounds: number;
  readonly sizes: Sizes;
  readonly workshop: Workshop;
  readonly progress: (what: string) => void;
}

/** A measure with a long allow list, and with none. */
export interface AllowRow {
  readonly label: string;
  readonly unit: string;
  readonly withList: number;
  readonly without: number;
}

const MEASURES: readonly { readonly name: MeasureName; readonly label: string; readonly unit: string }[] = [
  { name: 'startMs', label: 'start to listening', unit: 'ms' },
  { name: 'fullRatePerS', label: 'connections, full rate', unit: '/s' },
  { name: 'fullRateCpuUs', label: 'CPU per connection, full rate', unit: 'us' },
  { name: 'pacedCpuUs', label: 'CPU per connection, 2,000/s', unit: 'us' },
  { name: 'latencyP50Us', label: 'connect to readable line, p50', unit: 'us' },
  { name: 'latencyP99Us', label: 'connect to readable line, p99', unit: 'us' },
  { name: 'afterFullRateMib', label: 'resident, after full rate', unit: 'MiB' },
];

/** What 100,000 entries cost: both ways in turn, each round with fresh processes. No source of the load is in the list. */
export async function measureAllow({ cli, rounds, sizes, workshop, progress }: AllowOptions) {
  const list = join(workshop.directory, 'allow.list');
  await writeFile(list, listText());
  const samples: Record<'withList' | 'without', Sample[]> = { withList: [], without: [] };
  const verifications: Verification[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const [side, allowList] of [
      ['withList', list],
      ['without', undefined],
    ] as const) {
      progress(`round ${round} of ${rounds}: ${allowList === undefined ? 'no list' : `${ENTRIES} entries`}`);
      const findings = await measureOnePort(honeyport(cli, allowList), workshop, sizes);
      samples[side].push(findings.sample);
      verifications.push(...findings.verifications);
    }
  }
  return { rows: MEASURES.map((measure) => rowOf(measure, samples)), verifications };
}

/** One in ten is an IPv6 network with a last day, one in a hundred an IPv4 network with ports, the rest IPv4 addresses. */
function listText(): string {
  const lines = Array.from({ length: ENTRIES }, (_, n) => {
    const [second, third, fourth] = [(n >> 16) & 255, (n >> 8) & 255, n & 255];
    if (n % 100 === 8) return `11.${second}.${third}.0/24 ports=22,80-90\n`;
    if (n % 10 === 9) return `2001:db8:${n.toString(16)}::/64 until=2099-12-31 # scanner ${n}\n`;
    return `10.${second}.${third}.${fourth}\n`;
  });
  return lines.join('').replace(/2001:db8:(.)(.{4})::/g, '2001:db8:$1:$2::');
}

function rowOf(
  { name, label, unit }: (typeof MEASURES)[number],
  samples: Readonly<Record<'withList' | 'without', readonly Sample[]>>,
): AllowRow {
  const medianOf = (side: readonly Sample[]) => {
    const values = side.map((sample) => sample[name] ?? Number.NaN).sort((one, other) => one - other);
    return values[values.length >> 1]!;
  };
  return { label, unit, withList: medianOf(samples.withList), without: medianOf(samples.without) };
}

/** The medians of both sides, and how much more the list takes. */
export function formatAllow(rows: readonly AllowRow[]): string {
  const lines = rows.map(({ label, unit, withList, without }) => {
    const [long, none] = [withList, without].map((value) => value.toFixed(1));
    const ratio = (withList / without).toFixed(2);
    return `${`${label} (${unit})`.padEnd(36)}  ${long!.padStart(9)}  ${none!.padStart(9)}  ${ratio.padStart(5)}`;
  });
  return [`${'median'.padEnd(36)}  ${'100,000'.padStart(9)}  ${'none'.padStart(9)}  ratio`, ...lines].join(
    '\n',
  );
}
