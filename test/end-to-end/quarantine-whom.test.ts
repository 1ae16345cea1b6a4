import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SERVICE } from '../support/bans.ts';
import type { Network } from '../support/namespaces.ts';
import {
  DECOY,
  members,
  OF_ONE_ADDRESS,
  PROXIED,
  type QuarantineStage,
  setQuarantineStage,
} from '../support/quarantine-stage.ts';
import { SPOOF_KINDS, sendSpoofed } from '../support/spoof.ts';

const [GATEWAY, RESOLVER, NAMED] = ['198.18.5.1', '198.18.5.2', '198.18.5.3'];
/** What the listener sees of files that say who must not be banned. */
const OWN_FILES = [
  'unshare',
  '--mount',
  'sh',
  '-ec',
  'mount --bind DIR/hosts /etc/hosts; mount --bind DIR/resolv.conf /etc/resolv.conf; exec "$@"',
  'sh',
];

function prepare({ network, dir }: { network: Network; dir: string }): void {
  writeFileSync(join(dir, 'hosts'), `${NAMED} monitor.example\n2001:db8:5::3 monitor.example\n`);
  writeFileSync(join(dir, 'resolv.conf'), `nameserver ${RESOLVER}\n`);
  writeFileSync(join(dir, 'allow.list'), '198.18.4.0/24 # a list file\n2001:db8:5:4::/64\n');
  const { sensor, attacker } = network;
  run(
    network,
    'ip',
    '-n',
    sensor.namespace,
    'route',
    'add',
    'default',
    'via',
    GATEWAY,
    'dev',
    'wire',
    'onlink',
  );
  // name servers that are out of reach are known to be so at once
  for (const half of ['0.0.0.0/1', '128.0.0.0/1'])
    run(network, 'ip', '-n', sensor.namespace, 'route', 'add', 'unreachable', half);
  // a private network, whose first address may be a bridge that stands for everybody
  run(network, 'ip', '-n', sensor.namespace, 'address', 'add', '10.97.0.2/24', 'dev', 'wire');
  run(network, 'ip', '-n', attacker.namespace, 'address', 'add', '10.97.0.1/24', 'dev', 'wire');
}

function run({ run: runAt, sensor }: Network, ...argv: string[]): void {
  const { code, stderr } = runAt(sensor, argv);
  assert.equal(code, 0, stderr);
}

test('whoever is allowed is never quarantined: list, network, host name, file, guard, bridge, ignoreip, ports', async (context) => {
  const stage = await setQuarantineStage(context, {
    config: `allow:
  - 198.18.1.1
  - 198.18.1.128/25
  - "2001:db8:5::a"
  - monitor.example
  - { file: DIR/allow.list }
  - { source: 198.18.2.1, ports: [${SERVICE}] }
  - { source: 198.18.2.2, ports: [${DECOY}] }
  - { source: 198.18.2.3, ports: [22] }
  - { source: "2001:db8:5:2::/64", ports: [22] }
  - { source: 198.18.2.4, until: 2099-01-01 }`,
    settings: 'ignoreip = 198.18.3.1 198.18.3.128/25 2001:db8:5:3::/64',
    wrapper: OWN_FILES,
    prepare,
  });
  const allowed = [
    ...['198.18.1.1', '198.18.1.200', '2001:db8:5::a'],
    ...[NAMED, '2001:db8:5::3', '198.18.4.9', '2001:db8:5:4::9'],
    ...['198.18.2.1', '198.18.2.2', '198.18.2.3', '2001:db8:5:2::1', '198.18.2.4'],
    ...[GATEWAY, RESOLVER, '10.97.0.1'],
    ...['198.18.3.1', '198.18.3.200', '2001:db8:5:3::1'],
  ];
  for (const source of allowed) assert.equal(stage.knockAndTry(source), 'open open', source);
  assert.deepEqual(stage.quarantined(), []);
  const known = [
    ['198.18.1.1', 'allowed'],
    ['10.97.0.1', 'withheld'],
    [GATEWAY, 'allowed'],
    [RESOLVER, 'allowed'],
    [NAMED, 'allowed'],
  ];
  for (const [source, event] of known)
    await stage.honeyport.waitForLine((line) => line.includes(`: ${event} src=${source} `));
  for (const source of ['198.18.1.2', '198.18.2.5', '2001:db8:5::b'])
    assert.equal(stage.knockAndTry(source), 'timeout open', `not on it: ${source}`);
});

test('a bridge may be banned by hand, although it is never quarantined', async (context) => {
  const stage = await setQuarantineStage(context, { wrapper: OWN_FILES, prepare, bans: true });
  assert.equal(stage.knockAndTry('10.97.0.1'), 'open open');
  stage.fail2ban.client('set', 'honeyport', 'banip', '10.97.0.1');
  await stage.fail2ban.waitForBlock('10.97.0.1');
  assert.equal(await stage.reach('10.97.0.1'), 'timeout');
});

test('who comes onto the list while in quarantine is let out', async (context) => {
  const stage = await setQuarantineStage(context, { config: 'allow:\n  - 198.18.9.9' });
  assert.equal(stage.knockAndTry('198.18.0.1'), 'timeout open');
  assert.equal(stage.knockAndTry('198.18.0.2'), 'timeout open');
  const { configFile } = stage.honeyport;
  const more = `allow:\n  - 198.18.0.1\n  - { source: 198.18.0.2, ports: [22] }\n`;
  writeFileSync(configFile, readFileSync(configFile, 'utf8').replace('allow:\n', more));
  for (const source of ['198.18.0.1', '198.18.0.2']) await stage.waitForOpen(source);
  assert.equal(stage.state(), 'on');
});

test('nothing but a complete handshake with a decoy on all addresses counts, for IPv4 and IPv6', async (context) => {
  const stage = await setQuarantineStage(context);
  const { network } = stage;
  for (const source of ['198.18.9.1', '198.18.0.1', '2001:db8:5::1']) {
    const decoy = source === '198.18.9.1' ? PROXIED : OF_ONE_ADDRESS;
    assert.equal(stage.knockAndTry(source, { decoy }), 'open open', `${source} ${decoy}`);
  }
  const lines = stage.honeyport.lines().length;
  for (const [address, firstSource] of [
    [network.sensor.ipv4, '198.18.64.0'],
    [network.sensor.ipv6, '2001:db8:5::1000'],
  ] as const) {
    const spoof = (ports: number, count: number, kind: (typeof SPOOF_KINDS)[number]) =>
      sendSpoofed({
        address,
        ports,
        count,
        firstSource,
        sources: count,
        kind,
        namespace: network.attacker.namespace,
        rate: 10_000,
      });
    await spoof(OF_ONE_ADDRESS, 500, 'syn');
    // fewer than a listener's queue holds at a time, so that no cookie is sent
    for (const kind of SPOOF_KINDS) await spoof(DECOY, 1500, kind);
  }
  sweep(stage, '203.0.113.5');
  sweep(stage, '2001:db8:113::5');
  assert.deepEqual(stage.quarantined(), []);
  assert.equal(stage.honeyport.lines().length, lines, 'no line for what is no connection');
  assert.equal(stage.state(), 'on');
  assert.ok(members(stage.fail2ban, 'unbanned_ipv4').length === 0);
});

test('5,000 spoofed SYNs at once, which make cookies of handshakes, and guessed cookies quarantine nobody', async (context) => {
  const stage = await setQuarantineStage(context);
  const { network, honeyport } = stage;
  const { namespace } = network.attacker;
  const lines = honeyport.lines().length;
  const address = network.sensor.ipv4;
  run(network, 'ip', 'route', 'add', '203.0.113.0/24', 'via', network.attacker.ipv4);
  await sendSpoofed({ address, ports: DECOY, count: 5000, firstSource: '203.0.113.0', namespace });
  await sendSpoofed({
    address,
    ports: DECOY,
    count: 70_000,
    firstSource: '203.0.113.0',
    kind: 'ack',
    namespace,
  });
  assert.deepEqual(stage.quarantined(), []);
  assert.equal(honeyport.lines().length, lines);
  await stage.becomes('suspended');
});

/**
 * A SYN from a source that never answers, and then 70,000 guesses at what would acknowledge the answer, in each of the
 * forms that what follows a handshake may have.
 */
function sweep({ network }: QuarantineStage, source: string): void {
  const [to, gateway] = source.includes(':')
    ? [network.sensor.ipv6, network.attacker.ipv6]
    : [network.sensor.ipv4, network.attacker.ipv4];
  run(network, 'ip', 'route', 'add', source, 'via', gateway);
  const { code, stdout, stderr } = network.run(
    network.attacker,
    ['python3', '-c', SWEEP, source, to, String(DECOY)],
    { timeoutMs: 60_000 },
  );
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim(), '70000');
}

const SWEEP = `
import random, socket, struct, sys
source, to, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in source else socket.AF_INET
ends = socket.inet_pton(family, source) + socket.inet_pton(family, to)
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
def add(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total
def send(flags, sequence, acknowledgement):
    def segment(checksum):
        return struct.pack('!HHIIBBHHH', 40000, port, sequence, acknowledgement, 5 << 4, flags, 64240, checksum, 0)
    body = segment(~add(ends + struct.pack('!II', 20, 6) + segment(0)) & 0xffff)
    if family == socket.AF_INET:
        packet = struct.pack('!BBHHHBBH', 0x45, 0, 40, 0, 0, 64, 6, 0) + ends + body
    else:
        packet = struct.pack('!IHBB', 6 << 28, 20, 6, 64) + ends + body
    raw.sendto(packet, (to, 0))
SYN, RST, PSH, ACK, FIN = 2, 4, 8, 16, 1
sent = 0
random.seed(7)
for flags in (ACK, PSH | ACK, FIN | ACK, RST | ACK, RST, FIN, SYN | ACK):
    send(SYN, 1000, 0)
    for _ in range(10000):
        send(flags, 1001, random.getrandbits(32))
        sent += 1
print(sent)
`;
