import { honeyport } from './contestant.ts';
import type { Side } from './sides.ts';

/** What it costs to look at each source's lines and at all of them, beside no limit; none of the load reaches one. */
export function limitsSides(cli: string): Side[] {
  return [
    {
      name: 'limits',
      contestant: honeyport(cli, { lineLimits: 'lines_per_source: 100/10s, lines: 1000000/1s' }),
    },
    { name: 'no limits', contestant: honeyport(cli) },
  ];
}
