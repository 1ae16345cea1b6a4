import { setBurstStage } from '../test/support/ban-burst.ts';

/** Milliseconds from writing a burst's lines to its last ban, by the shipped action and by fail2ban's own for nftables. */
export interface BanRow {
  readonly sources: number;
  readonly bursts: number;
  readonly ownMs: number;
  readonly stockMs: number;
  readonly ratio: number;
}

/** Small bursts hang on when fail2ban wakes up; the median of some says more than one. */
const BURSTS: readonly (readonly [sources: number, bursts: number])[] = [
  [1_000, 9],
  [10_000, 3],
];

/** Bans bursts with both actions, each in a fail2ban of its own; needs root, fail2ban and nftables. */
export async function measureBans(progress: (what: string) => void): Promise<BanRow[]> {
  const rows: BanRow[] = [];
  for (const [sources, bursts] of BURSTS) {
    progress(`${sources} bans by the shipped action`);
    const ownMs = await median('honeyport', sources, bursts);
    progress(`${sources} bans by the stock action`);
    const stockMs = await median('stock', sources, 1);
    rows.push({ sources, bursts, ownMs, stockMs, ratio: stockMs / ownMs });
  }
  return rows;
}

async function median(blocker: 'honeyport' | 'stock', sources: number, bursts: number): Promise<number> {
  const stage = await setBurstStage(blocker, 'host');
  try {
    const times: number[] = [];
    for (let burst = 0; burst < bursts; burst++) times.push(await stage.ban(sources));
    return times.sort((one, other) => one - other)[bursts >> 1]!;
  } finally {
    await stage.dispose();
  }
}

/** A line for each size. */
export function formatBans(rows: readonly BanRow[]): string {
  const lines = rows.map(({ sources, bursts, ownMs, stockMs, ratio }) => {
    const [own, stock] = [ownMs, stockMs].map((ms) => `${(ms / 1000).toFixed(2)} s`);
    const times = bursts > 1 ? `median of ${bursts}` : 'once';
    return `last of ${sources} sources banned: ${own} (${times}), stock action ${stock}: ${ratio.toFixed(1)} times sooner`;
  });
  return lines.join('\n');
}
