import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parseAddress } from '../../src/address.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import { type HistoryOptions, readBans, readEvents } from '../../src/why/history.ts';
import { temporaryDirectory } from '../support/directory.ts';

const NOON = Date.parse('2026-11-22T12:00:00Z');
const format = createLineFormatter({ sensor: 'web-1', pid: 812 });
const ends = (src: string) => ({ src, spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' });

const connect = (src: string, minute = 0) =>
  format({ kind: 'connect', time: NOON + minute * 60_000, ...ends(src), id: `a.${minute}` });
const data = (src: string, text: string) =>
  format({ kind: 'data', time: NOON, ...ends(src), id: 'a.1', bytes: text.length, guess: 'text', text });

test('lines are counted by kind, with the first and the last time', async (context) => {
  const withheld = format({
    kind: 'withheld',
    time: NOON,
    ...ends('198.51.100.7'),
    id: 'a.2',
    reason: 'cookie',
  });
  const suppressed = format({
    kind: 'suppressed',
    time: NOON,
    src: '198.51.100.7',
    count: 9,
    reason: 'rate',
    id: 'a.3',
  });
  const lines = [connect('198.51.100.7', 5), connect('198.51.100.7', -5), withheld, suppressed];
  const found = await events(context, '198.51.100.7', lines);
  assert.deepEqual(
    [...found.counts],
    [
      ['connect', 2],
      ['withheld', 1],
      ['suppressed', 1],
    ],
  );
  assert.deepEqual([found.first, found.last], [NOON - 300_000, NOON + 300_000]);
  assert.deepEqual(found.lines, lines);
});

test('the last ten lines are kept, over all files', async (context) => {
  const lines = Array.from({ length: 25 }, (_, minute) => connect('198.51.100.7', minute));
  const path = join(temporaryDirectory(context), 'honeyport.log');
  writeFileSync(`${path}.2.gz`, gzipSync(text(lines.slice(0, 12))));
  writeFileSync(`${path}.1`, text(lines.slice(12, 20)));
  writeFileSync(path, text(lines.slice(20)));
  const found = await readEvents({ path, address: parseAddress('198.51.100.7')!, onTrouble: assert.fail });
  assert.deepEqual([found.total, found.files, found.lines], [25, 3, lines.slice(-10)]);
});

test('a line of another address is none, however alike they are', async (context) => {
  const others = ['198.51.100.70', '198.51.100.17', '98.51.100.7', '8.51.100.7', '198.51.100.71'];
  const asDestination = connect('192.0.2.9').replace('dst=203.0.113.5', 'dst=198.51.100.7');
  const found = await events(context, '198.51.100.7', [
    ...others.map((other) => connect(other)),
    asDestination,
  ]);
  assert.equal(found.total, 0);
});

test('what a peer sends cannot make a line one of another address', async (context) => {
  const injected = connect('198.51.100.7');
  const hostile = [
    data('192.0.2.9', ' src=198.51.100.7 '),
    data('192.0.2.9', `\n${injected}\n`),
    data('192.0.2.9', `x" src=198.51.100.7 spt=1`),
    data('192.0.2.9', `\\" src=198.51.100.7 \\`),
  ];
  // lines that no formatter makes
  const forged = [
    `${connect('192.0.2.9')} src=198.51.100.7 x=1`,
    `x ${injected}`,
    `${injected} "`,
    injected.replace('connect', 'unknown'),
    injected.replace('honeyport[812]', 'other[812]'),
    injected.replace(' src=198.51.100.7 ', ' x="y src=198.51.100.7 z" '),
  ];
  const found = await events(context, '198.51.100.7', [...hostile, ...forged]);
  assert.deepEqual(found.lines, []);
  assert.equal((await events(context, '192.0.2.9', [...hostile, ...forged])).total, hostile.length);
});

for (const spelling of ['2001:db8::7', '2001:DB8::7', '2001:0db8:0:0:0:0:0:0007']) {
  test(`${spelling} finds the lines of 2001:db8::7`, async (context) => {
    const lines = [connect('2001:db8::7'), connect('2001:db8::70'), connect('2001:db8::')];
    assert.deepEqual((await events(context, spelling, lines)).lines, lines.slice(0, 1));
  });
}

test('an IPv4-mapped address finds the lines of the IPv4 address', async (context) => {
  assert.equal((await events(context, '::ffff:198.51.100.7', [connect('198.51.100.7')])).total, 1);
});

const ban = (src: string, more = '', kind = 'ban') =>
  `2026-11-22T12:00:00.000+00:00 web-1 honeyport[640]: ${kind} src=${src} until=never count=1 jail=honeyport id=b.1${more}`;

test('bans of the address, of networks around it, and with a prefix around it count', async (context) => {
  const lines = [
    ban('2001:db8::7'),
    ban('2001:db8::/64', '', 'unban'),
    ban('2001:db8::8', ' net=2001:db8::/64'),
    ban('2001:db8:0:1::8', ' net=2001:db8:0:1::/64'),
    ban('2001:db8::70'),
    ban('192.0.2.9').replace('jail=honeyport', 'jail="src=2001:db8::7 net=2001:db8::/64"'),
  ];
  const found = await history(readBans, context, '2001:db8::7', lines);
  assert.deepEqual(found.lines, lines.slice(0, 3));
  assert.deepEqual(
    [...found.counts],
    [
      ['ban', 2],
      ['unban', 1],
    ],
  );
});

test('a million lines take seconds', { timeout: 60_000 }, async (context) => {
  const lines = Array.from({ length: 1000 }, (_, n) => connect(`198.51.100.${n % 250}`, n));
  const path = join(temporaryDirectory(context), 'honeyport.log');
  writeFileSync(path, text(lines).repeat(1000));
  const begin = performance.now();
  const found = await readEvents({ path, address: parseAddress('198.51.100.7')!, onTrouble: assert.fail });
  const seconds = (performance.now() - begin) / 1000;
  assert.equal(found.total, 4000);
  // it takes half a second; a loaded machine takes longer
  assert.ok(seconds < 10, `${seconds} s`);
});

test('a neighbour is who is banned with a network around our address, by that jail and in earnest', async (context) => {
  const net = ' net=2001:db8::/64';
  const lines = [
    ban('2001:db8::8', net),
    ban('2001:db8::9', net).replace('jail=honeyport', 'jail="gr\\xc3\\xb6n"'),
    ban('2001:db8::a', net, 'would-ban'),
    ban('2001:db8:0:1::8', ' net=2001:db8:0:1::/64'),
  ];
  const { neighbours } = await history(readBans, context, '2001:db8::7', lines);
  assert.equal(neighbours.netOf('honeyport', '2001:db8::8'), '2001:db8::/64');
  assert.equal(neighbours.netOf('grön', '2001:db8::9'), '2001:db8::/64');
  for (const other of ['2001:db8::9', '2001:db8::a', '2001:db8:0:1::8', '2001:db8::7'])
    assert.equal(neighbours.netOf('honeyport', other), undefined, other);
});

const events = (context: TestContext, address: string, lines: readonly string[]) =>
  history(readEvents, context, address, lines);

async function history<T>(
  read: (options: HistoryOptions) => Promise<T>,
  context: TestContext,
  address: string,
  lines: readonly string[],
): Promise<T> {
  const path = join(temporaryDirectory(context), 'some.log');
  writeFileSync(path, text(lines), 'latin1');
  return await read({ path, address: parseAddress(address)!, onTrouble: assert.fail });
}

function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}
