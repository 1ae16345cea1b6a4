import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { runLoad } from '../support/load.ts';
import { createNetwork, type Network } from '../support/namespaces.ts';
import { sendSpoofed } from '../support/spoof.ts';
import { waitFor } from '../support/wait.ts';

const CONFIG = 'decoys: [{ name: one, ports: 23 }]\nlog: { file: { path: LOG }, console: off }\n';

let network: Network;
let honeyport: RunningHoneyport;

beforeEach(() => {
  network = createNetwork();
  network.addSources('198.19.0.0/16');
  network.addSources('2001:db8:5::/64');
  // nobody has these addresses, so nobody resets what is opened in their name: the flood stays half-open
  network.run(network.sensor, ['ip', 'route', 'add', '198.18.0.0/16', 'via', network.attacker.ipv4]);
});

afterEach(async () => {
  await honeyport?.stop();
  network.dispose();
});

async function start(config: string, sysctls: readonly string[]): Promise<void> {
  for (const setting of sysctls) network.run(network.sensor, ['sysctl', '-qw', setting]);
  honeyport = await startHoneyport({ config, namespace: network.sensor.namespace });
}

function connectRealPeers(address: string, firstSource: string, count: number) {
  const { namespace } = network.attacker;
  return runLoad({
    address,
    ports: 23,
    count,
    concurrency: 20,
    mode: 'fin',
    firstSource,
    namespace,
    wallS: 60,
  });
}

const lines = (word: string) => honeyport.lines().filter((line) => line.includes(`]: ${word} `));

function cookiesReceived(): number {
  const { stdout } = network.run(network.sensor, ['cat', '/proc/net/netstat']);
  const [names, values] = stdout
    .split('\n')
    .filter((row) => row.startsWith('TcpExt:'))
    .map((row) => row.split(' '));
  return Number(values![names!.indexOf('SyncookiesRecv')]);
}

for (const [family, source] of [
  ['ipv4', '198.19.0.1'],
  ['ipv6', '2001:db8:5::1'],
] as const) {
  test(`${family}: a connection accepted from a cookie is withheld, its ends in the line`, async () => {
    await start(CONFIG, ['net.ipv4.tcp_syncookies=2']);
    const { established } = await connectRealPeers(network.sensor[family], source, 100);
    assert.equal(established.length, 100);
    // more than one line a peer is right, too: the kernel may take its last segment, whose cookie is still good, for a
    // second handshake
    const peers = () => new Set(lines('withheld').map((line) => / src=(\S+)/.exec(line)![1]));
    await waitFor(() => peers().size === 100, {
      deadlineMs: 10_000,
      what: () => `100 peers, got ${peers().size}`,
    });
    assert.ok(lines('withheld').length <= cookiesReceived());
    assert.equal(lines('connect').length, 0);
    for (const { src, spt, dst } of established) {
      const line = new RegExp(
        ` withheld src=${src} spt=${spt} dst=${dst} dpt=23 proto=tcp decoy=one id=\\S+ reason=cookie$`,
      );
      assert.ok(
        lines('withheld').some((withheld) => line.test(withheld)),
        `${src} ${spt}`,
      );
    }
  });
}

test('in a flood of spoofed SYNs nobody who came in by a cookie is a connect, and nobody spoofed is anything', async () => {
  await start(CONFIG, [
    'net.ipv4.tcp_syncookies=1',
    'net.core.somaxconn=64',
    'net.ipv4.tcp_max_syn_backlog=64',
  ]);
  const flood = sendSpoofed({
    address: network.sensor.ipv4,
    ports: 23,
    count: 60_000,
    rate: 20_000,
    firstSource: '198.18.0.1',
    sources: 60_000,
    namespace: network.attacker.namespace,
  });
  const { established } = await connectRealPeers(network.sensor.ipv4, '198.19.0.1', 500);
  await flood;
  const peers = () =>
    new Set([...lines('connect'), ...lines('withheld')].map((line) => / src=(\S+)/.exec(line)![1]));
  await waitFor(() => peers().size === established.length, { deadlineMs: 10_000, what: 'all real peers' });
  const cookies = cookiesReceived();
  assert.ok(cookies > 0, 'the kernel used no cookies: the flood was too weak');
  assert.ok(lines('withheld').length > 0 && lines('withheld').length <= cookies);
  // the kernel keeps the SYN of every connection but those it accepts from a cookie
  for (const line of lines('connect')) assert.match(line, / ttl=64 win=\d+ syn=/);
  assert.deepEqual([...peers()].sort(), established.map(({ src }) => src).sort());
});

test('cookies: count takes them for connections like any other', async () => {
  await start(`${CONFIG}cookies: count\n`, ['net.ipv4.tcp_syncookies=2']);
  await connectRealPeers(network.sensor.ipv4, '198.19.0.1', 10);
  await waitFor(() => lines('connect').length >= 10, { deadlineMs: 10_000, what: '10 connect lines' });
  assert.equal(lines('withheld').length, 0);
  assert.doesNotMatch(lines('connect')[0]!, / (ttl|win|syn)=/);
});
