import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { unusedTableScript } from '../../src/nftables/unused-table.ts';
import { debian13Argv } from '../support/debian13.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI } from '../support/listener.ts';
import { cleanUpAfter, createNetwork, type Finished, type Network } from '../support/namespaces.ts';
import { seeing } from '../support/private-files.ts';
import { requireProgram } from '../support/programs.ts';
import { startTcpService } from '../support/unused-stage.ts';

const CONFIG = 'decoys:\n  - { ports: unused }\nlog: { file: { path: /nonexistent }, console: off }\n';
const TABLE = 'inet honeyport_unused';

const RELEASES = ['host', 'debian13'] as const;
type Release = (typeof RELEASES)[number];

interface Stage {
  readonly network: Network;
  readonly dir: string;
  rules(...args: string[]): Finished;
  nft(input: string): Finished;
  listing(): string;
  /** Ports of a set, with the seconds that are left of each. */
  members(set: string): Map<number, number>;
}

function setStage(context: TestContext, release: Release = 'host', config = CONFIG): Stage {
  const dir = temporaryDirectory(context);
  const network = createNetwork();
  cleanUpAfter(context)(network.dispose);
  const file = join(dir, 'honeyport.yaml');
  writeFileSync(file, config);
  const nft = (args: readonly string[], input?: string) => {
    const argv = release === 'host' ? [requireProgram('nft'), ...args] : debian13Argv(['nft', ...args]);
    return network.run(network.sensor, argv, input === undefined ? {} : { input });
  };
  return {
    network,
    dir,
    rules: (...args) => network.run(network.sensor, [process.execPath, CLI, 'rules', '-c', file, ...args]),
    nft: (input) => nft(['-f', '-'], input),
    listing: () => nft(['list', 'ruleset']).stdout,
    members(set) {
      const { nftables } = JSON.parse(nft(['-j', 'list', 'set', ...TABLE.split(' '), set]).stdout);
      const elements = nftables.find((entry: object) => 'set' in entry).set.elem ?? [];
      return new Map(
        elements.map(({ elem }: { elem: { val: number; expires: number } }) => [elem.val, elem.expires]),
      );
    },
  };
}

function succeed({ code, stdout, stderr }: Finished): string {
  assert.deepEqual([code, stderr], [0, '']);
  return stdout;
}

const DAY = 86_400;
/** How long a loaded machine takes between two steps. */
const TOLERANCE_SECONDS = 60;

const isNear = (seconds: number | undefined, expected: number) =>
  seconds !== undefined && seconds <= expected && seconds > expected - TOLERANCE_SECONDS;

for (const release of RELEASES) {
  test(`nft of ${release} takes the rules, and takes them again without a change`, (context) => {
    const stage = setStage(context, release);
    const script = succeed(stage.rules());
    succeed(stage.nft(script));
    const first = stage.listing();
    assert.match(first, /tproxy to :65535 accept/);
    assert.match(first, /tcp dport \{ 80, 113, 443, 32768-60999 \} accept/);
    succeed(stage.nft(succeed(stage.rules())));
    assert.equal(stage.listing(), first);
  });

  test(`nft of ${release} replaces older rules, which hooked elsewhere and had others, and ports in use stay known`, (context) => {
    const stage = setStage(context, release);
    succeed(stage.nft(succeed(stage.rules())));
    const expected = stage.listing();
    succeed(stage.nft(succeed(stage.rules('--remove'))));
    succeed(
      stage.nft(`table ${TABLE} {
        set inuse { type inet_service; flags dynamic,timeout; timeout 1d; size 65535; }
        chain prerouting { type filter hook prerouting priority -150; policy accept; tcp dport @inuse drop; }
        chain input { type filter hook input priority 0; policy drop; }
      }
      add element ${TABLE} inuse { 8000 timeout 1h }`),
    );
    succeed(stage.nft(succeed(stage.rules())));
    assert.ok(isNear(stage.members('inuse').get(8000), 3600));
    succeed(stage.nft(`delete element ${TABLE} inuse { 8000 }`));
    assert.equal(stage.listing(), expected);
  });

  test(`nft of ${release} removes the rules, and nothing where there are none, and no others`, (context) => {
    const stage = setStage(context, release);
    succeed(stage.nft('add table inet others'));
    const before = stage.listing();
    const removal = succeed(stage.rules('--remove'));
    succeed(stage.nft(removal));
    succeed(stage.nft(succeed(stage.rules())));
    assert.notEqual(stage.listing(), before);
    succeed(stage.nft(removal));
    assert.equal(stage.listing(), before);
    succeed(stage.nft(removal));
  });

  test(`with nft of ${release}, a port that listens gets its whole day again, and one that is remembered what is left`, async (context) => {
    const stage = setStage(context, release);
    const memory = join(stage.dir, 'ports.json');
    const hourAgo = Math.floor(Date.now() / 1000) - 3600;
    writeFileSync(memory, JSON.stringify({ version: 1, ports: { 25: hourAgo } }));
    await startTcpService(stage.network, stage.network.sensor, 8000, '::');
    succeed(stage.nft(succeed(stage.rules('--remember', memory))));
    assert.deepEqual([...stage.members('inuse').keys()], [8000]);
    assert.ok(isNear(stage.members('remembered').get(25), DAY - 3600));
    succeed(
      stage.nft(`delete element ${TABLE} inuse { 8000 }
        add element ${TABLE} inuse { 8000 timeout 1h, 9000 timeout 2h }`),
    );
    assert.ok(isNear(stage.members('inuse').get(8000), 3600));
    succeed(stage.nft(succeed(stage.rules('--remember', memory))));
    assert.ok(isNear(stage.members('inuse').get(8000), DAY));
    assert.ok(isNear(stage.members('inuse').get(9000), 7200), 'what the kernel has seen stays as it is');
    // by hand, without the file
    succeed(stage.nft(succeed(stage.rules())));
    assert.ok(isNear(stage.members('remembered').get(25), DAY - 3600));
  });

  test(`nft of ${release} takes as many ports in use as there are, again and again`, (context) => {
    const stage = setStage(context, release);
    const all = Array.from({ length: 65_535 }, (_, index) => index + 1);
    const remembered = new Map(all.map((port) => [port, 3600]));
    const script = unusedTableScript({
      port: 1,
      mark: undefined,
      except: [],
      tracksConnections: true,
      inUse: all,
      remembered,
    });
    for (let time = 0; time < 2; time += 1) succeed(stage.nft(script));
    for (const set of ['inuse', 'remembered']) assert.equal(stage.members(set).size, 65_535);
  });
}

test('without such a decoy the removal is printed, and that is said', (context) => {
  const stage = setStage(context, 'host', 'decoys: [{ ports: 23 }]\n');
  const { code, stdout, stderr } = stage.rules();
  assert.equal(code, 0);
  assert.equal(stdout, `add table ${TABLE}\ndelete table ${TABLE}\n`);
  assert.equal(
    stderr,
    'honeyport: warning: no decoy has ports: unused, so these rules take away what was loaded\n',
  );
});

test('in the first minute after boot nothing is printed but the removal', (context) => {
  const stage = setStage(context);
  const uptime = join(stage.dir, 'uptime');
  writeFileSync(uptime, '12.34 20.00\n');
  const run = (...args: string[]) =>
    stage.network.run(stage.network.sensor, [
      ...seeing({ '/proc/uptime': uptime }),
      ...[process.execPath, CLI, 'rules', '-c', join(stage.dir, 'honeyport.yaml'), ...args],
    ]);
  const { code, stdout, stderr } = run();
  assert.deepEqual([code, stdout], [1, '']);
  assert.equal(
    stderr,
    `honeyport: error: expected a minute since boot, in which services take their ports, got 12 s
honeyport: hint: honeyport-rules.timer loads the rules when it is over
`,
  );
  assert.match(succeed(run('--remove')), /^delete table /m);
  writeFileSync(uptime, '60.00 20.00\n');
  assert.match(succeed(run()), / tproxy to /);
});

test('what is wrong is said, and nothing is printed for nft', (context) => {
  const stage = setStage(context, 'host', 'decoys: [{ ports: 0 }]\n');
  for (const args of [[], ['--remember', ''], ['--remember'], ['--unknown'], ['more']]) {
    const { code, stdout, stderr } = stage.rules(...args);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, /^honeyport: error: /);
  }
  // the way back needs no configuration
  assert.match(succeed(stage.rules('--remove')), /^delete table /m);
});

test('a memory that is damaged is a warning, and the rules are printed all the same', (context) => {
  const stage = setStage(context);
  const memory = join(stage.dir, 'ports.json');
  writeFileSync(memory, 'damaged');
  const { code, stdout, stderr } = stage.rules('--remember', memory);
  assert.equal(code, 0);
  assert.match(stdout, / tproxy to /);
  assert.match(stderr, /^honeyport: warning: ports that were in use are forgotten, .*expected JSON\n$/);
  assert.doesNotMatch(stage.rules('--remember', memory).stderr, /warning/);
});
