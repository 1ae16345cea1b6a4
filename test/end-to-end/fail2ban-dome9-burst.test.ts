import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectLine } from '../support/ban-burst.ts';
import { type BanStage, startBans } from '../support/bans.ts';
import { startRecording, untilRecorded } from '../support/dome9-record.ts';
import { manyAddresses } from '../support/dome9-service.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 30_000;
/** A burst takes 0.3 to 0.6 s, and up to 0.4 s more of fail2ban's own sleep, as it falls. */
const BURSTS = 5;
const SOURCES = 1000;

test('the last of 1,000 sources is in nftables as soon as without the action', async (context) => {
  const without = await startBans(context, { release: 'host' });
  const beside = await startRecording(context);
  const times = new Map<Pick<BanStage, 'dir' | 'banLog'>, number[]>([
    [without, []],
    [beside, []],
  ]);
  for (let burst = 0; burst < BURSTS; burst++) {
    for (const [stage, taken] of times) taken.push(await banBurst(stage, burst));
  }
  const [own, others] = [Math.min(...times.get(beside)!), Math.min(...times.get(without)!)];
  const text = `quickest of ${BURSTS} bursts: ${Math.round(own)} ms with it, ${Math.round(others)} ms without`;
  context.diagnostic(text);
  assert.ok(own <= 1.5 * others + 300, text);
  await untilRecorded(beside.state, manyAddresses(BURSTS * SOURCES));
});

async function banBurst({ dir, banLog }: Pick<BanStage, 'dir' | 'banLog'>, burst: number): Promise<number> {
  const sources = manyAddresses(SOURCES, burst * SOURCES);
  const begin = performance.now();
  appendFileSync(join(dir, 'honeyport-0.log'), sources.map(connectLine).join(''));
  const last = ` ban src=${sources.at(-1)} `;
  await waitFor(() => existsSync(banLog) && readFileSync(banLog, 'latin1').includes(last), {
    deadlineMs: DEADLINE_MS,
    everyMs: 10,
    what: `the ban of ${sources.at(-1)}`,
  });
  return performance.now() - begin;
}
