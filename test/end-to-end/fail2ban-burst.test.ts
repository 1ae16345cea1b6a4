import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BurstStage, setBurstStage } from '../support/ban-burst.ts';
import { RELEASES, type Release } from '../support/fail2ban.ts';

/** How much sooner the last source of a burst is banned than with the stock action; the reason for our own. */
const TIMES_SOONER = 20;
const SMALL = 1_000;
const LARGE = 10_000;
/** A small burst takes 0.25 s of work, and up to 0.4 s more of fail2ban's own sleep, as it falls. */
const SMALL_BURSTS = 9;
const TIMES_SOONER_WITH_SLEEP = 10;
const LARGE_BURSTS = 3;

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    let own: BurstStage;

    before(async () => {
      own = await setBurstStage('honeyport', release);
    });
    after(() => own?.dispose());

    test(`the last of ${SMALL} sources is banned ${TIMES_SOONER} times sooner than by the stock action, with fail2ban awake`, async (context) => {
      const ownMs = await banBursts(own, SMALL, SMALL_BURSTS);
      const [quickest, middle] = [Math.min(...ownMs), median(ownMs)];
      const text = `${SMALL} bans: quickest of ${SMALL_BURSTS} ${Math.round(quickest)} ms, median ${Math.round(middle)} ms`;
      context.diagnostic(text);
      await stockIsNotDone(
        release,
        SMALL,
        Math.max(quickest * TIMES_SOONER, middle * TIMES_SOONER_WITH_SLEEP),
        text,
      );
    });

    test("another jail's ban does not wait for a burst", async () => {
      const before = await own.banAmid(LARGE);
      assert.ok(before < LARGE, `it came after all ${before} of the burst`);
    });

    test(`the last of ${LARGE} sources is banned ${TIMES_SOONER} times sooner than by the stock action`, async (context) => {
      const quickest = Math.min(...(await banBursts(own, LARGE, LARGE_BURSTS)));
      const text = `${LARGE} bans: quickest of ${LARGE_BURSTS} ${Math.round(quickest)} ms`;
      context.diagnostic(text);
      await stockIsNotDone(release, LARGE, quickest * TIMES_SOONER, text);
    });
  });
}

async function banBursts(stage: BurstStage, size: number, bursts: number): Promise<number[]> {
  const times: number[] = [];
  for (let burst = 0; burst < bursts; burst++) times.push(await stage.ban(size));
  return times;
}

/** Checks that the stock action has begun with a burst, and not come to its last source after so long; no longer. */
async function stockIsNotDone(release: Release, size: number, ms: number, own: string): Promise<void> {
  const stock = await setBurstStage('stock', release);
  try {
    const { isDone, banned } = await stock.banWithin(size, ms);
    const text = `${own}; the stock action has ${banned} of ${size} bans after ${Math.round(ms)} ms`;
    assert.ok(!isDone, text);
    assert.ok(banned > 0, text);
  } finally {
    await stock.dispose();
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1]!;
}
