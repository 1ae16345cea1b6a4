import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireProgram } from '../support/programs.ts';
import { memoryFile, setUnusedStage, type UnusedStage } from '../support/unused-stage.ts';
import { waitFor } from '../support/wait.ts';

/** Of the services, of an ordinary decoy, and of nobody. */
const [SSH, HTTP, DECOY, NOBODY] = [22, 8000, 2323, 4444];
const HAND_OVER = 65_535;
const DEADLINE_MS = 30_000;

const FAMILIES = ['ipv4', 'ipv6'] as const;

for (const family of FAMILIES) {
  test(`${family}: nmap finds every port open, each unused one is an event once with its number, and services answer`, async (context) => {
    const stage = await setUnusedStage(context, {
      loads: false,
      decoys: [`{ name: ordinary, ports: ${DECOY} }`],
    });
    const { network } = stage;
    const { [family]: to } = network.sensor;
    for (const port of [SSH, HTTP]) await stage.serve(port);
    stage.load();
    const scan = network.spawn(
      network.attacker,
      [
        requireProgram('nmap'),
        ...(family === 'ipv6' ? ['-6'] : []),
        ...['-sT', '-Pn', '-n', '-p-', '--max-retries', '2', '-T5', '-oG', '-', to],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let ended = false;
    const end = new Promise<number | null>((resolve) => scan.once('close', resolve));
    void end.then(() => {
      ended = true;
    });
    scan.stdout!.resume();
    let answers = 0;
    await waitFor(
      () => {
        for (const port of [SSH, HTTP]) assert.equal(stage.meet(port, { to }), 'served');
        answers += 1;
        return ended;
      },
      { deadlineMs: 300_000, what: 'the end of the scan' },
    );
    assert.equal(await end, 0);
    assert.ok(answers > 1, 'no answer while it went on');
    const ports = () => stage.events().map((line) => Number(/ dpt=([0-9]+) /.exec(line)![1]));
    await waitFor(() => ports().length >= 65_533, {
      deadlineMs: DEADLINE_MS,
      what: () => `65533 lines, got ${ports().length}`,
    });
    assert.equal(ports().length, 65_533, 'a port twice');
    const expected = Array.from({ length: 65_535 }, (_, index) => index + 1).filter(
      (port) => port !== SSH && port !== HTTP,
    );
    assert.deepEqual(
      ports().sort((a, b) => a - b),
      expected,
    );
    assert.match(stage.events(DECOY)[0]!, / decoy=ordinary /);
    assert.match(stage.events(HAND_OVER)[0]!, / decoy=unused /);
  });

  test(`${family}: a service that starts later has its port at once`, async (context) => {
    const stage = await setUnusedStage(context);
    const { [family]: to } = stage.network.sensor;
    assert.equal(stage.meet(HTTP, { to }), 'open');
    await stage.serve(HTTP);
    for (let time = 0; time < 5; time += 1) assert.equal(stage.meet(HTTP, { to }), 'served');
    await stage.settle();
    assert.equal(stage.events(HTTP).length, 1, 'only who came before it');
  });

  test(`${family}: a service that restarts under traffic, and one that was never contacted: no event for their clients`, async (context) => {
    const stage = await setUnusedStage(context, { loads: false });
    const { [family]: to } = stage.network.sensor;
    let service = await stage.serve(HTTP);
    const quiet = await stage.serve(SSH);
    stage.load();
    const clients = startClients(stage, to, HTTP);
    for (let restart = 0; restart < 3; restart += 1) {
      await clients.meet('served');
      await service.kill();
      await clients.meet('refused');
      service = await stage.serve(HTTP);
    }
    await clients.meet('served');
    await clients.stop();
    await quiet.kill();
    assert.equal(stage.meet(SSH, { to }), 'refused');
    await stage.settle();
    assert.deepEqual([...stage.events(HTTP), ...stage.events(SSH)], []);
  });

  test(`${family}: a service that began after the rules were loaded keeps its port once it was contacted`, async (context) => {
    const stage = await setUnusedStage(context);
    const { [family]: to } = stage.network.sensor;
    const service = await stage.serve(HTTP);
    assert.equal(stage.meet(HTTP, { to }), 'served');
    await service.kill();
    assert.equal(stage.meet(HTTP, { to }), 'refused');
    await stage.settle();
    assert.deepEqual(stage.events(HTTP), []);
  });

  test(`${family}: what this host refuses itself stays refused`, async (context) => {
    const stage = await setUnusedStage(context);
    const { sensor } = stage.network;
    // a service on loopback alone is none for others
    const loopback = family === 'ipv4' ? '127.0.0.1' : '::1';
    await stage.serve(HTTP, { address: loopback });
    stage.load();
    for (const to of [loopback, sensor[family]])
      for (const port of [NOBODY, HAND_OVER])
        assert.equal(stage.meet(port, { from: sensor, to }), 'refused', `${to} ${port}`);
    assert.equal(stage.meet(HTTP, { from: sensor, to: loopback }), 'served');
    await stage.settle();
    assert.equal(stage.events().length, 1, stage.events().join('\n'));
    for (const port of [NOBODY, HAND_OVER, HTTP])
      assert.equal(stage.meet(port, { to: sensor[family] }), 'open', `${port} from outside`);
  });

  test(`${family}: a port published by DNAT works, and so do forwarded and outgoing connections, refused ones too`, async (context) => {
    const stage = await setUnusedStage(context);
    const { network } = stage;
    const { sensor, attacker } = network;
    const behind = network.addHostBehind();
    const target = family === 'ipv4' ? `ip to ${behind.ipv4}:${HTTP}` : `ip6 to [${behind.ipv6}]:${HTTP}`;
    stage.nft(`table inet docker {
      chain prerouting { type nat hook prerouting priority dstnat; policy accept; tcp dport 9000 dnat ${target}; }
    }`);
    await stage.serve(HTTP, { at: behind });
    await stage.serve(HTTP, { at: attacker });
    assert.equal(stage.meet(9000, { to: sensor[family] }), 'served', 'published');
    assert.equal(stage.meet(HTTP, { to: behind[family] }), 'served', 'forwarded');
    assert.equal(stage.meet(NOBODY, { to: behind[family] }), 'refused', 'forwarded');
    assert.equal(stage.meet(HTTP, { from: sensor, to: attacker[family] }), 'served', 'outgoing');
    assert.equal(stage.meet(NOBODY, { from: sensor, to: attacker[family] }), 'refused', 'outgoing');
    // what answers an outgoing connection contacts no service
    assert.doesNotMatch(stage.ruleset(), /elements = /);
    await stage.settle();
    assert.equal(stage.events().length, 1, stage.events().join('\n'));
  });
}

test('a port that DNAT published keeps out while its container restarts, also one that is redirected here', async (context) => {
  const stage = await setUnusedStage(context);
  const { network } = stage;
  const behind = network.addHostBehind();
  const publish = () =>
    stage.nft(`table inet docker {
      chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 9000 dnat ip to ${behind.ipv4}:${HTTP}
        tcp dport 9001 redirect to :${SSH}
      }
    }`);
  publish();
  await stage.serve(HTTP, { at: behind });
  await stage.serve(SSH);
  const contact = (expected: string) => {
    for (const port of [9000, 9001]) assert.equal(stage.meet(port), expected, `${port}`);
  };
  contact('served');
  // what the timer does each minute
  stage.load();
  contact('served');
  stage.nft('delete table inet docker');
  contact('refused');
  publish();
  contact('served');
  await stage.settle();
  assert.equal(stage.events().length, 1, stage.events().join('\n'));
});

test('a service at one address keeps its port at all of them while it is away', async (context) => {
  const stage = await setUnusedStage(context, { loads: false });
  const { sensor } = stage.network;
  const service = await stage.serve(HTTP, { address: sensor.ipv4 });
  stage.load();
  await service.kill();
  for (const to of [sensor.ipv4, sensor.ipv6]) assert.equal(stage.meet(HTTP, { to }), 'refused');
  await stage.settle();
  assert.deepEqual(stage.events(HTTP), []);
});

test('ports that were in use are no decoys after a reboot, where they were remembered, and are without', async (context) => {
  const stage = await setUnusedStage(context, { loads: false });
  const service = await stage.serve(HTTP);
  const remember = ['--remember', memoryFile(stage)];
  stage.load(...remember);
  await service.kill();
  const reboot = () => stage.nft('flush ruleset');
  for (const again of [1, 2]) {
    reboot();
    stage.load(...remember);
    assert.equal(stage.meet(HTTP), 'refused', `${again}`);
  }
  await stage.settle();
  assert.deepEqual(stage.events(HTTP), []);
  reboot();
  stage.load();
  assert.equal(stage.meet(HTTP), 'open');
});

test('an ordinary decoy that is contacted is not a service: its port is a decoy without it, too', async (context) => {
  const stage = await setUnusedStage(context, { decoys: [`{ name: ordinary, ports: ${DECOY} }`] });
  assert.equal(stage.meet(DECOY), 'open');
  stage.load();
  assert.doesNotMatch(stage.ruleset(), new RegExp(`elements = .*\\b${DECOY}\\b`));
  assert.match(await stage.honeyport.waitForLine(new RegExp(` dpt=${DECOY} `)), / decoy=ordinary /);
});

test("where the listener's own port is among the excepted ones, it is closed, and takes what is handed over all the same", async (context) => {
  const sysctls = ['net.ipv4.ip_local_port_range=60000 65535'];
  const stage = await setUnusedStage(context, { except: '[79, ephemeral]', sysctls });
  for (const to of [stage.network.sensor.ipv4, stage.network.sensor.ipv6]) {
    for (const port of [HAND_OVER, 60_000, 79]) assert.equal(stage.meet(port, { to }), 'refused', `${port}`);
    assert.equal(stage.meet(NOBODY, { to }), 'open');
  }
  await stage.honeyport.waitForLine(new RegExp(` dst=fd\\S* dpt=${NOBODY} `));
  assert.equal(stage.events().length, 2, stage.events().join('\n'));
});

test("a port that was in use before it became the listener's own is closed", async (context) => {
  const stage = await setUnusedStage(context);
  stage.nft(`add element inet honeyport_unused inuse { ${HAND_OVER} }`);
  assert.equal(stage.meet(HAND_OVER), 'refused');
  stage.nft(`delete element inet honeyport_unused inuse { ${HAND_OVER} }`);
  assert.equal(stage.meet(HAND_OVER), 'open');
  stage.nft(`add element inet honeyport_unused remembered { ${HAND_OVER} timeout 1h }`);
  assert.equal(stage.meet(HAND_OVER), 'refused');
});

test('rules are replaced without a gap: peers of a decoy and of a service notice nothing', async (context) => {
  const stage = await setUnusedStage(context);
  await stage.serve(HTTP);
  const { ipv4: to } = stage.network.sensor;
  const clients = [startClients(stage, to, HTTP), startClients(stage, to, NOBODY)] as const;
  for (let time = 0; time < 10; time += 1) {
    await clients[0].meet('served');
    await clients[1].meet('open');
    const script = stage.script();
    for (let load = 0; load < 5; load += 1) stage.nft(script);
  }
  const [met, met2] = [await clients[0].stop(), await clients[1].stop()];
  assert.match(met, /^s+$/);
  assert.match(met2, /^o+$/);
  await stage.settle();
  assert.deepEqual(stage.events(HTTP), []);
});

test('an input chain that drops lets decoys in, and nothing else, by their sockets', async (context) => {
  const stage = await setUnusedStage(context);
  await stage.serve(HTTP);
  const neighbours = 'meta l4proto { icmp, ipv6-icmp } accept';
  stage.nft(`table inet filter {
    chain input { type filter hook input priority filter; policy drop; ${neighbours}; }
  }`);
  const { ipv4, ipv6 } = stage.network.sensor;
  for (const to of [ipv4, ipv6]) assert.equal(stage.meet(NOBODY, { to }), 'timeout');
  stage.nft('insert rule inet filter input meta l4proto tcp socket transparent 1 accept');
  for (const to of [ipv4, ipv6]) {
    assert.equal(stage.meet(NOBODY, { to }), 'open');
    assert.equal(stage.meet(HTTP, { to }), 'timeout');
  }
});

for (const mark of ['default', 'off']) {
  const config = mark === 'off' ? 'mark: off\n' : '';

  for (const family of FAMILIES) {
    test(`mark: ${mark}, ${family}: a service whose socket is transparent, as a proxy's, has its port at once, and for a day after`, async (context) => {
      const stage = await setUnusedStage(context, { config });
      const { [family]: to } = stage.network.sensor;
      const service = await stage.serve(HTTP, { isTransparent: true });
      for (let time = 0; time < 3; time += 1) assert.equal(stage.meet(HTTP, { to }), 'served');
      await service.kill();
      assert.equal(stage.meet(HTTP, { to }), 'refused');
      await stage.settle();
      assert.deepEqual(stage.events(HTTP), []);
    });

    test(`mark: ${mark}, ${family}: ports that rules of others hand over to a service are not the decoy's, nor when it is away`, async (context) => {
      const stage = await setUnusedStage(context, { config });
      const { [family]: to } = stage.network.sensor;
      stage.nft(`table inet others {
  chain prerouting {
    type filter hook prerouting priority mangle
    tcp dport 5000-5999 meta l4proto tcp tproxy to :${HTTP}
  }
}
`);
      const service = await stage.serve(HTTP, { isTransparent: true });
      for (const port of [5000, 5000, 5999]) assert.equal(stage.meet(port, { to }), 'served');
      assert.equal(stage.meet(6000, { to }), 'open');
      await service.kill();
      for (const port of [5000, 5999]) assert.equal(stage.meet(port, { to }), 'refused');
      await stage.settle();
      for (const port of [5000, 5999]) assert.deepEqual(stage.events(port), []);
    });
  }

  test(`mark: ${mark}: a SYN that comes again, as the answer was lost, does not make a port one that is in use`, async (context) => {
    const stage = await setUnusedStage(context, { config });
    const { network } = stage;
    const lose = `table inet losing {
  chain input {
    type filter hook input priority filter
    tcp sport ${NOBODY} tcp flags & (syn | ack) == (syn | ack) drop
  }
}
`;
    const nft = (input: string) => {
      const { code, stderr } = network.run(network.attacker, [requireProgram('nft'), '-f', '-'], { input });
      assert.equal(code, 0, stderr);
    };
    nft(lose);
    assert.equal(stage.meet(NOBODY), 'timeout');
    nft('delete table inet losing');
    assert.equal(stage.meet(NOBODY), 'open');
    await stage.settle();
    assert.equal(stage.events(NOBODY).length, 1);
  });
}

test('mark: off: a service whose socket is transparent has its port at once at one address, too', async (context) => {
  const stage = await setUnusedStage(context, { config: 'mark: off\n' });
  await stage.serve(HTTP, { isTransparent: true, address: stage.network.sensor.ipv4 });
  for (let time = 0; time < 3; time += 1) assert.equal(stage.meet(HTTP), 'served');
  await stage.settle();
  assert.deepEqual(stage.events(HTTP), []);
});

test('when the listener is away, unused ports are closed as ever', async (context) => {
  const stage = await setUnusedStage(context);
  await stage.honeyport.stop();
  for (const port of [NOBODY, HAND_OVER]) assert.equal(stage.meet(port), 'refused');
});

interface Clients {
  /** Waits until several clients in a row meet this. */
  meet(what: 'served' | 'open' | 'refused'): Promise<void>;
  /** What all of them met, a letter each. */
  stop(): Promise<string>;
}

/** One client after the other, without a pause. */
function startClients({ network }: UnusedStage, host: string, port: number): Clients {
  const child = network.spawn(network.attacker, [requireProgram('python3'), '-c', CLIENTS, host, `${port}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let met = '';
  child.stdout!.setEncoding('latin1').on('data', (text: string) => {
    met += text;
  });
  return {
    async meet(what) {
      const from = met.length;
      const wanted = what[0]!.repeat(20);
      await waitFor(() => met.slice(from).includes(wanted), {
        deadlineMs: DEADLINE_MS,
        what: () => `clients that are ${what}; the last ones met ${met.slice(-40)}`,
      });
    },
    async stop() {
      child.kill('SIGKILL');
      await ended;
      assert.match(met, /^[sro]+$/);
      return met;
    },
  };
}

/** s: served, r: refused, o: open, but nothing was said, as by a decoy, or a service that was killed. */
const CLIENTS = `
import socket, sys
host, port = sys.argv[1:]
while True:
    peer = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    peer.settimeout(5)
    try:
        peer.connect((host, int(port)))
        met = 's' if peer.recv(64) else 'o'
    except ConnectionRefusedError:
        met = 'r'
    except ConnectionResetError:
        met = 'o'
    sys.stdout.write(met)
    sys.stdout.flush()
    peer.close()
`;
