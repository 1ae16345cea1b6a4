import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type openConnection, SERVICE, startService } from '../support/bans.ts';
import { RELEASES } from '../support/fail2ban.ts';
import { startHoneyport } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';
import {
  DEADLINE_MS,
  DECOY,
  HOLDING,
  MARK,
  members,
  OF_ONE_ADDRESS,
  type QuarantineStage,
  setQuarantineStage,
} from '../support/quarantine-stage.ts';
import { waitFor } from '../support/wait.ts';

/** Nobody has it; the sensor is its router. */
const DARK = '203.0.113.9';
const MANNERS = ['fin', 'rst', 'data'] as const;

for (const release of RELEASES) {
  test(`on ${release}, whoever knocks is blocked from the next packet on, but for decoys, until the ban`, async (context) => {
    const stage = await setQuarantineStage(context, { release, bans: true, settings: 'bantime = 1h' });
    const { fail2ban } = stage;
    const sources = [1, 2, 3].flatMap((end) => [`198.18.0.${end}`, `2001:db8:5::${end}`]);
    for (const [index, source] of sources.entries()) {
      assert.equal(await stage.reach(source), 'open', source);
      const manner = MANNERS[Math.floor(index / 2)]!;
      const [service] = stage.knockAndTry(source, { manner }).split(' ');
      assert.equal(service, 'timeout', `${source} ${manner}`);
    }
    for (const source of sources) {
      await fail2ban.waitForBan(source);
      await fail2ban.waitForBlock(source);
    }
    await waitFor(async () => (await stage.reach(sources[0]!, DECOY)) === 'timeout', {
      deadlineMs: DEADLINE_MS,
      what: 'the ban, which holds for decoys, too',
    });
    assert.equal(await stage.reach('198.18.0.99'), 'open', 'a bystander');
    for (const source of sources.slice(0, 2)) {
      fail2ban.client('set', 'honeyport', 'unbanip', source);
      await stage.waitForOpen(source);
    }
    assert.doesNotMatch(fail2ban.log(), / (?:ERROR|WARNING) +\[honeyport\]/);
  });

  test(`on ${release}, with prefix6=64, a /64 is one in quarantine and a link-local address is not more than itself`, async (context) => {
    const stage = await setQuarantineStage(context, { release, options: ', prefix6=64' });
    assert.equal(stage.knockAndTry('2001:db8:5::1'), 'timeout open');
    assert.equal(stage.knockAndTry('2001:db8:5::2'), 'timeout open');
    assert.equal(await stage.reach('2001:db8:5::3'), 'timeout', 'the same /64');
    assert.equal(await stage.reach('2001:db8:5:1::1'), 'open', 'another /64');
    assert.deepEqual(stage.quarantined(), ['2001:db8:5::']);
    const { network } = stage;
    network.run(network.attacker, ['ip', 'address', 'add', 'fe80::77/64', 'dev', 'wire']);
    network.run(network.attacker, ['ip', 'address', 'add', 'fe80::78/64', 'dev', 'wire']);
    network.run(network.sensor, ['ip', 'address', 'add', 'fe80::1:1/64', 'dev', 'wire']);
    const reach = (end: number, port: number) => stage.reach(`fe80::${end}%wire`, port, 'fe80::1:1%wire');
    assert.equal(await reach(77, DECOY), 'open');
    assert.equal(await reach(77, SERVICE), 'timeout');
    assert.equal(await reach(78, SERVICE), 'open');
    assert.deepEqual(stage.quarantined().toSorted(), ['2001:db8:5::', 'fe80::77']);
  });
}

/** A peer believes in a connection as soon as its SYN is answered; the listener has it when the handshake is complete. */
function knocksOf({ honeyport }: QuarantineStage, source: string): number {
  return honeyport.lines().filter((line) => line.includes(`: connect src=${source} `)).length;
}

test('nmap -sT is quarantined by its first port that is a decoy', async (context) => {
  const stage = await setQuarantineStage(context);
  const source = '198.18.0.1';
  const scan = [requireProgram('nmap'), '-sT', '-n', '-Pn', '-S', source, '-e', 'wire', '-p', String(DECOY)];
  // -sT connects as any program does, from the address that the route says
  const { network } = stage;
  network.run(network.attacker, [
    'ip',
    'route',
    'replace',
    `${network.sensor.ipv4}/32`,
    'dev',
    'wire',
    'src',
    source,
  ]);
  const { code, stdout, stderr } = network.run(network.attacker, [...scan, network.sensor.ipv4]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`${DECOY}/tcp +open`));
  assert.equal(await stage.reach(source), 'timeout');
  assert.deepEqual(stage.quarantined(), [source]);
});

test('without a ban the quarantine ends after its time, and decoys stay reachable in it', async (context) => {
  const stage = await setQuarantineStage(context, { options: ', quarantine=3' });
  for (const source of ['198.18.0.1', '2001:db8:5::1']) {
    assert.equal(stage.knockAndTry(source), 'timeout open', source);
    await waitFor(() => knocksOf(stage, source) === 2, {
      deadlineMs: DEADLINE_MS,
      what: 'the line of the knock from within the quarantine',
    });
    await stage.waitForOpen(source);
  }
});

test('a reject is answered, and mode=observe quarantines nobody', async (context) => {
  const stage = await setQuarantineStage(context, { options: ', blocktype=reject' });
  assert.equal(stage.state(), 'on');
  const { code, stderr } = stage.network.run(stage.network.attacker, [
    'python3',
    '-c',
    `import socket
def connect(port):
    socket.create_connection(('${stage.network.sensor.ipv4}', port), 5, ('198.18.0.1', 0)).close()
connect(${DECOY})
try:
    connect(${SERVICE})
except ConnectionRefusedError:
    raise SystemExit(7)`,
  ]);
  assert.equal(code, 7, stderr);
  stage.configure({ options: ', mode=observe' });
  stage.fail2ban.client('reload');
  await stage.waitForOpen('198.18.0.1');
  await stage.becomes('on');
  assert.equal(stage.knockAndTry('198.18.0.2'), 'open open');
});

for (const how of ['by hand', 'by its end'] as const) {
  test(`an unban ${how} lifts the quarantine for good, also with the old connection open; a new knock counts`, async (context) => {
    const bantime = how === 'by hand' ? '1h' : '4s';
    const stage = await setQuarantineStage(context, {
      bans: true,
      settings: `bantime = ${bantime}\nbantime.increment = false`,
      options: ', quarantine=5',
      constants: { HANDSHAKE_SECONDS: '2', KERNEL_GRACE_SECONDS: '1' },
    });
    const { network, fail2ban } = stage;
    for (const from of ['198.18.0.1', '2001:db8:5::1']) {
      const to = from.includes(':') ? network.sensor.ipv6 : network.sensor.ipv4;
      const connection = openDecoy(stage, from, to);
      await stage.honeyport.waitForLine(new RegExp(`: connect src=${from} `));
      await fail2ban.waitForBan(from);
      await fail2ban.waitForBlock(from);
      if (how === 'by hand') fail2ban.client('set', 'honeyport', 'unbanip', from);
      await stage.waitForOpen(from);
      // until nothing of the time before is left, and the connection alone would bring the quarantine back
      const until = performance.now() + 9000;
      await waitFor(
        async () => {
          connection.send('x');
          assert.equal(await stage.reach(from), 'open', from);
          return performance.now() > until;
        },
        { deadlineMs: DEADLINE_MS, everyMs: 300, what: 'the time of an unban to pass' },
      );
      assert.deepEqual(stage.quarantined(), [], from);
      assert.deepEqual(
        [4, 6].flatMap((version) => members(fail2ban, `unbanned_ipv${version}`)),
        [],
      );
      const [service] = stage.knockAndTry(from).split(' ');
      assert.equal(service, 'timeout', 'a new knock');
      connection.end();
    }
  });
}

function openDecoy(
  { network }: { network: Parameters<typeof openConnection>[0] },
  from: string,
  to: string,
): { send(text: string): void; end(): void } {
  const program = `
const socket = require('node:net').connect({ host: '${to}', port: ${HOLDING}, localAddress: '${from}' });
socket.setNoDelay(true);
process.stdin.pipe(socket);`;
  const client = network.spawn(network.attacker, [process.execPath, '-e', program]);
  client.stdin!.write('x');
  return { send: (text) => client.stdin!.write(text), end: () => client.kill('SIGKILL') };
}

test('a peer in quarantine reaches a redirected decoy and one that tproxy serves, but neither services nor what is forwarded', async (context) => {
  const [redirected, proxied] = [23, 7777];
  const stage = await setQuarantineStage(context);
  const { network, fail2ban } = stage;
  const behind = network.addHostBehind();
  await startService(network, behind);
  // a port of another host that has the decoy's number is no decoy
  network.spawn(behind, ['python3', '-c', serve(DECOY)]);
  const listener = network.spawn(network.sensor, ['python3', '-c', transparentDecoy(9999)]);
  await waitFor(() => listener.stdout!.read() !== null, { deadlineMs: DEADLINE_MS, what: 'the listener' });
  const local =
    'ip rule add fwmark 1 lookup 100; ip route add local 0.0.0.0/0 dev lo table 100; ip -6 rule add fwmark 1 lookup 100; ip -6 route add local ::/0 dev lo table 100';
  assert.equal(network.run(network.sensor, ['sh', '-ec', local]).code, 0);
  network.run(network.attacker, ['ip', 'route', 'add', DARK, 'via', network.sensor.ipv4]);
  const rules = `table inet elsewhere {
  chain nat { type nat hook prerouting priority dstnat; tcp dport ${redirected} redirect to :${DECOY}; }
  chain unused {
    type filter hook prerouting priority dstnat + 10;
    tcp dport ${proxied} meta mark set 1 tproxy to :9999 accept
  }
}`;
  const loaded = join(stage.dir, 'elsewhere.nft');
  writeFileSync(loaded, rules);
  network.run(network.sensor, ['nft', '-f', loaded]);
  for (const [index, decoy] of [redirected, proxied].entries()) {
    for (const source of [`198.18.1.${index}`, `2001:db8:5::1${index}`]) {
      assert.equal(stage.knockAndTry(source, { decoy }), 'timeout open', `${source} ${decoy}`);
      // an address that is not the host's own, and that tproxy serves all the same
      if (!source.includes(':')) assert.equal(await stage.reach(source, proxied, DARK), 'open', source);
      for (const other of [redirected, proxied, DECOY])
        assert.equal(await stage.reach(source, other), 'open', `${source} to ${other}`);
      // what goes to the redirected port, and to the decoy itself; the other one is not the listener's
      await waitFor(() => knocksOf(stage, source) === (decoy === redirected ? 4 : 2), {
        deadlineMs: DEADLINE_MS,
        what: () => `the lines of ${source} in\n${stage.honeyport.lines().join('\n')}`,
      });
      const to = source.includes(':') ? behind.ipv6 : behind.ipv4;
      for (const port of [SERVICE, DECOY])
        assert.equal(await stage.reach(source, port, to), 'timeout', `${source} to ${to} ${port}`);
      assert.equal(await stage.reach('198.18.9.9', DECOY, behind.ipv4), 'open', 'a bystander');
    }
  }
  assert.doesNotMatch(fail2ban.log(), / ERROR +\[honeyport\]/);
});

test('a listener that comes back quarantines again, and so does a fail2ban', async (context) => {
  const stage = await setQuarantineStage(context);
  const { configFile, dir } = stage.honeyport;
  await stage.honeyport.stop();
  const { namespace } = stage.network.sensor;
  const honeyport = await startHoneyport({ args: ['run', '-c', configFile], namespace, dir });
  stage.cleanUp(() => honeyport.stop());
  assert.equal(stage.knockAndTry('198.18.0.1'), 'timeout open');
  await stage.fail2ban.stop();
  assert.equal(await stage.reach('198.18.0.1'), 'open', 'it ends with fail2ban');
  assert.equal(stage.knockAndTry('198.18.0.2'), 'open open', 'nobody to tell the kernel');
  await stage.fail2ban.start();
  await stage.becomes('on');
  assert.equal(stage.knockAndTry('198.18.0.3'), 'timeout open');
  await stage.fail2ban.stop('SIGKILL');
  await stage.fail2ban.start();
  await stage.becomes('on');
  assert.equal(await stage.reach('198.18.0.3'), 'open', 'made anew, it holds nobody');
  assert.equal(stage.knockAndTry('198.18.0.4'), 'timeout open');
});

test('a reload takes the mark away from a listener that stays, and gives it back', async (context) => {
  const stage = await setQuarantineStage(context);
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
  assert.equal(stage.knockAndTry('198.18.0.1'), 'open open');
  await reload(`${text}mark: ${MARK + 1}\n`);
  assert.equal(stage.knockAndTry('198.18.0.2'), 'open open', 'another mark than the action looks for');
  await reload(text);
  assert.equal(stage.knockAndTry('198.18.0.3'), 'timeout open');
  assert.equal(stage.knockAndTry('198.18.0.4', { decoy: OF_ONE_ADDRESS }), 'open open', 'of one address');
});

test('without the right the listener says that it cannot mark its sockets, and works', async (context) => {
  const wrapper = ['setpriv', '--inh-caps=-all', '--bounding-set=-net_raw,-net_admin'];
  const stage = await setQuarantineStage(context, { wrapper });
  assert.match(
    stage.honeyport.stderr(),
    /^honeyport: warning: the decoys' sockets bear no mark, .*: CAP_NET_RAW is missing$/m,
  );
  assert.equal(stage.knockAndTry('198.18.0.1'), 'open open');
  await stage.honeyport.waitForLine(/: connect src=198\.18\.0\.1 /);
});

function serve(port: number): string {
  return `
import socket
listener = socket.create_server(('::', ${port}), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    listener.accept()[0].close()`;
}

/** As the listener of `ports: unused` is: transparent, on all addresses, with the mark. */
function transparentDecoy(port: number): string {
  return `
import socket
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.setsockopt(socket.SOL_IP, 19, 1)
listener.setsockopt(socket.IPPROTO_IPV6, 75, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, ${MARK})
listener.bind(('::', ${port}))
listener.listen(100)
print('ready', flush=True)
while True:
    listener.accept()[0].close()`;
}
