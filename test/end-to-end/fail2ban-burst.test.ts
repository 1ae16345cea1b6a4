import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BurstStage, setBurstStage } from '../support/ban-burst.ts';
import { RELEASES } from '../support/fail2ban.ts';

/** How much sooner the last source of a burst is banned than with the stock action; the reason for our own. */
const TIMES_SOONER = 20;
const SMALL = 1_000;
const LARGE = 10_000;
/** A small burst ends within a few of fail2ban's own sleeps of 0.2 s: the median of some says more than one. */
const SMALL_BURSTS = 7;

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    let own: BurstStage;
    let stock: BurstStage;

    before(async () => {
      own = await setBurstStage('honeyport', release);
      stock = await setBurstStage('stock', release);
    });
    after(async () => {
      await own?.dispose();
      await stock?.dispose();
    });

    test(`the last of ${SMALL} sources is banned ${TIMES_SOONER} times sooner than by the stock action`, async (context) => {
      const ownMs: number[] = [];
      for (let burst = 0; burst < SMALL_BURSTS; burst++) ownMs.push(await own.ban(SMALL));
      report(context, SMALL, median(ownMs), await stock.ban(SMALL));
    });

    test("another jail's ban does not wait for a burst", async () => {
      assert.ok((await own.banAmid(LARGE)) < LARGE);
    });

    test(`the last of ${LARGE} sources is banned ${TIMES_SOONER} times sooner than by the stock action`, async (context) => {
      report(context, LARGE, await own.ban(LARGE), await stock.ban(LARGE));
    });
  });
}

function report(
  context: { diagnostic(text: string): void },
  size: number,
  ownMs: number,
  stockMs: number,
): void {
  const ratio = stockMs / ownMs;
  const text = `${size} bans: ${Math.round(ownMs)} ms, stock ${Math.round(stockMs)} ms: ${ratio.toFixed(1)} times sooner`;
  context.diagnostic(text);
  assert.ok(ratio >= TIMES_SOONER, text);
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1]!;
}
