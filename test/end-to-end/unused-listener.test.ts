import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, readLines, startHoneyport } from '../support/listener.ts';
import { cleanUpAfter, createNetwork, type Network } from '../support/namespaces.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

/** A service of the sensor, and where the listener takes what the rules hand over. */
const [SERVICE, HAND_OVER] = [8080, 65_535];
const MARK = 0x686f6e65;
const DEADLINE_MS = 20_000;
const SWEEP_MS = 120_000;

interface Stage {
  readonly network: Network;
  readonly dir: string;
  readonly log: string;
}

function setStage(context: TestContext): Stage & { readonly cleanUp: (step: () => unknown) => void } {
  const dir = temporaryDirectory(context);
  chmodSync(dir, 0o755);
  const cleanUp = cleanUpAfter(context);
  const network = createNetwork();
  cleanUp(network.dispose);
  network.addSources('198.18.0.0/16');
  network.addSources('2001:db8:5::/64');
  return { network, dir, log: join(dir, 'log/honeyport.log'), cleanUp };
}

/** @param decoys entries in YAML's short form @param keys further lines */
function configuration({ log }: Stage, decoys: string, keys = ''): string {
  return `sensor: web-1
decoys: [${decoys}]
log: { file: { path: ${log} }, console: off }
limits: { lines_per_source: off, lines: off }
${keys}
`;
}

interface ListenOptions {
  readonly decoys: string;
  readonly keys?: string;
  readonly wrapper?: readonly string[];
  readonly started?: boolean;
}

async function listen(context: TestContext, options: ListenOptions) {
  const stage = setStage(context);
  const { decoys, keys, ...others } = options;
  const { namespace } = stage.network.sensor;
  const config = configuration(stage, decoys, keys);
  const makesLog = ['sh', '-c', 'mkdir -p "$0" && exec "$@"', join(stage.dir, 'log')];
  const wrapper = [...makesLog, ...(options.wrapper ?? [])];
  const honeyport = await startHoneyport({ ...others, config, namespace, dir: stage.dir, wrapper });
  stage.cleanUp(() => honeyport.stop());
  return { ...stage, honeyport };
}

/** Hands the listener what no socket of the sensor's takes, and notes who has completed a handshake with a marked one. */
function loadRules({ run, sensor }: Network, port = HAND_OVER): void {
  const rules = `
table inet unused
delete table inet unused
table inet unused {
  set knocked4 { type ipv4_addr; flags dynamic; size 16; }
  set knocked6 { type ipv6_addr; flags dynamic; size 16; }
  chain prerouting { type filter hook prerouting priority dstnat + 10; policy accept;
    iif lo accept
    fib daddr type != local accept
    meta l4proto tcp socket transparent 0 accept
    meta l4proto tcp tproxy to :${port} accept
  }
  chain input { type filter hook input priority -5;
    meta l4proto tcp socket mark ${MARK} socket wildcard 0 update @knocked4 { ip saddr }
    meta l4proto tcp socket mark ${MARK} socket wildcard 0 update @knocked6 { ip6 saddr }
  }
}
`;
  const { code, stderr } = run(sensor, [requireProgram('nft'), '-f', '-'], { input: rules });
  assert.equal(code, 0, stderr);
}

/**
 * Knocks on ports one after the other, ends the connections by FIN, by RST and after some data in turn, and prints the
 * ports that were refused.
 */
const SWEEP = `
import socket, struct, sys
host, first, last, step = sys.argv[1], *map(int, sys.argv[2:])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
reset = struct.pack('ii', 1, 0)
refused = []
for port in range(first, last + 1, step):
    peer = socket.socket(family)
    peer.settimeout(10)
    try:
        peer.connect((host, port))
    except ConnectionRefusedError:
        refused.append(port)
        continue
    if port % 3 == 1:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    elif port % 3 == 2:
        try:
            peer.sendall(b'hello')
        except OSError:
            pass
    peer.close()
print(*refused)
`;

/** The ports among those that were refused. */
function sweep(network: Network, host: string, [first, last]: readonly [number, number], step = 1): number[] {
  const argv = [requireProgram('python3'), '-c', SWEEP, host, `${first}`, `${last}`, `${step}`];
  const { code, stdout, stderr } = network.run(network.attacker, argv, { timeoutMs: SWEEP_MS });
  assert.equal(code, 0, stderr);
  return stdout.split(/\s+/).filter(Boolean).map(Number);
}

/** Says something, and prints what it hears until the other side ends. */
const TALK = `
import socket, sys
host, port, say = sys.argv[1], int(sys.argv[2]), sys.argv[3]
peer = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
peer.settimeout(10)
peer.connect((host, port))
peer.sendall(say.encode())
while (heard := peer.recv(4096)):
    sys.stdout.write(heard.decode('latin1'))
`;

function talk({ run, attacker, sensor }: Network, port: number, say: string): string {
  const argv = [requireProgram('python3'), '-c', TALK, sensor.ipv4, `${port}`, say];
  const { code, stdout, stderr } = run(attacker, argv);
  assert.equal(code, 0, stderr);
  return stdout;
}

const SERVE = `
import socket, sys
server = socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print('listens', flush=True)
while True:
    server.accept()[0].close()
`;

/** @returns what ends it, and waits for that */
async function serve({ spawn, sensor }: Network, port: number): Promise<() => Promise<unknown>> {
  const argv = [requireProgram('python3'), '-c', SERVE, `${port}`];
  const child = spawn(sensor, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout!.setEncoding('latin1').on('data', (text: string) => {
    said += text;
  });
  await waitFor(() => said.includes('listens'), { deadlineMs: DEADLINE_MS, what: `a service on ${port}` });
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'close');
  };
}

/** The whole lines of connections, as their keys. */
function knocks(log: string): Record<string, string>[] {
  return readLines(log).flatMap((line) => {
    const [, kind, keys] = /\]: (connect|allowed|withheld) (.*)$/.exec(line) ?? [];
    if (kind === undefined) return [];
    const pairs = [...keys!.matchAll(/(\w+)=(\S+)/g)].map(([, key, value]) => [key!, value!]);
    return [{ ...Object.fromEntries(pairs), kind }];
  });
}

async function waitForKnocks(log: string, count: number): Promise<Record<string, string>[]> {
  return await waitFor(
    () => {
      const all = knocks(log);
      return all.length >= count ? all : undefined;
    },
    {
      deadlineMs: DEADLINE_MS,
      everyMs: 200,
      what: () => `${count} connections in the log, of ${knocks(log).length}`,
    },
  );
}

async function waitForLine(log: string, wanted: RegExp): Promise<void> {
  await waitFor(() => readLines(log).some((line) => wanted.test(line)), {
    deadlineMs: DEADLINE_MS,
    what: () => `${wanted} in:\n${readLines(log).join('\n')}`,
  });
}

/** Inodes of the sockets that listen on a port of all addresses. */
function listeningInodes({ run, sensor }: Network, port: number): string[] {
  const { stdout } = run(sensor, ['cat', '/proc/net/tcp', '/proc/net/tcp6']);
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const sockets = stdout.split('\n').map((line) => line.trim().split(/\s+/));
  return sockets
    .filter(([, local, , state]) => local?.endsWith(`:${hex}`) && state === '0A')
    .map((cells) => cells[9]!);
}

async function reload(honeyport: RunningHoneyport, log: string, config: string): Promise<void> {
  const count = () => readLines(log).filter((line) => line.includes(': reload ')).length;
  const before = count();
  writeFileSync(honeyport.configFile, config);
  process.kill(honeyport.pid, 'SIGHUP');
  await waitFor(() => count() > before, {
    deadlineMs: DEADLINE_MS,
    what: () => `a reload:\n${honeyport.stderr()}`,
  });
}

const occurrences = (text: string, part: string) => text.split(part).length - 1;

test('every port that no service uses is logged once, with the port that was contacted, over IPv4 and IPv6', async (context) => {
  const stage = await listen(context, {
    decoys: '{ name: telnet, ports: [23, 2323] }, { ports: unused, except: [] }',
  });
  const { network, honeyport, log } = stage;
  assert.match(readFileSync(log, 'latin1'), /: start version=\S+ schema=1 decoys=2 ports=65535 /);
  assert.match(honeyport.stderr(), /^honeyport: decoy unused is every port that no service uses$/m);
  await serve(network, SERVICE);
  loadRules(network);
  for (const host of [network.sensor.ipv4, network.sensor.ipv6]) {
    const peer = host.includes(':') ? network.attacker.ipv6 : network.attacker.ipv4;
    const before = knocks(log).length;
    assert.deepEqual(sweep(network, host, [1, 65_535]), [], 'no port refuses');
    const lines = (await waitForKnocks(log, before + 65_534)).slice(before);
    assert.equal(lines.length, 65_534);
    const ports = new Set(lines.map(({ dpt }) => Number(dpt)));
    assert.deepEqual([ports.size, ports.has(SERVICE)], [65_534, false], 'each once, and none of the service');
    for (const { kind, src, dst, dpt, decoy, ttl, syn } of lines) {
      assert.deepEqual([kind, src, dst, ttl], ['connect', peer, host, '64'], `port ${dpt}`);
      assert.equal(decoy, dpt === '23' || dpt === '2323' ? 'telnet' : 'unused', `port ${dpt}`);
      assert.match(syn ?? '', /^mss:/, `port ${dpt}`);
    }
  }
});

test('who reaches an unused port has a socket with the mark, over IPv4 and IPv6', async (context) => {
  const { network, log } = await listen(context, { decoys: '{ ports: unused }' });
  loadRules(network);
  for (const [version, host] of [
    [4, network.sensor.ipv4],
    [6, network.sensor.ipv6],
  ] as const) {
    sweep(network, host, [4001, 4003]);
    const peer = version === 6 ? network.attacker.ipv6 : network.attacker.ipv4;
    const { stdout } = network.run(network.sensor, [
      'nft',
      'list',
      'set',
      'inet',
      'unused',
      `knocked${version}`,
    ]);
    assert.ok(stdout.includes(peer), stdout);
  }
  await waitForKnocks(log, 6);
});

test('a service takes its port back when it starts', async (context) => {
  const { network, log } = await listen(context, { decoys: '{ ports: unused }' });
  loadRules(network);
  const port: [number, number] = [SERVICE, SERVICE];
  assert.deepEqual(sweep(network, network.sensor.ipv4, port), []);
  await waitForKnocks(log, 1);
  await serve(network, SERVICE);
  assert.deepEqual(sweep(network, network.sensor.ipv4, port), []);
  // what comes after it is logged after it
  sweep(network, network.sensor.ipv4, [9, 9]);
  const lines = await waitForKnocks(log, 2);
  assert.deepEqual(
    lines.map(({ dpt }) => dpt),
    [`${SERVICE}`, '9'],
  );
});

test('without rules unused ports refuse, and from this host the port itself is allowed', async (context) => {
  const { network, honeyport, log } = await listen(context, { decoys: '{ name: dark, ports: unused }' });
  assert.match(
    honeyport.stderr(),
    /^honeyport: decoy dark is every port that no service uses, but for 80,113,443 and those of outgoing connections$/m,
  );
  assert.deepEqual(sweep(network, network.sensor.ipv4, [4000, 4002]), [4000, 4001, 4002]);
  for (const host of ['127.0.0.1', '::1', network.sensor.ipv4]) {
    const argv = [requireProgram('python3'), '-c', SWEEP, host, `${HAND_OVER}`, `${HAND_OVER}`, '1'];
    assert.equal(network.run(network.sensor, argv).stdout.trim(), '', host);
  }
  const lines = await waitForKnocks(log, 3);
  assert.deepEqual(
    lines.map(({ kind, dpt, decoy }) => [kind, dpt, decoy]),
    Array(3).fill(['allowed', `${HAND_OVER}`, 'dark']),
  );
});

test('a reload opens, keeps, moves and closes the listener, and never gives its port to an ordinary decoy', async (context) => {
  const stage = await listen(context, { decoys: '{ ports: 23 }' });
  const { network, honeyport, log } = stage;
  const { ipv4 } = network.sensor;
  const takes = (port: number) => `takes at port ${port} what the kernel's rules hand over`;
  loadRules(network);
  assert.deepEqual(sweep(network, ipv4, [4000, 4000]), [4000]);

  await reload(honeyport, log, configuration(stage, '{ ports: 23 }, { ports: unused }'));
  assert.equal(occurrences(honeyport.stderr(), takes(65_535)), 1);
  const [socket, ...others] = listeningInodes(network, 65_535);
  assert.ok(socket !== undefined && others.length === 0);
  sweep(network, ipv4, [4001, 4001]);
  await waitForKnocks(log, 1);

  await reload(
    honeyport,
    log,
    configuration(stage, '{ name: dark, ports: unused, except: 22 }', 'allow: [198.18.0.9]'),
  );
  assert.deepEqual(listeningInodes(network, 65_535), [socket], 'the same socket');
  assert.equal(occurrences(honeyport.stderr(), `decoy dark ${takes(65_535)}`), 1, 'its name is news');
  sweep(network, ipv4, [4002, 4002]);
  await waitForKnocks(log, 2);

  await reload(honeyport, log, configuration(stage, '{ name: top, ports: 65535 }, { ports: unused }'));
  assert.equal(occurrences(honeyport.stderr(), takes(65_534)), 1);
  assert.deepEqual(sweep(network, ipv4, [4003, 4003]), [4003], 'not with rules of before');
  sweep(network, ipv4, [65_535, 65_535]);
  loadRules(network, 65_534);
  sweep(network, ipv4, [4004, 4004]);
  await waitForKnocks(log, 4);

  await reload(honeyport, log, configuration(stage, '{ name: top, ports: 65535 }'));
  assert.deepEqual(listeningInodes(network, 65_534), []);
  assert.deepEqual(sweep(network, ipv4, [4005, 4005]), [4005]);
  assert.deepEqual(
    knocks(log).map(({ dpt, decoy }) => [dpt, decoy]),
    [
      ['4001', 'unused'],
      ['4002', 'dark'],
      ['65535', 'top'],
      ['4004', 'unused'],
    ],
  );
  assert.equal(occurrences(honeyport.stderr(), 'what the kernel'), 3, honeyport.stderr());
});

test('a decoy of unused ports answers, captures and holds as any other', async (context) => {
  const about = 'ports: unused, banner: "login: ", capture: 5';
  const stage = await listen(context, { decoys: `{ name: talks, ${about} }` });
  const { network, honeyport, log } = stage;
  const peer = network.attacker.ipv4;
  const place = (port: number) => `src=${peer} spt=\\d+ dst=${network.sensor.ipv4} dpt=${port} proto=tcp`;
  loadRules(network);
  assert.equal(talk(network, 4001, 'root\n'), 'login: ');
  await waitForLine(
    log,
    new RegExp(`: data ${place(4001)} decoy=talks id=\\S+ bytes=5 .*text="root\\\\x0a"`),
  );
  await waitForLine(log, new RegExp(`: close ${place(4001)} decoy=talks .* by=honeyport`));

  const program = ['/bin/sh', '-c', 'read line; echo "$line on $NCAT_LOCAL_ADDR $NCAT_LOCAL_PORT"'];
  const response = `{ command: ${JSON.stringify(program)} }`;
  await reload(honeyport, log, configuration(stage, `{ name: runs, ports: unused, response: ${response} }`));
  assert.equal(talk(network, 4002, 'hello\n'), `hello on ${network.sensor.ipv4} 4002\n`);
  await waitForLine(log, new RegExp(`: close ${place(4002)} decoy=runs .* by=honeyport`));

  await reload(honeyport, log, configuration(stage, '{ name: silent, ports: unused, hold: 200ms }'));
  assert.equal(talk(network, 4003, ''), '');
  await waitForLine(log, new RegExp(`: close ${place(4003)} decoy=silent .* by=limit`));
});

test('entries of the allow list count for the port that was contacted', async (context) => {
  const { network, log } = await listen(context, {
    decoys: '{ ports: unused }',
    keys: 'allow: [{ source: 10.99.0.0/16, ports: 4001 }]',
  });
  loadRules(network);
  sweep(network, network.sensor.ipv4, [4000, 4002]);
  const lines = await waitForKnocks(log, 3);
  assert.deepEqual(
    lines.map(({ kind }) => kind),
    ['connect', 'allowed', 'connect'],
  );
});

const WITHOUT_RIGHT = ['setpriv', '--inh-caps=-all', '--bounding-set=-net_raw,-net_admin'];

test('without CAP_NET_RAW the listener says so once until it changes, and its other decoys work', async (context) => {
  const decoys = '{ name: telnet, ports: 23 }, { ports: unused }';
  const stage = await listen(context, { decoys, keys: 'mark: off', wrapper: WITHOUT_RIGHT });
  const { network, honeyport, log } = stage;
  const warning = `honeyport: warning: decoy unused does not listen, so unused ports stay closed: CAP_NET_RAW is missing
honeyport: hint: AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW for the service; with user:, a restart
`;
  const warnings = () => occurrences(honeyport.stderr(), warning);
  assert.equal(warnings(), 1, honeyport.stderr());
  assert.doesNotMatch(honeyport.stderr(), /what the kernel's rules hand over/);
  loadRules(network);
  assert.deepEqual(listeningInodes(network, HAND_OVER), []);
  assert.deepEqual(sweep(network, network.sensor.ipv4, [22, 24]), [22, 24]);
  assert.equal((await waitForKnocks(log, 1))[0]?.decoy, 'telnet');
  const off = 'mark: off';
  await reload(honeyport, log, configuration(stage, `{ ports: 24 }, ${decoys}`, off));
  assert.equal(warnings(), 1, 'once');
  assert.deepEqual(sweep(network, network.sensor.ipv4, [22, 24]), [22], 'the reload counts for the others');
  await reload(honeyport, log, configuration(stage, '{ ports: 24 }', off));
  await reload(honeyport, log, configuration(stage, decoys, off));
  assert.equal(warnings(), 2, 'again when it is wanted again');
});

for (const [title, mark] of [
  ['with a mark', ''],
  ['without one', 'mark: off'],
] as const) {
  test(`started as root, the user keeps the right that unused ports take, ${title}`, async (context) => {
    const keys = `user: nobody\n${mark}`;
    const stage = setStage(context);
    const { network, log, dir } = stage;
    const { namespace } = network.sensor;
    const config = configuration(stage, '{ ports: unused }', keys);
    const honeyport = await startHoneyport({ config, namespace, dir });
    stage.cleanUp(() => honeyport.stop());
    const status = readFileSync(`/proc/${honeyport.pid}/status`, 'latin1');
    assert.match(status, /^CapEff:\t0000000000002400$/m);
    assert.match(status, /^Uid:\t65534\t/m);
    loadRules(network);
    sweep(network, network.sensor.ipv4, [4000, 4000]);
    assert.equal((await waitForKnocks(log, 1))[0]?.dpt, '4000');
    // the listener is opened anew, elsewhere
    await reload(honeyport, log, configuration(stage, '{ ports: unused, except: 65535 }', keys));
    loadRules(network, 65_534);
    sweep(network, network.sensor.ipv4, [4001, 4001]);
    assert.equal((await waitForKnocks(log, 2))[1]?.dpt, '4001');
  });
}

test('a port that somebody else has keeps no other decoy from listening, and is taken when it is free', async (context) => {
  const stage = setStage(context);
  const { network, dir } = stage;
  const { namespace } = network.sensor;
  const free = await serve(network, HAND_OVER);
  const config = configuration(stage, '{ ports: unused }').replace(stage.log, join(dir, 'honeyport.log'));
  const honeyport = await startHoneyport({ config, namespace, dir });
  stage.cleanUp(() => honeyport.stop());
  assert.match(
    honeyport.stderr(),
    /^honeyport: warning: decoy unused does not listen, so unused ports stay closed: cannot listen on port 65535, where decoy unused takes what the kernel's rules hand over: in use by python3\S*\nhoneyport: hint: it is tried again each minute; except: \[80, 113, 443, ephemeral, 65535\] takes another port; what is written there replaces the default$/m,
  );
  assert.match(honeyport.lines()[0]!, /: start /);
  await free();
  process.kill(honeyport.pid, 'SIGHUP');
  await honeyport.waitForStderr(/decoy unused takes at port 65535/);
});
