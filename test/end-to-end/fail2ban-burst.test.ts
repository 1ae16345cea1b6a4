import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type BurstStage, setBurstStage } from '../support/ban-burst.ts';
import { RELEASES } from '../support/fail2ban.ts';

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
    let stock: BurstStage;

    before(async () => {
      own = await setBurstStage('honeyport', release);
      stock = await setBurstStage('stock', release);
    });
    after(async () => {
      await own?.dispose();
      await stock?.dispose();
    });

    test(`the last of ${SMALL} sources is banned ${TIMES_SOONER} times sooner than by the stock action, with fail2ban awake`, async (context) => {
      const ownMs = await banBursts(own, SMALL, SMALL_BURSTS);
      const stockMs = await stock.ban(SMALL);
      compare(
        context,
        `${SMALL} bans, quickest of ${SMALL_BURSTS}`,
        Math.min(...ownMs),
        stockMs,
        TIMES_SOONER,
      );
      compare(context, `${SMALL} bans, median`, median(ownMs), stockMs, TIMES_SOONER_WITH_SLEEP);
    });

    test("another jail's ban does not wait for a burst", async () => {
      assert.ok((await own.banAmid(LARGE)) < LARGE);
    });

    test(`the last of ${LARGE} sources is banned ${TIMES_SOONER} times sooner than by the stock action`, async (context) => {
      const ownMs = Math.min(...(await banBursts(own, LARGE, LARGE_BURSTS)));
      compare(
        context,
        `${LARGE} bans, quickest of ${LARGE_BURSTS}`,
        ownMs,
        await stock.ban(LARGE),
        TIMES_SOONER,
      );
    });
  });
}

async function banBursts(stage: BurstStage, size: number, bursts: number): Promise<number[]> {
  const times: number[] = [];
  for (let burst = 0; burst < bursts; burst++) times.push(await stage.ban(size));
  return times;
}

function compare(
  context: { diagnostic(text: string): void },
  what: string,
  ownMs: number,
  stockMs: number,
  wanted: number,
): void {
  const ratio = stockMs / ownMs;
  const text = `${what}: ${Math.round(ownMs)} ms, stock ${Math.round(stockMs)} ms: ${ratio.toFixed(1)} times sooner`;
  context.diagnostic(text);
  assert.ok(ratio >= wanted, `${text}, wanted ${wanted}`);
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1]!;
}
