import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { attempt, openConnection, SERVICE, startBans, startService, untilOf } from '../support/bans.ts';
import { fail2banArgv, RELEASES, type Release } from '../support/fail2ban.ts';
import { startHoneyport } from '../support/listener.ts';
import type { AttemptOptions, Host, Network } from '../support/namespaces.ts';
import { waitFor } from '../support/wait.ts';

const DECOY = 2323;
/** A port of the sensor that leads to the host behind it. */
const PUBLISHED = 9090;
const HOUR_SECONDS = 3600;
/** How much a test may take between a ban and a look at it. */
const SLACK_SECONDS = 60;
const DEADLINE_MS = 20_000;

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban and nft`, () => {
    test('a knock shuts the host, what is behind it and open connections to its source alone', async (context) => {
      const stage = await startBans(context, { release });
      const { network, fail2ban, dir } = stage;
      const behind = await serveBehind(network, release);
      const logFile = join(dir, 'honeyport-0.log');
      const config = `sensor: web-1\ndecoys: [{ name: telnet, ports: ${DECOY} }]\nlog: { file: { path: ${logFile} } }\n`;
      const honeyport = await startHoneyport({ config, namespace: network.sensor.namespace });
      stage.cleanUp(() => honeyport.stop());
      const { sensor } = network;
      const knockers = ['198.18.0.1', '2001:db8:5::1'];
      const neighbours = ['198.18.0.2', '2001:db8:5::2'];

      const outcomes = async (sources: readonly string[]) =>
        await Promise.all(sources.flatMap(waysIn(network, behind)).map((way) => attempt(stage, way)));
      const all = (outcome: string, count = 12) => Array(count).fill(outcome);
      assert.deepEqual(await outcomes(knockers), all('open'));
      const open = await Promise.all(
        [SERVICE, PUBLISHED].flatMap((port) => [
          openConnection(network, { from: knockers[0]!, to: sensor.ipv4, port }),
          openConnection(network, { from: knockers[1]!, to: sensor.ipv6, port }),
        ]),
      );
      for (const from of knockers) {
        const to = from.includes(':') ? sensor.ipv6 : sensor.ipv4;
        assert.equal(await attempt(stage, { from, to, port: DECOY }), 'open');
      }
      for (const from of knockers) await stage.waitForHeld(from);

      const before = stage.counted();
      for (const connection of open) connection.send('cut');
      await waitFor(() => stage.counted() >= before + open.length, {
        deadlineMs: DEADLINE_MS,
        what: 'packets of the open connections to be dropped',
      });
      assert.deepEqual(await outcomes(knockers), all('timeout'));
      assert.deepEqual(
        open.map(({ echoed }) => echoed()),
        Array(4).fill('hello '),
      );
      assert.deepEqual(await outcomes(neighbours), all('open'));
      assert.deepEqual(fail2ban.banned().sort(), knockers.sort());
    });

    test('a block ends with its ban time, with unbanip and with unban --all', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: {}, brief: { settings: 'bantime = 2s' } },
      });
      const { network, fail2ban } = stage;
      await startService(network);
      const { attacker, sensor } = network;
      const ways = [
        { from: attacker.ipv4, to: sensor.ipv4, port: SERVICE },
        { from: attacker.ipv6, to: sensor.ipv6, port: SERVICE },
      ];
      const endings: ['honeyport' | 'brief', () => void][] = [
        ['honeyport', () => fail2ban.client('set', 'honeyport', 'unbanip', ...ways.map(({ from }) => from))],
        ['honeyport', () => fail2ban.client('unban', '--all')],
        ['brief', () => {}],
      ];
      for (const [jail, end] of endings) {
        for (const { from } of ways) stage.knock(from, { jail });
        if (jail === 'honeyport') {
          for (const { from } of ways) await stage.waitForHeld(from, jail);
          for (const way of ways) assert.equal(await attempt(stage, way), 'timeout');
        }
        end();
        const reasons = { honeyport: '(?:manual|flush)', brief: 'expired' };
        for (const { from } of ways) {
          await stage.waitForSaid(new RegExp(`^unban src=${from} reason=${reasons[jail]} jail=${jail} `));
          await stage.waitForRelease(from, jail);
        }
        for (const way of ways) assert.equal(await attempt(stage, way), 'open');
      }
    });

    test('who is in ignoreip gets through, banned by hand or within a banned prefix, too', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: {
          honeyport: {
            options: 'prefix6=64',
            settings: 'ignoreip = 198.18.7.9 198.18.8.0/24 2001:db8:5::9 2001:db8:6::/80',
          },
        },
      });
      const { network, fail2ban } = stage;
      await startService(network);
      addSources(network);
      const ignored = ['198.18.7.9', '198.18.8.77', '2001:db8:5::9', '2001:db8:6::77'];
      const banned = ['198.18.7.10', '2001:db8:5::1', '2001:db8:6:0:1::1'];
      for (const address of [...ignored, ...banned]) stage.knock(address);
      for (const address of banned) await fail2ban.waitForBan(address);
      assert.deepEqual(fail2ban.banned().sort(), [...banned].sort());
      fail2ban.client('set', 'honeyport', 'banip', ...ignored);
      for (const address of ignored) await stage.waitForSaid(new RegExp(`^ban src=${address} `));
      const outcomes = (sources: readonly string[]) =>
        Promise.all(sources.map((from) => attempt(stage, toService(network, from))));
      assert.deepEqual(await outcomes(ignored), ['open', 'open', 'open', 'open']);
      assert.deepEqual(await outcomes(banned), ['timeout', 'timeout', 'timeout']);

      fail2ban.client('set', 'honeyport', 'addignoreip', '198.18.7.10');
      fail2ban.client('set', 'honeyport', 'addignoreip', '2001:db8:5::/96');
      const allowed = () => stage.held('honeyport', ['allow_ipv4', 'allow_ipv6']);
      await waitFor(() => allowed().has('2001:db8:5::/96'), {
        deadlineMs: DEADLINE_MS,
        what: 'the new entry of ignoreip in nftables',
      });
      assert.deepEqual(await outcomes(banned), ['open', 'open', 'timeout']);
    });

    test('a second ban lasts longer where bantime.increment says so', async (context) => {
      const settings = 'bantime = 2s\nbantime.increment = true\nbantime.multipliers = 1 4';
      const stage = await startBans(context, { release, jails: { honeyport: { settings } } });
      // Many: fail2ban hands out the first ban time, and the true one when it has looked into its database, or that at
      // once where it was quick.
      const addresses = Array.from({ length: 10 }, (_, n) => `198.51.100.${n}`);
      const saidOf = (address: string) => stage.said().filter((line) => line.includes(` src=${address} `));
      for (const address of addresses) stage.knock(address);
      for (const address of addresses) await stage.waitForSaid(new RegExp(`^unban src=${address} `));
      const ends = new Map(addresses.map((address) => [address, untilOf(saidOf(address)[0]!)]));
      for (const address of addresses) stage.knock(address);
      for (const address of addresses) {
        const line = await stage.waitForSaid(new RegExp(`^(?:ban|prolong) src=${address} .* count=2 `));
        const again = saidOf(address)[2]!;
        assert.match(again, /^ban /);
        assert.ok(untilOf(again) > ends.get(address)!);
        const prolongedBy = line.startsWith('prolong') ? 6 : 0;
        assert.equal(untilOf(line), untilOf(again) + prolongedBy);
        await stage.checkEnd(address, untilOf(line));
      }
    });

    test('a ban of bantime -1 has no end but unbanip', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { settings: 'bantime = -1' } },
      });
      stage.knock('198.51.100.7');
      assert.equal((await stage.waitForHeld('198.51.100.7')).end, undefined);
      await stage.waitForSaid(/^ban src=198\.51\.100\.7 until=never count=1 jail=honeyport /);
      stage.fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.7');
      await stage.waitForRelease('198.51.100.7');
      await stage.waitForSaid(/^unban src=198\.51\.100\.7 reason=manual /);
    });

    test('an address in two jails stays blocked until both let it go, whatever their names are', async (context) => {
      const names = ['web.1', 'web 1', 'a-name_of-more-than-thirty-two-characters-and-some'];
      const stage = await startBans(context, {
        release,
        jails: Object.fromEntries(names.map((name) => [name, {}])),
      });
      const { network, fail2ban } = stage;
      await startService(network);
      const from = network.attacker.ipv4;
      for (const jail of names) stage.knock(from, { jail });
      for (const jail of names) await stage.waitForHeld(from, jail);
      fail2ban.client('set', names[0]!, 'unbanip', from);
      await stage.waitForRelease(from, names[0]);
      assert.equal(await attempt(stage, toService(network, from)), 'timeout');
      fail2ban.client('stop', names[1]!);
      assert.doesNotMatch(fail2ban.ruleset(), new RegExp(Buffer.from(names[1]!).toString('hex')));
      assert.equal(await attempt(stage, toService(network, from)), 'timeout');
      fail2ban.client('stop', names[2]!);
      assert.equal(await attempt(stage, toService(network, from)), 'open');
      fail2ban.client('stop', names[0]!);
      assert.equal(fail2ban.ruleset(), '');
    });

    test('mode=observe counts and says whom it would ban, and a reload switches it', async (context) => {
      const stage = await startBans(context, { release, jails: { honeyport: { options: 'mode=observe' } } });
      const { network, fail2ban } = stage;
      await startService(network);
      const from = network.attacker.ipv4;
      stage.knock(from);
      await stage.waitForSaid(/^would-ban src=/);
      assert.equal(await attempt(stage, toService(network, from)), 'open');
      assert.ok(stage.counted() > 0);

      stage.configure({ honeyport: {} });
      fail2ban.client('reload');
      await stage.waitForSaid(/^ban src=/);
      assert.equal(await attempt(stage, toService(network, from)), 'timeout');

      stage.configure({ honeyport: { options: 'mode=observe' } });
      fail2ban.client('reload');
      await waitFor(() => stage.said().length === 5, { deadlineMs: DEADLINE_MS, what: 'a fifth line' });
      assert.equal(await attempt(stage, toService(network, from)), 'open');
      fail2ban.client('set', 'honeyport', 'unbanip', from);
      await stage.waitForSaid(/^would-unban .* reason=manual /);
      assert.deepEqual(
        stage.said().map((line) => line.match(/^\S+| reason=\S+/g)?.join('')),
        [
          'would-ban',
          'would-unban reason=mode',
          'ban',
          'unban reason=mode',
          'would-ban',
          'would-unban reason=manual',
        ],
      );
    });

    test('prefix6=64 blocks the whole prefix until the last address in it is let go', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { options: 'prefix6=64' } },
      });
      const { network, fail2ban } = stage;
      await startService(network);
      addSources(network);
      const [one, other, third] = ['2001:db8:5::1', '2001:db8:5::2', '2001:db8:5:0:ffff::3'];
      const outside = '2001:db8:5:1::1';
      for (const address of [one, other]) stage.knock(address!);
      for (const address of [one, other]) {
        await stage.waitForSaid(new RegExp(`^ban src=${address} .* net=2001:db8:5::/64$`));
      }
      const blocks = () => [...stage.held('honeyport', ['ban_ipv6_64']).keys()];
      assert.deepEqual(blocks(), ['2001:db8:5::']);
      assert.equal(await attempt(stage, toService(network, third!)), 'timeout');
      assert.equal(await attempt(stage, toService(network, outside)), 'open');
      fail2ban.client('set', 'honeyport', 'unbanip', one!);
      await stage.waitForSaid(new RegExp(`^unban src=${one} `));
      assert.equal(await attempt(stage, toService(network, one!)), 'timeout');
      fail2ban.client('set', 'honeyport', 'unbanip', other!);
      await stage.waitForSaid(new RegExp(`^unban src=${other} `));
      assert.deepEqual(blocks(), []);
      assert.equal(await attempt(stage, toService(network, third!)), 'open');
    });

    test('a banned neighbour on the wire is blocked, but not its part in finding IPv6 neighbours', async (context) => {
      const stage = await startBans(context, { release, jails: { honeyport: { options: 'prefix6=64' } } });
      const { network, fail2ban } = stage;
      const { attacker, sensor } = network;
      await startService(network);
      addSources(network);
      // The attacker is the router of the other sources, in the prefix that is blocked.
      fail2ban.client('set', 'honeyport', 'banip', attacker.ipv6);
      await stage.waitForSaid(/^ban /);
      for (const host of [sensor, attacker]) network.run(host, ['ip', 'neigh', 'flush', 'dev', 'wire']);
      assert.equal(await attempt(stage, toService(network, '2001:db8:5::1')), 'open');
      assert.equal(await attempt(stage, toService(network, attacker.ipv6)), 'timeout');
    });

    test('a network that is banned by hand is blocked as a whole', async (context) => {
      const stage = await startBans(context, { release });
      const { network, fail2ban } = stage;
      await startService(network);
      addSources(network);
      const networks = [
        { banned: '198.18.4.0/22', inside: '198.18.7.255', outside: '198.18.8.0' },
        { banned: '2001:db8:5::/56', inside: '2001:db8:5:ff::1', outside: '2001:db8:5:100::1' },
      ];
      for (const { banned, inside, outside } of networks) {
        fail2ban.client('set', 'honeyport', 'banip', banned);
        await stage.waitForSaid(new RegExp(`^ban src=${banned} `));
        assert.equal(await attempt(stage, toService(network, inside)), 'timeout');
        assert.equal(await attempt(stage, toService(network, outside)), 'open');
        fail2ban.client('set', 'honeyport', 'unbanip', banned);
        await stage.waitForSaid(new RegExp(`^unban src=${banned} reason=manual `));
        assert.equal(await attempt(stage, toService(network, inside)), 'open');
      }
    });

    test('blocktype=reject answers with a TCP reset or an ICMP error', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { options: 'blocktype=reject' } },
      });
      const { network } = stage;
      await startService(network);
      addSources(network);
      const sources = ['198.18.0.1', '2001:db8:5::1'];
      for (const from of sources) stage.knock(from);
      for (const from of sources) await stage.waitForHeld(from);
      const outcomes = await Promise.all(
        sources.flatMap((from) =>
          (['tcp', 'udp'] as const).map((protocol) =>
            attempt(stage, { ...toService(network, from), protocol, timeoutMs: DEADLINE_MS }),
          ),
        ),
      );
      // Linux tells "administratively prohibited" of ICMP so, and that of ICMPv6 as EACCES.
      assert.deepEqual(outcomes, ['ECONNREFUSED', 'EHOSTUNREACH', 'ECONNREFUSED', 'EACCES']);
    });

    test("a jail's own action runs once for each ban beside ours", async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { settings: 'action = %(action_)s\n         recorder[name=%(__name__)s]' } },
        files: {
          'action.d/recorder.conf':
            '[Definition]\nnorestored = 1\nactionban = echo "<name> ban <ip>" >> DIR/record\n' +
            'actionunban = echo "<name> unban <ip>" >> DIR/record\n',
        },
      });
      const record = join(stage.dir, 'record');
      const recorded = () =>
        existsSync(record) ? readFileSync(record, 'utf8').split('\n').slice(0, -1) : [];
      const addresses = ['198.51.100.7', '2001:db8::7'];
      for (const address of addresses) stage.knock(address);
      for (const address of addresses) await stage.waitForHeld(address);
      await waitFor(() => recorded().length === 2, { deadlineMs: DEADLINE_MS, what: 'two recorded bans' });
      stage.fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.7');
      await stage.waitForRelease('198.51.100.7');
      await waitFor(() => recorded().length === 3, { deadlineMs: DEADLINE_MS, what: 'a recorded unban' });
      assert.deepEqual(recorded().sort(), [
        'honeyport ban 198.51.100.7',
        'honeyport ban 2001:db8::7',
        'honeyport unban 198.51.100.7',
      ]);
    });

    test("fail2ban's own notifiers work beside ours, and one that fails holds up no block", async (context) => {
      // No address of the Internet can be reached from here, so that abuseipdb fails.
      const notifiers = [
        'abuseipdb[abuseipdb_apikey=key, abuseipdb_category=14]',
        'sendmail[mailcmd="cat >> DIR/mail"]',
      ];
      const action = ['%(action_)s', ...notifiers, 'honeyport_rotation.py'].join('\n         ');
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { settings: `action = ${action}` } },
      });
      const mail = join(stage.dir, 'mail');
      const mailed = () => (existsSync(mail) ? readFileSync(mail, 'utf8') : '');
      for (const address of ['198.51.100.7', '198.51.100.8']) {
        stage.knock(address);
        await stage.waitForHeld(address);
        await waitFor(() => mailed().includes(`banned ${address} from`), {
          deadlineMs: DEADLINE_MS,
          what: 'mail',
        });
      }
      await stage.waitForLog(/ERROR .*abuseipdb/);
    });

    test('a stock action takes the place of ours in one line', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { settings: 'banaction = nftables[type=custom]' } },
      });
      const { network, fail2ban } = stage;
      await startService(network);
      const from = network.attacker.ipv4;
      assert.equal(await attempt(stage, toService(network, from)), 'open');
      stage.knock(from);
      await fail2ban.waitForBlock(from);
      assert.equal(await attempt(stage, toService(network, from)), 'ECONNREFUSED');
      assert.doesNotMatch(fail2ban.ruleset(), /honeyport_|prerouting/);
    });

    test('the kernel forgets a ban half a minute after fail2ban does', async (context) => {
      const stage = await startBans(context, { release });
      stage.knock('198.51.100.7', { ageSeconds: 1800 });
      const end = untilOf(await stage.waitForSaid(/^ban /));
      const left = end - Date.now() / 1000;
      assert.ok(left <= HOUR_SECONDS / 2 && left > HOUR_SECONDS / 2 - SLACK_SECONDS, `${left} s`);
      await stage.checkEnd('198.51.100.7', end);
    });
  });
}

/** A service on the sensor and one behind it, which a port of the sensor leads to. */
async function serveBehind(network: Network, release: Release): Promise<Host> {
  const behind = network.addHostBehind();
  addSources(network);
  const input = `table inet published {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    meta nfproto ipv4 meta l4proto { tcp, udp } th dport ${PUBLISHED} dnat ip to ${behind.ipv4}:${SERVICE}
    meta nfproto ipv6 meta l4proto { tcp, udp } th dport ${PUBLISHED} dnat ip6 to [${behind.ipv6}]:${SERVICE}
  }
}`;
  const argv = fail2banArgv(release, ['nft', '-f', '-'], []);
  const { code, stderr } = network.run(network.sensor, argv, { input });
  assert.equal(code, 0, stderr);
  await startService(network);
  await startService(network, behind);
  return behind;
}

/** TCP and UDP to the sensor, to a published port of it, and to the host behind it. */
function waysIn(network: Network, behind: Host): (from: string) => AttemptOptions[] {
  return (from) => {
    const family = from.includes(':') ? 'ipv6' : 'ipv4';
    const targets = [
      { to: network.sensor[family], port: SERVICE },
      { to: network.sensor[family], port: PUBLISHED },
      { to: behind[family], port: SERVICE },
    ];
    return targets.flatMap((target) =>
      (['tcp', 'udp'] as const).map((protocol) => ({ from, ...target, protocol })),
    );
  };
}

function addSources(network: Network): void {
  for (const prefix of ['198.18.0.0/16', '2001:db8:5::/48', '2001:db8:6::/48']) network.addSources(prefix);
}

function toService(network: Network, from: string): { from: string; to: string; port: number } {
  const { ipv4, ipv6 } = network.sensor;
  return { from, to: from.includes(':') ? ipv6 : ipv4, port: SERVICE };
}
