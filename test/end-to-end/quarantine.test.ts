import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SERVICE, startService } from '../support/bans.ts';
import {
  type Fail2ban,
  RELEASES,
  type Release,
  startFail2ban,
  temporaryDirectory,
} from '../support/fail2ban.ts';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { cleanUpAfter, createNetwork, type Network } from '../support/namespaces.ts';
import { sendSpoofed } from '../support/spoof.ts';
import { waitFor } from '../support/wait.ts';

/** On all addresses, on all addresses behind a proxy, and on one address. */
const [DECOY, PROXIED, OF_ONE_ADDRESS] = [2323, 2424, 2525];
const MARK = 0x686f6e65;
const DEADLINE_MS = 20_000;
/** Dropped packets bring no answer; those that pass are answered within some milliseconds. */
const SILENCE_MS = 400;

/** So late that no ban takes part. */
const NO_BANS = 'maxretry = 1000\n';

interface Stage {
  readonly network: Network;
  readonly honeyport: RunningHoneyport;
  readonly fail2ban: Fail2ban;
  /** What fail2ban's action says of the quarantine. */
  state(): string;
  quarantined(): string[];
}

interface StageOptions {
  readonly release?: Release;
  /** Lines of the jail. */
  readonly settings?: string;
  /** Of the action. */
  readonly options?: string;
  /** Lines of the listener's configuration. */
  readonly allow?: string;
  /** Put before the listener. */
  readonly wrapper?: readonly string[];
  /** Replaces text in the private copy of the action. */
  readonly change?: (action: string) => string;
  readonly state?: string;
}

const ACTION = new URL('../../fail2ban/action.d/honeyport_nftables.py', import.meta.url);

async function setStage(context: TestContext, wanted: StageOptions = {}): Promise<Stage> {
  const {
    release = 'host',
    settings = '',
    options = '',
    allow = '',
    wrapper = [],
    change,
    state = 'on',
  } = wanted;
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  for (const prefix of ['198.18.0.0/16', '2001:db8:5::/64']) network.addSources(prefix);
  const { ipv4, ipv6, namespace } = network.sensor;
  const config = `sensor: web-1
decoys:
  - { name: all, ports: ${DECOY} }
  - { name: behind, ports: ${PROXIED}, proxy_protocol: [198.18.9.0/24] }
  - { name: one, ports: ${OF_ONE_ADDRESS}, address: ${ipv4} }
  - { name: one6, ports: ${OF_ONE_ADDRESS}, address: "${ipv6}" }
log: { file: { path: LOG }, console: off }
${allow}`;
  const honeyport = await startHoneyport({ config, namespace, dir, wrapper });
  cleanUp(() => honeyport.stop());
  await startService(network);
  const jails = `[honeyport]
enabled = true
logpath = ${honeyport.logFile}
banaction = honeyport_nftables.py[log="${join(dir, 'bans.log')}"${options}]
${settings}`;
  const files =
    change === undefined ? {} : { 'action.d/honeyport_nftables.py': change(readFileSync(ACTION, 'utf8')) };
  const fail2ban = await startFail2ban({ network, release, jails, files, binds: [dir] });
  cleanUp(fail2ban.dispose);
  const stage: Stage = {
    network,
    honeyport,
    fail2ban,
    state: () => fail2ban.client('get', 'honeyport', 'action', 'honeyport_nftables', 'quarantine').trim(),
    quarantined: () => [4, 6].flatMap((version) => members(fail2ban, `quarantine_ipv${version}`)),
  };
  await becomes(stage, state);
  return stage;
}

function members(fail2ban: Fail2ban, set: string): string[] {
  const { nftables } = JSON.parse(fail2ban.nft('-j', 'list', 'set', 'inet', 'honeyport', `${set}.honeyport`));
  const elements = nftables.find((entry: object) => 'set' in entry).set.elem ?? [];
  return elements.map((element: { elem: { val: string } }) => element.elem.val);
}

function becomes(stage: Stage, state: string): Promise<unknown> {
  return waitFor(() => stage.state() === state, {
    deadlineMs: DEADLINE_MS,
    what: () => `the quarantine to be ${state}:\n${stage.fail2ban.log()}`,
  });
}

/** Knocks, ends the connection in a way, and at once tries the service: what became of both. */
const KNOCK_AND_TRY = `
import socket, struct, sys, time
manner, source, host, decoy, service = sys.argv[1:]
family = socket.AF_INET6 if ':' in host else socket.AF_INET
def connect(port, seconds):
    peer = socket.socket(family)
    peer.settimeout(seconds)
    peer.bind((source, 0))
    peer.connect((host, int(port)))
    return peer
knocker = connect(decoy, 5)
if manner == 'rst':
    knocker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
elif manner == 'data':
    knocker.sendall(b'x')
knocker.close()
def attempt(port):
    try:
        connect(port, 0.4).close()
        return 'open'
    except socket.timeout:
        return 'timeout'
print(attempt(service), attempt(decoy))
`;

interface KnockOptions {
  readonly manner?: 'fin' | 'rst' | 'data';
  readonly decoy?: number;
}

/** What the service and then the decoy answer to somebody who has just knocked, as `timeout open`. */
function knockAndTry(
  { network }: Stage,
  source: string,
  { manner = 'fin', decoy = DECOY }: KnockOptions = {},
) {
  const host = source.includes(':') ? network.sensor.ipv6 : network.sensor.ipv4;
  const argv = ['/usr/bin/python3', '-c', KNOCK_AND_TRY, manner, source, host, `${decoy}`, `${SERVICE}`];
  const { code, stdout, stderr } = network.run(network.attacker, argv);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

function reach({ network }: Stage, from: string, port: number): Promise<string> {
  const to = from.includes(':') ? network.sensor.ipv6 : network.sensor.ipv4;
  return network.connect({ from, to, port, timeoutMs: SILENCE_MS });
}

for (const release of RELEASES) {
  test(`on ${release}, whoever knocks is blocked from the next packet on, but for decoys, until the ban`, async (context) => {
    const stage = await setStage(context, { release, settings: 'bantime = 1h\n' });
    const { fail2ban } = stage;
    const sources = [
      '198.18.0.1',
      '198.18.0.2',
      '198.18.0.3',
      '2001:db8:5::1',
      '2001:db8:5::2',
      '2001:db8:5::3',
    ];
    for (const [index, source] of sources.entries()) {
      assert.equal(await reach(stage, source, SERVICE), 'open', source);
      const manner = (['fin', 'rst', 'data'] as const)[index % 3]!;
      const [service] = knockAndTry(stage, source, { manner }).split(' ');
      assert.equal(service, 'timeout', `${source} ${manner}`);
    }
    for (const source of sources) {
      await fail2ban.waitForBan(source);
      await fail2ban.waitForBlock(source);
    }
    await waitFor(async () => (await reach(stage, sources[0]!, DECOY)) === 'timeout', {
      deadlineMs: DEADLINE_MS,
      what: 'the ban, which holds for decoys, too',
    });
    assert.equal(await reach(stage, '198.18.0.99', SERVICE), 'open', 'a bystander');
    for (const source of [sources[0]!, sources[3]!]) {
      fail2ban.client('set', 'honeyport', 'unbanip', source);
      await waitFor(async () => (await reach(stage, source, SERVICE)) === 'open', {
        deadlineMs: 5000,
        what: `the end of the quarantine of ${source} with its ban:\n${fail2ban.ruleset()}`,
      });
    }
  });
}

test('without a ban the quarantine ends after its time, and decoys stay reachable in it', async (context) => {
  const stage = await setStage(context, { settings: NO_BANS, options: ', quarantine=3' });
  for (const source of ['198.18.0.1', '2001:db8:5::1']) {
    assert.equal(knockAndTry(stage, source), 'timeout open', source);
    await waitFor(async () => (await reach(stage, source, SERVICE)) === 'open', {
      deadlineMs: DEADLINE_MS,
      what: 'its end',
    });
  }
});

test('who is allowed is never quarantined: by the list, by ignoreip, and for ports that the list names', async (context) => {
  const allow = `allow:
  - 198.18.1.0/24
  - "2001:db8:5::a"
  - { source: 198.18.2.1, ports: [${SERVICE}] }
  - { source: 198.18.2.2, ports: [${DECOY}] }
`;
  const settings = `${NO_BANS}ignoreip = 198.18.3.0/24\n`;
  const stage = await setStage(context, { allow, settings });
  for (const source of ['198.18.1.7', '2001:db8:5::a', '198.18.3.7'])
    assert.equal(knockAndTry(stage, source), 'open open', source);
  assert.deepEqual(stage.quarantined(), []);
  // on the list for the service alone he is quarantined, and gets through to what he is on the list for
  assert.equal(knockAndTry(stage, '198.18.2.1'), 'open open');
  assert.deepEqual(stage.quarantined(), ['198.18.2.1']);
  assert.equal(knockAndTry(stage, '198.18.2.2'), 'open open', 'allowed on the decoy');
  assert.deepEqual(stage.quarantined(), ['198.18.2.1']);
  const text = readFileSync(stage.honeyport.configFile, 'utf8');
  assert.equal(knockAndTry(stage, '198.18.4.1'), 'timeout open');
  writeFileSync(stage.honeyport.configFile, text.replace('allow:\n', 'allow:\n  - 198.18.4.1\n'));
  await waitFor(async () => (await reach(stage, '198.18.4.1', SERVICE)) === 'open', {
    deadlineMs: DEADLINE_MS,
    what: 'the changed list to let a quarantined source through',
  });
});

test('nothing but a complete handshake with a decoy on all addresses counts', async (context) => {
  const stage = await setStage(context, { settings: NO_BANS });
  const { network, honeyport } = stage;
  assert.equal(knockAndTry(stage, '198.18.9.1', { decoy: PROXIED }), 'open open', 'a proxy');
  assert.equal(knockAndTry(stage, '198.18.0.1', { decoy: OF_ONE_ADDRESS }), 'open open', 'of one address');
  assert.equal(knockAndTry(stage, '2001:db8:5::1', { decoy: OF_ONE_ADDRESS }), 'open open', 'of one address');
  const lines = honeyport.lines().length;
  const namespace = network.attacker.namespace;
  for (const [address, firstSource] of [
    [network.sensor.ipv4, '198.18.64.0'],
    [network.sensor.ipv6, '2001:db8:5::1000'],
  ] as const) {
    await sendSpoofed({
      address,
      ports: OF_ONE_ADDRESS,
      count: 500,
      firstSource,
      sources: 500,
      namespace,
      rate: 2000,
    });
    // fewer than a listener's queue holds at a time, so that no cookie is sent
    for (const kind of ['syn', 'synack', 'ack', 'psh', 'fin', 'rst', 'null', 'xmas'] as const)
      await sendSpoofed({
        address,
        ports: DECOY,
        count: 1000,
        firstSource,
        sources: 1000,
        kind,
        namespace,
        rate: 5000,
      });
  }
  assert.deepEqual(stage.quarantined(), []);
  assert.equal(honeyport.lines().length, lines, 'no line for what is no connection');
  assert.equal(stage.state(), 'on');
});

test('while the kernel sends SYN cookies nobody is quarantined, and it is said', async (context) => {
  const stage = await setStage(context, { settings: NO_BANS });
  const { network, fail2ban } = stage;
  assert.equal(knockAndTry(stage, '198.18.0.1'), 'timeout open');
  const { code } = network.run(network.sensor, ['sh', '-c', 'echo 2 > /proc/sys/net/ipv4/tcp_syncookies']);
  assert.equal(code, 0);
  await reach(stage, '198.18.0.2', SERVICE);
  await becomes(stage, 'suspended');
  assert.equal(await reach(stage, '198.18.0.1', SERVICE), 'open', 'who was in it is free');
  assert.equal(knockAndTry(stage, '198.18.0.3'), 'open open');
  assert.equal(fail2ban.log().match(/the quarantine is suspended/g)?.length, 1);
});

test('a full quarantine lets others through to their ban, and says so', async (context) => {
  const change = (action: string) => {
    const small = action.replace('MOST_QUARANTINED = 65_536', 'MOST_QUARANTINED = 2');
    assert.notEqual(small, action);
    return small.replace('REARM_SECONDS = 20', 'REARM_SECONDS = 1');
  };
  const stage = await setStage(context, { settings: NO_BANS, change });
  assert.equal(knockAndTry(stage, '198.18.0.1'), 'timeout open');
  assert.equal(knockAndTry(stage, '198.18.0.2'), 'timeout open');
  assert.equal(knockAndTry(stage, '198.18.0.3'), 'open open');
  await waitFor(() => stage.fail2ban.log().includes('the quarantine is full'), {
    deadlineMs: DEADLINE_MS,
    what: () => `a word of it:\n${stage.fail2ban.log()}`,
  });
});

test('rules that somebody flushes come back with the quarantine, and a reload switches it off and on', async (context) => {
  const stage = await setStage(context, { settings: NO_BANS });
  const { fail2ban, honeyport } = stage;
  fail2ban.nft('flush', 'ruleset');
  await waitFor(() => knockAndTry(stage, '198.18.0.1').startsWith('timeout'), {
    deadlineMs: DEADLINE_MS,
    what: 'the quarantine after a flush',
  });
  const jails = (options: string) => `[honeyport]
enabled = true
logpath = ${honeyport.logFile}
banaction = honeyport_nftables.py[log="${join(honeyport.dir, 'bans.log')}"${options}]
${NO_BANS}`;
  fail2ban.configure(jails(', quarantine=0'));
  fail2ban.client('reload');
  await becomes(stage, 'off');
  assert.equal(await reach(stage, '198.18.0.1', SERVICE), 'open');
  assert.equal(knockAndTry(stage, '198.18.0.2'), 'open open');
  assert.doesNotMatch(fail2ban.ruleset(), /quarantine|unbanned/);
  fail2ban.configure(jails(', quarantine=60'));
  fail2ban.client('reload');
  await becomes(stage, 'on');
  assert.equal(knockAndTry(stage, '198.18.0.3'), 'timeout open');
  fail2ban.client('stop', 'honeyport');
  assert.equal(await reach(stage, '198.18.0.3', SERVICE), 'open', 'it ends with the jail');
});

test('mode=observe quarantines nobody', async (context) => {
  const stage = await setStage(context, { settings: NO_BANS, options: ', mode=observe' });
  assert.equal(knockAndTry(stage, '198.18.0.1'), 'open open');
});

test('where the kernel has no nft_socket, the quarantine says so and bans work', async (context) => {
  // stands in for a kernel without it: what needs it fails as it does there
  const nft = join(temporaryDirectory(), 'nft');
  const script = `#!/bin/sh
script=$(cat)
case "$script" in *"socket mark"*) echo "Error: Could not process rule: No such file or directory" >&2; exit 1;; esac
printf '%s' "$script" | exec /usr/sbin/nft "$@"
`;
  writeFileSync(nft, script, { mode: 0o755 });
  const stage = await setStage(context, { options: `, nft="${nft}"`, state: 'off' });
  const { fail2ban } = stage;
  assert.equal(knockAndTry(stage, '198.18.0.1'), 'open open');
  await fail2ban.waitForBan('198.18.0.1');
  await fail2ban.waitForBlock('198.18.0.1');
  assert.match(
    fail2ban.log(),
    /no quarantine: \S+ ended with 1: Error: Could not process rule: No such file/,
  );
  assert.doesNotMatch(fail2ban.log(), /next try in/);
});

test('without CAP_NET_RAW the listener says that it cannot mark its sockets, and works', async (context) => {
  const wrapper = ['setpriv', '--inh-caps=-all', '--bounding-set=-net_raw,-net_admin'];
  const stage = await setStage(context, { settings: NO_BANS, wrapper });
  assert.match(
    stage.honeyport.stderr(),
    /^honeyport: warning: the decoys' sockets bear no mark, .*: CAP_NET_RAW is missing$/m,
  );
  assert.equal(knockAndTry(stage, '198.18.0.1'), 'open open');
  await stage.honeyport.waitForLine(/: connect src=198\.18\.0\.1 /);
});

test('a reload takes the mark away from a listener that stays, and gives it back', async (context) => {
  const stage = await setStage(context, { settings: NO_BANS });
  const { configFile, process: listener } = stage.honeyport;
  const text = readFileSync(configFile, 'utf8');
  const reload = async (changed: string) => {
    const reloads = () => stage.honeyport.lines().filter((line) => line.includes(': reload ')).length;
    const before = reloads();
    writeFileSync(configFile, changed);
    listener.kill('SIGHUP');
    await waitFor(() => reloads() > before, { deadlineMs: DEADLINE_MS, what: 'a reload' });
  };
  await reload(`${text}mark: off\n`);
  assert.equal(knockAndTry(stage, '198.18.0.1'), 'open open');
  await reload(`${text}mark: ${MARK + 1}\n`);
  assert.equal(knockAndTry(stage, '198.18.0.2'), 'open open', 'another mark than the action looks for');
  await reload(text);
  assert.equal(knockAndTry(stage, '198.18.0.3'), 'timeout open');
});
