import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import {
  actionConstant,
  attempt,
  type BanStage,
  type BanStageOptions,
  SERVICE,
  startBans,
  startService,
} from '../support/bans.ts';
import { RELEASES } from '../support/fail2ban.ts';
import type { Attempt, AttemptOptions } from '../support/namespaces.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const OTHER_PORT = SERVICE + 2;
const DEADLINE_MS = 20_000;
/** Reading and bringing 100,000 entries takes seconds; a loaded machine takes longer. */
const LONG_DEADLINE_MS = 60_000;
/** Neither root nor the owner of the log. */
const STRANGER = 65534;
/** Of the sensor: two each of the loopback and the wire, and one that IPv6 makes itself. */
const OWN_ADDRESSES = 5;
const NETWORKS = ['198.18.0.0/16', '2001:db8:5::/48'];

/** An entry of the list, as the listener writes it; `by` where it says nothing. */
interface Entry {
  readonly net: string;
  readonly by?: string;
  readonly ports?: string;
  readonly until?: number;
}

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban and nft`, () => {
    test('who is on the list gets through whatever is banned, and a neighbour does not', async (context) => {
      const listed = ['198.18.7.9', '198.18.8.77', '198.18.9.200', '2001:db8:5::9', '2001:db8:5:1::77'];
      const others = ['198.18.7.10', '198.18.9.127', '2001:db8:5::a', '2001:db8:5:2::77'];
      const stage = await startAllowing(context, { release }, [
        { net: '198.18.7.9/32' },
        { net: '198.18.8.0/24' },
        { net: '198.18.8.64/26' },
        { net: '198.18.8.77/32' },
        { net: '198.18.8.77/32', by: 'another' },
        { net: '198.18.9.128/25' },
        { net: '2001:db8:5::9/128' },
        { net: '2001:db8:5:1::/64' },
      ]);
      stage.fail2ban.client('set', 'honeyport', 'banip', ...listed, ...others, ...NETWORKS);
      for (const address of [...listed, ...others, ...NETWORKS]) {
        await stage.waitForSaid(new RegExp(`^ban src=${address} `));
      }
      assert.deepEqual(await reach(stage, listed), listed.map(open));
      assert.deepEqual(await reach(stage, others), others.map(timeout));
      const rebuilt = () => stage.fail2ban.log().match(/rules of chain .* were not as they/g)?.length ?? 0;
      const before = rebuilt();
      stage.fail2ban.nft('flush', 'ruleset');
      await waitFor(() => rebuilt() > before, {
        deadlineMs: DEADLINE_MS,
        what: 'the rules to be there again',
      });
      assert.deepEqual(await reach(stage, [...listed, ...others]), [
        ...listed.map(open),
        ...others.map(timeout),
      ]);
      stage.fail2ban.client('stop', 'honeyport');
      assert.equal(stage.fail2ban.ruleset(), '');
    });

    test("ignoreip and the lists of several logs hold together, and an entry's prefix does with prefix6=64", async (context) => {
      const jails = {
        honeyport: {
          options: 'prefix6=64',
          settings:
            'ignoreip = 198.18.1.1 198.18.2.0/24\nlogpath = DIR/honeyport-0.log\n          DIR/honeyport-1.log',
        },
        other: {},
      };
      const stage = await startAllowing(context, { release, jails }, [
        { net: '198.18.2.128/25' },
        { net: '2001:db8:5::9/128' },
      ]);
      exportList(stage, [{ net: '198.18.3.0/24' }, { net: '198.18.2.0/23' }], {
        name: 'honeyport-1.allow.json',
      });
      stage.fail2ban.client('set', 'honeyport', 'banip', '198.18.0.0/16', '2001:db8:5::1');
      await stage.waitForSaid(/^ban src=2001:db8:5::1 .* net=2001:db8:5::\/64/);
      const listed = ['198.18.1.1', '198.18.2.200', '198.18.3.1', '2001:db8:5::9'];
      await waitForReach(stage, listed, 'open');
      const others = ['198.18.1.2', '198.18.4.1', '2001:db8:5::1', '2001:db8:5::8'];
      assert.deepEqual(await reach(stage, others), others.map(timeout));
    });

    test('an entry with ports lets its source through to those ports alone, over TCP and UDP', async (context) => {
      const entries = [
        { net: '198.18.1.1/32', ports: `22,${SERVICE}` },
        { net: '198.18.2.1/32', ports: `${OTHER_PORT}-${OTHER_PORT + 10},22` },
        { net: '2001:db8:5::1/128', ports: `${SERVICE - 10}-${SERVICE}` },
        { net: '2001:db8:5::2/128', ports: `${OTHER_PORT}` },
      ];
      const stage = await startAllowing(context, { release }, entries);
      const [one, two, six, seven] = entries.map(({ net }) => net.replace(/\/.*/, '')) as [
        string,
        string,
        string,
        string,
      ];
      stage.fail2ban.client('set', 'honeyport', 'banip', one, two, six, seven);
      await stage.waitForSaid(new RegExp(`^ban src=${seven} `));
      for (const protocol of ['tcp', 'udp'] as const) {
        const sources = [one, two, six, seven];
        assert.deepEqual(
          await reach(stage, sources, { protocol }),
          ['open', 'timeout', 'open', 'timeout'],
          protocol,
        );
        // Nothing listens there: a packet that passes is answered with an error.
        const refused = await reach(stage, sources, { protocol, port: OTHER_PORT });
        assert.deepEqual(refused, ['timeout', 'ECONNREFUSED', 'timeout', 'ECONNREFUSED'], protocol);
      }
      // Neither what has no ports.
      assert.equal(ping(stage, one), false);
      exportList(
        stage,
        entries.map(({ net }) => ({ net })),
      );
      await waitFor(() => ping(stage, one), {
        deadlineMs: DEADLINE_MS,
        what: 'answers to ICMP for entries without ports',
      });
    });

    test('entries with ports may lie in each other, overlap and repeat', async (context) => {
      const entries = [
        { net: '198.18.0.0/16', ports: '1-100' },
        { net: '198.18.0.0/16', ports: '90-200,22' },
        { net: '198.18.4.0/22', ports: `50-${SERVICE}` },
        { net: '198.18.7.0/24', ports: `22,${OTHER_PORT}` },
        { net: '198.18.7.9/32', ports: '1-65535' },
        { net: '198.18.7.9/32', ports: `${SERVICE}` },
        { net: '2001:db8:5::/48', ports: '22' },
        { net: '2001:db8:5::/64', ports: `22-${SERVICE}` },
        { net: '2001:db8:5::9/128', ports: `1-${OTHER_PORT}` },
      ];
      const stage = await startAllowing(context, { release }, entries);
      stage.fail2ban.client('set', 'honeyport', 'banip', ...NETWORKS);
      for (const network of NETWORKS) await stage.waitForSaid(new RegExp(`^ban src=${network} `));
      const sources = [
        '198.18.1.1',
        '198.18.4.1',
        '198.18.7.1',
        '198.18.7.9',
        '2001:db8:5:1::1',
        '2001:db8:5::1',
        '2001:db8:5::9',
      ];
      const passing = async () => [
        await reach(stage, sources, { port: 22 }),
        await reach(stage, sources),
        await reach(stage, sources, { port: OTHER_PORT }),
      ];
      const pattern = (outcome: Attempt, marks: string) =>
        [...marks].map((mark) => (mark === '+' ? outcome : 'timeout'));
      assert.deepEqual(await passing(), [
        pattern('ECONNREFUSED', '+++++++'),
        pattern('open', '-+++-++'),
        pattern('ECONNREFUSED', '--++--+'),
      ]);
      exportList(
        stage,
        entries.filter((_, index) => ![2, 7].includes(index)),
      );
      await waitForReach(stage, ['198.18.4.1', '2001:db8:5::1'], 'timeout');
      assert.deepEqual(await passing(), [
        pattern('ECONNREFUSED', '+++++++'),
        pattern('open', '---+--+'),
        pattern('ECONNREFUSED', '--++--+'),
      ]);
    });

    test('who comes onto the list while banned gets through, and is blocked again when off it', async (context) => {
      const stage = await startAllowing(context, { release });
      const sources = ['198.18.7.9', '198.18.8.9', '2001:db8:5::9'];
      const other = '198.18.7.10';
      for (const from of [...sources, other]) stage.knock(from);
      for (const from of [...sources, other]) await stage.waitForHeld(from);
      assert.deepEqual(await reach(stage, sources), sources.map(timeout));
      for (const _ of [1, 2]) {
        exportList(stage, [{ net: '198.18.7.9/32' }, { net: '198.18.8.0/24' }, { net: '2001:db8:5::9/128' }]);
        await waitForReach(stage, sources, 'open');
        assert.equal(await attempt(stage, toService(stage, other)), 'timeout');
        exportList(stage, [{ net: '198.18.8.0/25' }]);
        await waitForReach(stage, ['198.18.7.9', '2001:db8:5::9'], 'timeout');
        assert.equal(await attempt(stage, toService(stage, '198.18.8.9')), 'open');
        exportList(stage, []);
        await waitForReach(stage, sources, 'timeout');
      }
      assert.deepEqual(stage.fail2ban.banned().sort(), [...sources, other].sort());
      assert.doesNotMatch(stage.fail2ban.log(), /WARNING .*rules of chain| ERROR /);
    });

    test('an entry ends with its time, without a new file', async (context) => {
      const stage = await startAllowing(context, { release });
      const sources = ['198.18.7.9', '198.18.8.9', '2001:db8:5::9'];
      stage.fail2ban.client('set', 'honeyport', 'banip', ...sources, '198.18.9.9');
      await stage.waitForSaid(/^ban src=198\.18\.9\.9 /);
      const until = Math.ceil(Date.now() / 1000) + 6;
      exportList(stage, [
        { net: '198.18.7.9/32', until },
        { net: '198.18.8.0/24', until: until + 0.5 },
        { net: '2001:db8:5::9/128', ports: `${SERVICE}`, until },
        { net: '198.18.9.9/32', until: until + 3600 },
      ]);
      await waitForReach(stage, sources, 'open');
      assert.ok(Date.now() / 1000 < until, 'the entries have ended too early to be seen');
      await waitForReach(stage, sources, 'timeout');
      assert.ok(Date.now() / 1000 >= until, 'blocked before the end');
      assert.equal(await attempt(stage, toService(stage, '198.18.9.9')), 'open');
    });

    test('keys that are new, no entries, and a file of the owner of the log are taken', async (context) => {
      const stage = await startAllowing(context, { release });
      const log = join(stage.dir, 'honeyport-0.log');
      chownSync(log, STRANGER, STRANGER);
      stage.fail2ban.client('set', 'honeyport', 'banip', '198.18.7.9');
      await stage.waitForSaid(/^ban /);
      replace(
        stage,
        '{"version":1,"host":"a","entries":[\n{"by":"a","net":"198.18.7.9/32","comment":{"a":[1]}}\n],"more":{}}',
        { owner: STRANGER },
      );
      moveAside(stage);
      await waitForReach(stage, ['198.18.7.9'], 'open');
      replace(stage, '{"version":1,"entries":[]}', { owner: STRANGER });
      moveAside(stage);
      await waitForReach(stage, ['198.18.7.9'], 'timeout');
      assert.deepEqual(complaints(stage), []);
    });

    test('entries with too many ports are refused as a whole', async (context) => {
      const stage = await startAllowing(context, { release }, [{ net: '198.18.7.9/32' }]);
      stage.fail2ban.client('set', 'honeyport', 'banip', '198.18.7.9');
      await stage.waitForSaid(/^ban /);
      const most = actionConstant('MOST_PORT_ELEMENTS');
      const many = addresses(most + 1).map((net) => ({ net, ports: '22' }));
      exportList(stage, many);
      await waitFor(() => complaints(stage).length === 1, { deadlineMs: DEADLINE_MS, what: 'a complaint' });
      assert.match(
        complaints(stage)[0]!,
        /expected at most 8192 networks with ranges of ports; the 1 entries before/,
      );
      exportList(stage, [{ net: '198.18.7.9/32' }]);
      await stage.waitForLog(/is good again/);
      // Few entries that fall into many parts.
      const ports = Array.from({ length: 600 }, (_, n) => 2 * n + 1).join(',');
      exportList(stage, [
        { net: '10.0.0.0/8', ports },
        ...addresses(20).map((net) => ({ net, ports: '1-1300' })),
      ]);
      await waitFor(() => complaints(stage).length === 2, {
        deadlineMs: DEADLINE_MS,
        what: 'a second complaint',
      });
      assert.equal(await attempt(stage, toService(stage, '198.18.7.9')), 'open');
      exportList(stage, many.slice(0, most));
      await waitFor(() => listed(stage, 'allow_ipv4_port').length === most, {
        deadlineMs: LONG_DEADLINE_MS,
        what: 'as many entries as there may be',
      });
    });

    test('ports that are too many once the entry around them ends are said, and the list before stays', async (context) => {
      const stage = await startAllowing(context, { release });
      stage.fail2ban.client('set', 'honeyport', 'banip', '198.18.7.9');
      await stage.waitForSaid(/^ban /);
      const ports = Array.from({ length: 600 }, (_, n) => 2 * n + 1).join(',');
      exportList(stage, [
        { net: '10.0.0.0/8', ports: '1-65535', until: Date.now() / 1000 + 4 },
        { net: '10.0.0.0/9', ports },
        ...addresses(20).map((net) => ({ net, ports: '1-1300' })),
        { net: '198.18.7.9/32' },
      ]);
      const outcome = () => attempt(stage, toService(stage, '198.18.7.9'));
      await waitFor(async () => (await outcome()) === 'open', { deadlineMs: DEADLINE_MS, what: 'the list' });
      await stage.waitForLog(/ERROR .*expected at most 8192 networks .*; the list before stays in force/);
      assert.equal(await outcome(), 'open');
      exportList(stage, [{ net: '198.18.7.10/32' }]);
      await waitFor(async () => (await outcome()) === 'timeout', {
        deadlineMs: DEADLINE_MS,
        what: 'another list',
      });
    });

    test('a long list of networks goes at once, and a ban meanwhile waits no longer than for that', async (context) => {
      const stage = await startAllowing(context, { release });
      stage.fail2ban.client('set', 'honeyport', 'banip', '198.18.7.9');
      await stage.waitForSaid(/^ban /);
      const networks = Array.from({ length: 4000 }, (_, n) => ({ net: `10.${n >> 8}.${n & 255}.0/30` }));
      exportList(stage, networks);
      const held = () => listed(stage, 'allow_ipv4').length;
      await waitFor(() => held() === networks.length, { deadlineMs: LONG_DEADLINE_MS, what: 'the networks' });
      exportList(stage, networks.slice(0, 3));
      stage.knock('198.18.7.10');
      await stage.waitForSaid(/^ban src=198\.18\.7\.10 /);
      await waitFor(() => held() === 3, { deadlineMs: LONG_DEADLINE_MS, what: 'three networks' });
      // what nft refuses is made anew as a whole, and said
      assert.doesNotMatch(stage.fail2ban.log(), /were not as they had been left|ERROR/);
    });

    test('100,000 entries arrive, then one more, while bans go on', async (context) => {
      const stage = await startAllowing(context, {
        release,
        jails: { honeyport: { settings: 'ignoreself = false' } },
      });
      const many = addresses(100_000).map((net) => ({ net }));
      const from = '198.18.7.9';
      const banned = ['198.18.7.10', '198.18.7.11'];
      stage.knock(from);
      await stage.waitForHeld(from);
      const written = performance.now();
      exportList(stage, [...many, { net: '198.18.8.0/24' }]);
      stage.knock(banned[0]!);
      await stage.waitForSaid(new RegExp(`^ban src=${banned[0]} `));
      const firstBan = performance.now() - written;
      await waitFor(() => listed(stage, 'allow_ipv4').includes('198.18.8.0/24'), {
        deadlineMs: LONG_DEADLINE_MS,
        what: 'the list in nftables',
      });
      const loaded = performance.now() - written;
      assert.equal(listed(stage, 'allow_ipv4_host').length, many.length);
      const changed = performance.now();
      exportList(stage, [...many.slice(1), { net: `${from}/32` }, { net: '198.18.8.0/24' }]);
      stage.knock(banned[1]!);
      await stage.waitForSaid(new RegExp(`^ban src=${banned[1]} `));
      const secondBan = performance.now() - changed;
      await waitForReach(stage, [from], 'open', LONG_DEADLINE_MS);
      const added = performance.now() - changed;
      assert.equal(listed(stage, 'allow_ipv4_host').length, many.length);
      assert.deepEqual(await reach(stage, banned), banned.map(timeout));
      assert.doesNotMatch(stage.fail2ban.log(), /WARNING .*rules of chain| ERROR /);
      const times = { firstBan, loaded, secondBan, added };
      const text = Object.entries(times).map(([name, ms]) => `${name} ${Math.round(ms)} ms`);
      context.diagnostic(text.join(', '));
    });

    test("with ignoreself the host's own addresses are never blocked, and new ones neither", async (context) => {
      const stage = await startAllowing(context, {
        release,
        jails: { honeyport: {}, strict: { settings: 'ignoreself = false' } },
      });
      const { network, fail2ban } = stage;
      const own = [network.sensor.ipv4, network.sensor.ipv6];
      fail2ban.client('set', 'honeyport', 'banip', ...own, '10.99.0.0/16', 'fd00:99::/32');
      await stage.waitForSaid(/^ban src=fd00:99::\/32 /);
      await waitFor(() => own.every((address) => listedHosts(stage).includes(address)), {
        deadlineMs: DEADLINE_MS,
        what: "the host's own addresses",
      });
      // From the other end of the wire, as if the sensor were behind a router that sends its packets back.
      const { attacker } = network;
      assert.equal(
        await attempt(stage, { from: attacker.ipv4, to: network.sensor.ipv4, port: SERVICE }),
        'timeout',
      );
      const taken = ['198.18.40.1', '2001:db8:5:40::1'];
      for (const address of taken) {
        const length = address.includes(':') ? 128 : 32;
        network.run(network.sensor, ['ip', 'address', 'add', `${address}/${length}`, 'dev', 'wire']);
      }
      await waitFor(() => taken.every((address) => listedHosts(stage).includes(address)), {
        deadlineMs: DEADLINE_MS,
        what: "the host's new addresses",
      });
      assert.deepEqual(listedHosts(stage, 'strict'), []);
      network.run(network.sensor, ['ip', 'address', 'del', `${taken[0]}/32`, 'dev', 'wire']);
      await waitFor(() => !listedHosts(stage).includes(taken[0]!), {
        deadlineMs: DEADLINE_MS,
        what: 'an address that the host has no longer to be let go',
      });
    });

    test('an own address that is banned by hand passes with ignoreself alone', async (context) => {
      const outcomes = async (ignoreself: boolean) => {
        const settings = `ignoreself = ${ignoreself}`;
        const stage = await startAllowing(context, { release, jails: { honeyport: { settings } } });
        const { network } = stage;
        const own = '198.18.40.1';
        // The attacker must know the way: a question from an own address is not answered.
        await attempt(stage, toService(stage, network.attacker.ipv4));
        // A packet of the sensor's own address that comes in over the wire, as from a router that sends it back.
        network.run(network.sensor, ['ip', 'address', 'add', `${own}/32`, 'dev', 'wire']);
        stage.fail2ban.client('set', 'honeyport', 'banip', own);
        await stage.waitForSaid(/^ban /);
        const before = stage.counted();
        const sent = () => {
          network.connect({
            from: own,
            to: network.sensor.ipv4,
            port: SERVICE,
            protocol: 'udp',
            timeoutMs: 200,
          });
        };
        if (ignoreself) {
          await waitFor(() => listedHosts(stage).includes(own), {
            deadlineMs: DEADLINE_MS,
            what: 'the own address',
          });
          await network.connect({
            from: own,
            to: network.sensor.ipv4,
            port: SERVICE,
            protocol: 'udp',
            timeoutMs: 400,
          });
          return stage.counted() - before;
        }
        sent();
        await waitFor(() => stage.counted() > before, { deadlineMs: DEADLINE_MS, what: 'a dropped packet' });
        return stage.counted() - before;
      };
      assert.equal(await outcomes(true), 0);
      assert.ok((await outcomes(false)) > 0);
    });

    test('a reload with another allow takes another list, or none', async (context) => {
      const stage = await startAllowing(context, { release }, [
        { net: '198.18.7.9/32' },
        { net: '198.18.7.10/32', ports: `${SERVICE}` },
      ]);
      const sources = ['198.18.7.9', '198.18.7.10', '198.18.7.11'];
      const other = { name: 'other.json' };
      exportList(stage, [{ net: '198.18.7.11/32' }], other);
      stage.fail2ban.client('set', 'honeyport', 'banip', ...sources);
      await stage.waitForSaid(/^ban src=198\.18\.7\.11 /);
      assert.deepEqual(await reach(stage, sources), ['open', 'open', 'timeout']);
      const reload = (options: string) => {
        stage.configure({ honeyport: { options } });
        stage.fail2ban.client('reload');
      };
      reload(`allow=${join(stage.dir, other.name)}`);
      await waitForReach(stage, ['198.18.7.11'], 'open');
      assert.deepEqual(await reach(stage, sources), ['timeout', 'timeout', 'open']);
      exportList(stage, [{ net: '198.18.7.10/31' }], other);
      await waitForReach(stage, ['198.18.7.10'], 'open');
      reload('allow=off');
      await waitForReach(stage, sources, 'timeout');
      reload('mode=observe');
      await waitForReach(stage, sources, 'open');
      reload('');
      await waitForReach(stage, ['198.18.7.11'], 'timeout');
      await waitForReach(stage, ['198.18.7.9', '198.18.7.10'], 'open');
      reload('allow=relative.json');
      await stage.waitForLog(
        /allow: expected auto, an absolute path or off, got 'relative\.json'; the options before/,
      );
      reload(`allow=${join(stage.dir, 'nowhere.json')}`);
      await stage.waitForLog(/nowhere\.json: No such file or directory; none of it is in force/);
      assert.deepEqual(await reach(stage, sources), sources.map(timeout));
    });
  });
}

/** Nothing in it depends on the release, and each case takes two seconds. */
test('a list that is missing or wrong is said once, and the last good one stays', async (context) => {
  const stage = await startAllowing(context, { release: 'host' }, [{ net: '198.18.7.9/32' }]);
  const { fail2ban } = stage;
  fail2ban.client('set', 'honeyport', 'banip', '198.18.7.9', '198.18.7.10');
  await stage.waitForSaid(/^ban src=198\.18\.7\.10 /);
  const path = exportPath(stage);
  const good = listText([{ net: '198.18.7.9/32' }, { net: '198.18.7.11/32' }]);
  const trap = listText([{ net: '198.18.7.10/32' }]);
  const elsewhere = join(stage.dir, 'elsewhere');
  writeFileSync(elsewhere, trap, { mode: 0o640 });
  const entry = (text: string) =>
    `{"version":1,"entries":[\n{"by":"a","net":"198.18.7.10/32"},\n${text}\n]}\n`;
  const wrongs: [string, RegExp, () => void][] = [
    ['missing', /No such file or directory/, () => unlinkSync(path)],
    ['no JSON', /expected a whole JSON document/, () => replace(stage, 'allow everybody')],
    ['half', /expected a whole JSON document/, () => replace(stage, trap.slice(0, -8))],
    ['another version', /expected version 1, got 2/, () => replace(stage, trap.replace(':1,', ':2,'))],
    ['a link', /is a symbolic link/, () => symlinkSync(elsewhere, aside(stage))],
    ['a second name', /regular file of this one name/, () => linkSync(elsewhere, aside(stage))],
    ['a pipe', /regular file of this one name/, () => mkfifo(stage, aside(stage))],
    ['a directory', /regular file of this one name/, () => mkdirSync(aside(stage))],
    ['a foreign owner', /owner to be 0, got 65534/, () => replace(stage, trap, { owner: STRANGER })],
    [
      'writable by all',
      /only its owner may write, got mode 646/,
      () => replace(stage, trap, { mode: 0o646 }),
    ],
    ['writable by the group', /only its owner may write/, () => replace(stage, trap, { mode: 0o660 })],
    ['not ASCII', /expected ASCII/, () => replace(stage, trap.replace('by":"', 'by":"é'))],
    [
      'host bits',
      /entry 2: net: .* got 198\.18\.7\.1\/24/,
      () => replace(stage, entry('{"by":"a","net":"198.18.7.1/24"}')),
    ],
    ['no length', /entry 2: net: /, () => replace(stage, entry('{"by":"a","net":"198.18.7.1"}'))],
    ['IPv4-mapped', /entry 2: net: /, () => replace(stage, entry('{"by":"a","net":"::ffff:1.2.3.4/128"}'))],
    [
      'a line of nft',
      /entry 2: net: /,
      () => replace(stage, entry('{"by":"a","net":"1.2.3.4/32 }; flush ruleset"}')),
    ],
    [
      'a digit that nft does not know',
      /entry 2: net: /,
      () => replace(stage, entry('{"by":"a","net":"198.18.0.0/1\\u0666"}')),
    ],
    [
      'an address that is written like no other',
      /entry 2: net: /,
      () => replace(stage, entry('{"by":"a","net":"::1.2.3.4/128"}')),
    ],
    [
      'a long line',
      /entry 2: expected at most 4096 characters/,
      () => replace(stage, entry(`{"by":"${'a'.repeat(5000)}","net":"1.2.3.4/32"}`)),
    ],
    [
      'a long first line',
      /expected a whole JSON document/,
      () => replace(stage, trap.replace('"entries"', `"more":"${'a'.repeat(5000)}","entries"`)),
    ],
    [
      'too many lines',
      /expected at most 400000 entries/,
      () => replace(stage, `{"version":1,"entries":[\n${'{},\n'.repeat(400_001)}]}\n`),
    ],
    [
      'bad ports',
      /entry 2: ports: .* got 90-80/,
      () => replace(stage, entry('{"by":"a","net":"1.2.3.4/32","ports":"90-80"}')),
    ],
    [
      'port 65536',
      /entry 2: ports: /,
      () => replace(stage, entry('{"by":"a","net":"1.2.3.4/32","ports":"1-65536"}')),
    ],
    [
      'bad until',
      /entry 2: until: .* got soon/,
      () => replace(stage, entry('{"by":"a","net":"1.2.3.4/32","until":"soon"}')),
    ],
    [
      'only for what nobody knows',
      /entry 2: only: expected quarantine, got bans/,
      () => replace(stage, entry('{"by":"a","net":"1.2.3.4/32","only":"bans"}')),
    ],
    ['no by', /entry 2: by: /, () => replace(stage, entry('{"net":"1.2.3.4/32"}'))],
    ['no object', /entry 2: expected an object/, () => replace(stage, entry('[[[['))],
    [
      'two in a line',
      /entry 1: expected an object on a line/,
      () => replace(stage, trap.replace('{"by', '{"by":"a","net":"1.2.3.4/32"},{"by')),
    ],
    [
      'much to quote',
      /entry 2: net: .* got \?\[31mA{52}\.\.\.;/,
      () => replace(stage, entry(`{"by":"a","net":"\\u001b[31m${'A'.repeat(900)}"}`)),
    ],
  ];
  for (const [index, [name, pattern, spoil]] of wrongs.entries()) {
    spoil();
    if (name !== 'missing') moveAside(stage);
    const said = () => complaints(stage).slice(index);
    await waitFor(() => said().length > 0, {
      deadlineMs: DEADLINE_MS,
      what: () => `${name} to be said in\n${fail2ban.log()}`,
    });
    assert.match(said()[0]!, pattern, name);
    assert.match(said()[0]!, /; the [12] entries before stay in force$/, name);
    if (index < 2 || index === wrongs.length - 1) {
      // Ticks go by, and it is not said again: bans that are in the kernel show that the worker goes round.
      for (const n of [1, 2, 3]) {
        stage.fail2ban.client('set', 'honeyport', 'banip', `198.18.${index + 10}.${n}`);
        await stage.waitForSaid(new RegExp(`^ban src=198\\.18\\.${index + 10}\\.${n} `));
      }
      assert.deepEqual(await reach(stage, ['198.18.7.9', '198.18.7.10']), ['open', 'timeout'], name);
    }
    assert.equal(said().length, 1, name);
    replace(stage, good);
    moveAside(stage);
    const again = () => fail2ban.log().match(/is good again, with 2 entries/g)?.length ?? 0;
    await waitFor(() => again() === index + 1, {
      deadlineMs: DEADLINE_MS,
      what: `the list to be good again after ${name}`,
    });
  }
  assert.deepEqual(await reach(stage, ['198.18.7.9', '198.18.7.10']), ['open', 'timeout']);
  assert.doesNotMatch(fail2ban.log(), /WARNING .*rules of chain/);
});

/** A stage with a service, sources and, beside the first jail's log, a list. */
async function startAllowing(
  context: TestContext,
  options: BanStageOptions,
  entries?: readonly Entry[],
): Promise<BanStage> {
  const stage = await startBans(context, options);
  await startService(stage.network);
  for (const network of NETWORKS) stage.network.addSources(network);
  if (entries !== undefined) {
    exportList(stage, entries);
    const sets = ['', '_host', '_port'].flatMap((kind) => [`allow_ipv4${kind}`, `allow_ipv6${kind}`]);
    // The host's own addresses are in place before.
    const count = () => sets.reduce((sum, set) => sum + listed(stage, set).length, 0) - OWN_ADDRESSES;
    await waitFor(() => count() > 0, { deadlineMs: DEADLINE_MS, what: 'the list in nftables' });
  }
  return stage;
}

function exportPath(stage: BanStage, name = 'honeyport-0.allow.json'): string {
  return join(stage.dir, name);
}

/** Where the file is made before it is renamed. */
function aside(stage: BanStage): string {
  return exportPath(stage, 'honeyport-0.allow.json.new');
}

interface Written {
  readonly mode?: number;
  readonly owner?: number;
}

/** Writes the list as the listener does. */
function exportList(
  stage: BanStage,
  entries: readonly Entry[],
  { name }: { readonly name?: string } = {},
): void {
  replace(stage, listText(entries));
  renameSync(aside(stage), exportPath(stage, name));
}

/** Makes a file beside the list; `moveAside` puts it in place. */
function replace(stage: BanStage, text: string, { mode = 0o640, owner = 0 }: Written = {}): void {
  writeFileSync(aside(stage), text);
  chmodSync(aside(stage), mode);
  chownSync(aside(stage), owner, owner);
}

function moveAside(stage: BanStage): void {
  const path = exportPath(stage);
  const directories = [path, aside(stage)].some((name) =>
    lstatSync(name, { throwIfNoEntry: false })?.isDirectory(),
  );
  if (directories) rmSync(path, { recursive: true, force: true });
  renameSync(aside(stage), path);
}

function listText(entries: readonly Entry[]): string {
  const lines = entries.map((entry) => JSON.stringify({ by: entry.net, ...entry }));
  return `{"version":1,"time":"${new Date().toISOString()}","entries":[\n${lines.map((line, index) => `${line}${index < lines.length - 1 ? ',' : ''}\n`).join('')}]}\n`;
}

/** No two are neighbours, so that none could be written as a network. */
function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `10.${(n >> 15) + 1}.${(n >> 7) & 255}.${(2 * n) & 255}/32`);
}

function mkfifo(stage: BanStage, path: string): void {
  const { code, stderr } = stage.network.run(stage.network.sensor, ['mkfifo', path]);
  assert.equal(code, 0, stderr);
}

/** What fail2ban's log says of a list that is missing or wrong. */
function complaints(stage: BanStage): string[] {
  return stage.fail2ban
    .log()
    .split('\n')
    .filter((line) => / ERROR .*\.json: /.test(line));
}

/** The elements of one of a jail's sets that let through; what is not an address or a network as JSON. */
function listed(stage: BanStage, set: string, jail = 'honeyport'): string[] {
  const { nftables } = JSON.parse(
    stage.fail2ban.nft('-j', 'list', 'set', 'inet', 'honeyport', `${set}.${jail}`),
  );
  const elements: unknown[] = nftables.find((entry: object) => 'set' in entry).set.elem ?? [];
  return elements.map((element) => {
    if (typeof element === 'string') return element;
    const { prefix } = element as { prefix?: { addr: string; len: number } };
    return prefix === undefined ? JSON.stringify(element) : `${prefix.addr}/${prefix.len}`;
  });
}

/** Whether the sensor answers an ICMP echo whose checksum stands where TCP has the service's port. */
function ping({ network }: BanStage, from: string): boolean {
  const argv = [requireProgram('python3'), '-c', PING_PROGRAM, from, network.sensor.ipv4, String(SERVICE)];
  return network.run(network.attacker, argv).code === 0;
}

const PING_PROGRAM = `
import socket, struct, sys
source, target, checksum = sys.argv[1], sys.argv[2], int(sys.argv[3])
icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
icmp.bind((source, 0))
icmp.settimeout(0.4)
filler = (0xffff - 0x0800 - checksum - 1 - 1) % 0xffff
icmp.sendto(struct.pack('>BBHHHH', 8, 0, checksum, 1, 1, filler), (target, 0))
try:
    icmp.recv(100)
except socket.timeout:
    sys.exit(1)`;

function listedHosts(stage: BanStage, jail?: string): string[] {
  return [4, 6].flatMap((version) => listed(stage, `allow_ipv${version}_host`, jail));
}

async function reach(
  stage: BanStage,
  sources: readonly string[],
  options: Partial<AttemptOptions> = {},
): Promise<Attempt[]> {
  return await Promise.all(sources.map((from) => attempt(stage, { ...toService(stage, from), ...options })));
}

/** Waits until every one of the sources has this outcome at the service. */
async function waitForReach(
  stage: BanStage,
  sources: readonly string[],
  outcome: Attempt,
  deadlineMs = DEADLINE_MS,
): Promise<void> {
  await waitFor(async () => (await reach(stage, sources)).every((found) => found === outcome), {
    deadlineMs,
    what: () => `${outcome} from ${sources}, with\n${stage.fail2ban.log().split('\n').slice(-20).join('\n')}`,
  });
}

function toService({ network }: BanStage, from: string): AttemptOptions {
  const { ipv4, ipv6 } = network.sensor;
  return { from, to: from.includes(':') ? ipv6 : ipv4, port: SERVICE };
}

function open(): Attempt {
  return 'open';
}

function timeout(): Attempt {
  return 'timeout';
}
