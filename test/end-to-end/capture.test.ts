import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, runLoad } from '../support/load.ts';
import { createNetwork, type Network } from '../support/namespaces.ts';
import { SPOOF_KINDS, sendSpoofed } from '../support/spoof.ts';
import { waitFor } from '../support/wait.ts';

const NOTHING = { missing: [], duplicated: [], invented: [] };
const FIRST_PORT = 2000;
const LAST_PORT = 2999;

const CONFIG = `
sensor: sensor-1
decoys:
  - name: many
    ports: ${FIRST_PORT}-${LAST_PORT}
  - name: one
    ports: [23]
limits: { lines_per_source: off, lines: off }
log: { file: { path: LOG }, console: off }
`;

let network: Network;
let honeyport: RunningHoneyport;

before(async () => {
  network = createNetwork();
  network.addSources('198.19.0.0/16');
  network.addSources('2001:db8:5::/64');
  // nobody has these addresses, so nobody resets what is opened in their name
  network.run(network.sensor, ['ip', 'route', 'add', '198.18.0.0/16', 'via', network.attacker.ipv4]);
  network.run(network.sensor, ['ip', 'route', 'add', '2001:db8:6::/64', 'via', network.attacker.ipv6]);
  honeyport = await startHoneyport({ config: CONFIG, namespace: network.sensor.namespace });
});

after(async () => {
  await honeyport?.stop();
  network?.dispose();
});

/** Lines written since `mark`, when as many as `count` connections are in the log or the deadline is over. */
async function connectsSince(mark: number, count: number): Promise<string[]> {
  const connects = () =>
    honeyport
      .lines()
      .slice(mark)
      .filter((line) => line.includes(': connect '));
  await waitFor(() => connects().length >= count, {
    deadlineMs: 20_000,
    what: () => `${count} lines, got ${connects().length}`,
  });
  return connects();
}

const FAMILIES = [
  { family: 'IPv4', address: () => network.sensor.ipv4, firstSource: '198.19.0.1', strangers: '198.18.0.1' },
  {
    family: 'IPv6',
    address: () => network.sensor.ipv6,
    firstSource: '2001:db8:5::1',
    strangers: '2001:db8:6::1',
  },
] as const;

for (const { family, address, firstSource, strangers } of FAMILIES) {
  describe(`over ${family}`, () => {
    for (const mode of ['rst', 'fin', 'data'] as const) {
      test(`5,000 connections closed by ${mode} at once are each in the log once, with their true ends`, async () => {
        const mark = honeyport.lines().length;
        const { established } = await runLoad({
          address: address(),
          ports: [FIRST_PORT, LAST_PORT],
          count: 5000,
          concurrency: 256,
          mode,
          firstSource,
          namespace: network.attacker.namespace,
        });
        assert.equal(established.length, 5000);
        assert.deepEqual(compareLogWithManifest(await connectsSince(mark, 5000), established), NOTHING);
      });
    }

    test('a burst of 2,000 at once on one port is in the log whole', async () => {
      const mark = honeyport.lines().length;
      const { established } = await runLoad({
        address: address(),
        ports: 23,
        count: 2000,
        concurrency: 2000,
        mode: 'rst',
        firstSource,
        namespace: network.attacker.namespace,
      });
      assert.equal(established.length, 2000);
      assert.deepEqual(compareLogWithManifest(await connectsSince(mark, 2000), established), NOTHING);
    });

    test('nmap -sT over 1,000 ports leaves one line for each port', async () => {
      const mark = honeyport.lines().length;
      const scan = ['nmap', '-sT', '-n', '-Pn', '--max-retries', '3', '-p', `${FIRST_PORT}-${LAST_PORT}`];
      const six = family === 'IPv6' ? ['-6'] : [];
      const { code, stdout } = network.run(network.attacker, [...scan, ...six, address()], {
        timeoutMs: 60_000,
      });
      assert.equal(code, 0, stdout);
      const lines = await connectsSince(mark, 1000);
      const ports = lines.map((line) => Number(/ dpt=(\d+) /.exec(line)![1])).sort((a, b) => a - b);
      assert.deepEqual(
        ports,
        Array.from({ length: 1000 }, (_, i) => FIRST_PORT + i),
      );
      const source = family === 'IPv4' ? network.attacker.ipv4 : network.attacker.ipv6;
      for (const line of lines)
        assert.ok(line.includes(` src=${source} `) && line.includes(` dst=${address()} `), line);
    });

    test('5,000 spoofed SYNs and stray segments of every kind leave nothing in the log', async () => {
      const mark = honeyport.lines().length;
      for (const kind of SPOOF_KINDS) {
        const { sent } = await sendSpoofed({
          address: address(),
          ports: [FIRST_PORT, LAST_PORT],
          count: 5000,
          kind,
          firstSource: strangers,
          sources: 5000,
          namespace: network.attacker.namespace,
        });
        assert.equal(sent, 5000);
      }
      // a real knock after them proves that the listener has seen all that came before
      await runLoad({
        address: address(),
        ports: 23,
        count: 1,
        mode: 'fin',
        connectTimeoutMs: 10_000,
        wallS: 20,
        namespace: network.attacker.namespace,
      });
      await waitFor(() => honeyport.lines().length > mark, {
        deadlineMs: 5000,
        what: 'the line of the real knock',
      });
      const lines = honeyport.lines().slice(mark);
      assert.equal(lines.length, 1, lines.slice(0, 5).join('\n'));
    });
  });
}

test('a connection ends with FIN and never with a reset, also when the peer sent before it was accepted', async () => {
  const resets = () => counter('/proc/net/snmp', 'Tcp:', 'OutRsts');
  const aborts = () => counter('/proc/net/netstat', 'TcpExt:', 'TCPAbortOnClose');
  const before = [resets(), aborts()];
  const mark = honeyport.lines().length;
  // stopped, it leaves the connections and what they send to wait in the kernel
  process.kill(honeyport.pid, 'SIGSTOP');
  const client = network.spawn(network.attacker, [
    process.execPath,
    '-e',
    PATIENT_CLIENT,
    network.sensor.ipv4,
  ]);
  let said = '';
  client.stdout!.on('data', (chunk) => {
    said += chunk;
  });
  await waitFor(() => said.includes('sent'), { deadlineMs: 10_000, what: 'the client to have sent' });
  process.kill(honeyport.pid, 'SIGCONT');
  await waitFor(() => said.includes('ended'), { deadlineMs: 10_000, what: 'the client to see every end' });
  await connectsSince(mark, 50);
  assert.deepEqual([resets(), aborts()], before);
  client.kill();
});

/** Opens 50 connections, sends on each, and keeps its own side open after the other has ended. */
const PATIENT_CLIENT = `
const { createConnection } = require('node:net');
let sent = 0, ended = 0;
for (let n = 0; n < 50; n++) {
  const socket = createConnection({ host: process.argv[1], port: 23, allowHalfOpen: true });
  socket.write('x'.repeat(10000), () => ++sent === 50 && console.log('sent'));
  socket.on('end', () => ++ended === 50 && console.log('ended')).resume();
}
`;

/** A counter of the sensor's kernel. */
function counter(table: string, group: string, name: string): number {
  const rows = network.run(network.sensor, ['cat', table]).stdout.split('\n');
  const [names, values] = rows.filter((row) => row.startsWith(group)).map((row) => row.split(' '));
  return Number(values![names!.indexOf(name)]);
}

test('time to live, window and options of the SYN are in the line, as the peer sent them', async () => {
  const mark = honeyport.lines().length;
  network.run(network.attacker, ['sysctl', '-qw', 'net.ipv4.ip_default_ttl=77']);
  await network.connect({ from: network.attacker.ipv4, to: network.sensor.ipv4, port: 23 });
  const [line] = await connectsSince(mark, 1);
  assert.match(line!, / ttl=77 win=\d+ syn=mss:1460,sok,ts,nop,ws:\d+$/);
});

test('a peer that sees its connection end is in the file already', async () => {
  const local = await startHoneyport({
    config:
      'decoys: [{ ports: 24001 }]\nlimits: { lines_per_source: off }\nlog: { file: { path: LOG }, console: off }\n',
  });
  const missing: number[] = [];
  for (let n = 0; n < 300; n++) {
    const port = await new Promise<number>((resolve, reject) => {
      const socket = createConnection({ host: '127.0.0.1', port: 24_001 }, () => {
        const own = socket.localPort!;
        socket.on('end', () => {
          if (!readFileSync(local.logFile, 'latin1').includes(` spt=${own} `)) missing.push(own);
          resolve(own);
        });
        socket.resume();
      });
      socket.on('error', reject);
    });
    assert.ok(port > 0);
  }
  await local.stop();
  assert.deepEqual(missing, []);
});

test('ids rise by one for each line, without gaps', () => {
  const numbers = honeyport.lines().map((line) => Number(/ id=[a-z0-9]+\.(\d+)/.exec(line)![1]));
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => i + 1),
  );
});
