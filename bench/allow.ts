import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { honeyport } from './contestant.ts';
import type { Workshop } from './measure.ts';
import type { Side } from './sides.ts';

const ENTRIES = 100_000;

/** What 100,000 entries cost, beside none. No source of the load is in the list. */
export async function allowSides(cli: string, { directory }: Workshop): Promise<Side[]> {
  const list = join(directory, 'allow.list');
  await writeFile(list, listText());
  return [
    {
      name: '100,000 entries',
      contestant: honeyport(cli, { rest: `allow: [{ file: ${JSON.stringify(list)} }]` }),
    },
    { name: 'no list', contestant: honeyport(cli) },
  ];
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
