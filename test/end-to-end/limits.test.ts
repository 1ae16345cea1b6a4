import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { parseLine } from '../../src/format/parse-line.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { runLoad } from '../support/load.ts';
import { open, talk } from '../support/talk.ts';
import { waitFor } from '../support/wait.ts';

const PORT = 24_500;

async function start(context: TestContext, limits: string, decoy = `ports: ${PORT}-${PORT + 99}`) {
  const dir = temporaryDirectory(context);
  const honeyport = await startHoneyport({ dir, config: configuration(limits, decoy) });
  context.after(() => honeyport.stop());
  return honeyport;
}

function configuration(limits: string, decoy = `ports: ${PORT}-${PORT + 99}`): string {
  return `decoys: [{ name: d, ${decoy} }]\n${limits}\nguard: off\nlog: { file: { path: LOG }, console: off }\n`;
}

/** One word for each line, and what its summaries count, of a source or, without one, of those that name none. */
function tally(honeyport: RunningHoneyport, src?: string) {
  const tally = { lines: 0, summaries: 0, counted: 0, ports: new Set<string>() };
  for (const line of honeyport.lines()) {
    const event = parseLine(line)?.event;
    if (event === undefined || !('src' in event ? event.src === src : src === undefined)) continue;
    if (event.kind === 'connect') tally.lines += 1;
    if (event.kind !== 'suppressed') continue;
    tally.summaries += 1;
    tally.counted += event.count;
    if (event.dpt !== undefined) tally.ports.add(event.dpt);
  }
  return tally;
}

test('of one source that knocks 100,000 times there are the first lines and summaries that add up; others are not held up', async (context) => {
  // no limits in the file: these are the defaults
  const honeyport = await start(context, '');
  const flood = runLoad({
    address: '127.0.0.1',
    ports: [PORT, PORT + 9],
    count: 100_000,
    concurrency: 256,
    mode: 'rst',
    wallS: 60,
  });
  await waitFor(() => tally(honeyport, '127.0.0.1').lines >= 100, { deadlineMs: 10_000, what: '100 lines' });
  let flooding = true;
  void flood.finally(() => {
    flooding = false;
  });
  const others = Array.from({ length: 20 }, (_, i) => `127.9.0.${i + 1}`);
  for (const from of others) await talk({ port: PORT + 50, from });
  const during = others.map((source) => tally(honeyport, source).lines);
  assert.deepEqual(
    during,
    others.map(() => 1),
    'each is in the log when its connection has ended',
  );
  assert.ok(flooding, 'the flood goes on meanwhile');
  const { established } = await flood;
  assert.equal(established.length, 100_000);
  const seen = () => tally(honeyport, '127.0.0.1');
  await waitFor(() => seen().lines + seen().counted === 100_000, {
    deadlineMs: 20_000,
    what: () => `100,000 lines and counts, got ${seen().lines} and ${seen().counted}`,
  });
  const { lines, summaries, ports } = seen();
  // the last window may have had less than it allows, and no summary
  assert.ok(lines <= 100 * (summaries + 1), `${lines} lines beside ${summaries} summaries`);
  assert.equal([...ports][0], `${PORT}-${PORT + 9}`);
  assert.match(
    honeyport.lines().find((line) => line.includes(' suppressed '))!,
    /: suppressed src=127\.0\.0\.1 count=\d+ dpt=24500-24509 reason=rate id=[a-z2-7]{8}\.\d+$/,
  );
  const ids = honeyport.lines().map((line) => Number(/ id=[a-z0-9]+\.(\d+)/.exec(line)![1]));
  assert.deepEqual(
    ids,
    ids.map((_, i) => i + 1),
    'ids have no gaps',
  );
});

test('the limit of all lines never holds back the first line of a source', async (context) => {
  const honeyport = await start(context, 'limits: { lines: 50/1s, lines_per_source: off }');
  // 500 sources at once, then each again: only what comes again is held back
  for (let round = 0; round < 2; round++) {
    await runLoad({ address: '127.0.0.1', ports: PORT, count: 500, mode: 'fin', firstSource: '127.7.0.1' });
  }
  const sources = () =>
    new Set(honeyport.lines().flatMap((line) => / connect src=(\S+) /.exec(line)?.[1] ?? []));
  const lines = () => honeyport.lines().filter((line) => line.includes(' connect ')).length;
  await waitFor(() => lines() + tally(honeyport).counted === 1000, {
    deadlineMs: 10_000,
    what: () => `1,000 lines and counts, got ${lines()} and ${tally(honeyport).counted}`,
  });
  assert.equal(sources().size, 500);
  assert.ok(tally(honeyport).counted > 0, 'the limit held something back');
  await honeyport.waitForLine(/: suppressed count=\d+ reason=lines id=/);
});

test('a bannable knock is not hidden behind what the same source is allowed', async (context) => {
  const allow = `allow: [{ source: 127.0.0.1, ports: [${PORT}] }]`;
  const honeyport = await start(context, `limits: { lines_per_source: 5/1h }\n${allow}`);
  for (let i = 0; i < 20; i++) await talk({ port: PORT });
  await talk({ port: PORT + 1 });
  const kinds = honeyport.lines().map((line) => / (start|allowed|connect) /.exec(line)![1]);
  assert.deepEqual(kinds, ['start', ...Array.from({ length: 5 }, () => 'allowed'), 'connect']);
});

test('a source over its lines gets no conversation; every line of one that begins is paid for before', async (context) => {
  const honeyport = await start(
    context,
    'limits: { lines_per_source: 7/1h }',
    `ports: ${PORT}, banner: "hello\\n", capture: 5`,
  );
  const heard: string[] = [];
  for (let i = 0; i < 5; i++) heard.push((await talk({ port: PORT, say: 'knock' })).heard);
  // two with three lines each, then one line that is left, then none
  assert.deepEqual(heard, ['hello\n', 'hello\n', '', '', '']);
  await honeyport.stop();
  const kinds = honeyport.lines().map((line) => /\]: (\w+) /.exec(line)![1]);
  assert.deepEqual(kinds.sort(), [
    'close',
    'close',
    'connect',
    'connect',
    'connect',
    'data',
    'data',
    'start',
    'stop',
    'suppressed',
  ]);
  assert.match(honeyport.lines().at(-2)!, /: suppressed src=127\.0\.0\.1 count=2 dpt=24500 reason=rate /);
});

test('what is counted is told when the limits change, and when the listener ends; the same limits go on counting', async (context) => {
  const honeyport = await start(context, 'limits: { lines_per_source: 3/1h }');
  const knock = async (times: number) => {
    for (let i = 0; i < times; i++) await talk({ port: PORT });
  };
  const reload = async (limits: string) => {
    const before = honeyport.lines().filter((line) => line.includes(' reload ')).length;
    writeFileSync(honeyport.configFile, configuration(limits).replaceAll('LOG', honeyport.logFile));
    await waitFor(() => honeyport.lines().filter((line) => line.includes(' reload ')).length > before, {
      deadlineMs: 10_000,
      what: 'the reload',
    });
  };
  await knock(5);
  await reload('limits: { lines_per_source: 3/1h, pending_lines: 5000 }');
  await knock(2);
  assert.equal(tally(honeyport, '127.0.0.1').summaries, 0);
  await reload('limits: { lines_per_source: 4/1h }');
  assert.equal(tally(honeyport, '127.0.0.1').counted, 4);
  await knock(6);
  await honeyport.stop();
  const { lines, counted, summaries } = tally(honeyport, '127.0.0.1');
  assert.deepEqual([lines, counted, summaries], [7, 6, 2]);
  assert.match(honeyport.lines().at(-1)!, /: stop /);
});

test('with too few descriptors fewer conversations are held, which is said; the log can still be opened anew', async (context) => {
  const dir = temporaryDirectory(context);
  const honeyport = await startHoneyport({
    dir,
    config: configuration('limits: { lines_per_source: off }', `ports: ${PORT}, capture: 10, hold: 1h`),
    wrapper: ['prlimit', '--nofile=100'],
  });
  context.after(() => honeyport.stop());
  assert.match(
    honeyport.stderr(),
    /warning: at most 35 conversations at a time instead of 1024: there may be 100 open files\nhoneyport: hint: raise the limit/,
  );
  const sockets = Array.from({ length: 60 }, () => open({ port: PORT }));
  context.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const count = (kind: string) => honeyport.lines().filter((line) => line.includes(`: ${kind} `)).length;
  await waitFor(() => count('connect') === 60 && count('close') === 25, {
    deadlineMs: 10_000,
    what: () => `60 connections and 25 ends, got ${count('connect')} and ${count('close')}`,
  });
  renameSync(honeyport.logFile, `${honeyport.logFile}.1`);
  sockets[59]!.destroy();
  await talk({ port: PORT, from: '127.0.0.7', say: 'x', ends: true });
  await honeyport.waitForLine(/: connect src=127\.0\.0\.7 /);
});
