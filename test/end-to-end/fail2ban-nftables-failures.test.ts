import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  actionConstant,
  attempt,
  type BanStage,
  SERVICE,
  startBans,
  startFlood,
  startService,
  untilOf,
} from '../support/bans.ts';
import { RELEASES } from '../support/fail2ban.ts';
import { waitFor } from '../support/wait.ts';

const ADDRESS = '198.51.100.7';
const ADDRESS6 = '2001:db8::7';
const HOUR_SECONDS = 3600;
const SETTLED_SECONDS = actionConstant('SETTLED_SECONDS');
const DEADLINE_MS = 30_000;

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban and nft`, () => {
    test('bans outlast a restart and reloads of fail2ban for the rest of their time', async (context) => {
      const stage = await startBans(context, { release });
      const { fail2ban } = stage;
      // Half an hour is over: a ban that began anew would last for an hour.
      stage.knockTogether([ADDRESS, ADDRESS6], () => HOUR_SECONDS / 2);
      const begin = Date.now() / 1000 - HOUR_SECONDS / 2;
      const checkEnds = async () => {
        for (const address of [ADDRESS, ADDRESS6]) await stage.checkEnd(address, begin + HOUR_SECONDS);
      };
      await checkEnds();
      const listed = fail2ban.client('get', 'honeyport', 'banip', '--with-time');
      const restarts: [number, () => unknown][] = [
        [0, () => fail2ban.client('reload')],
        [1, () => fail2ban.client('reload', '--restart', 'honeyport')],
        [2, () => stopAndStart(stage)],
      ];
      for (const [restored, restart] of restarts) {
        await restart();
        const count = () => stage.said().filter((line) => /^ban .* restored=yes$/.test(line)).length;
        await waitFor(() => count() === 2 * restored, {
          deadlineMs: DEADLINE_MS,
          what: 'bans to be restored',
        });
        await checkEnds();
        assert.equal(fail2ban.client('get', 'honeyport', 'banip', '--with-time'), listed);
      }
      const lines = stage.said().filter((line) => line.includes(` src=${ADDRESS} `));
      assert.deepEqual(
        lines.map((line) =>
          line.match(/^\w+| until=\S+| count=\d+| reason=\w+| cause=\S+| restored=yes/g)?.join(''),
        ),
        ['', 'reason=stop', 'restored=yes', 'reason=stop', 'restored=yes'].map((last) => {
          if (last === 'reason=stop') return 'unban reason=stop';
          return `ban until=${/ until=(\S+)/.exec(lines[0]!)![1]} count=1 cause=test.1${last && ` ${last}`}`;
        }),
      );
    });

    test('a reload lets nobody in for a moment, with new options neither', async (context) => {
      const stage = await startBans(context, { release });
      const { network, fail2ban } = stage;
      network.addSources('2001:db8:5::/48');
      const from = '2001:db8:5::1';
      stage.knock(from);
      await stage.waitForHeld(from);
      const arrived = await startFlood(network, from, network.sensor.ipv6);
      const waitForDrops = () => {
        const before = stage.counted();
        const goesOn = () => stage.counted() > before + 20 || stage.counted() < before;
        return waitFor(goesOn, { deadlineMs: DEADLINE_MS, what: 'datagrams to be dropped' });
      };
      await waitForDrops();
      for (const options of ['', 'prefix6=64', 'prefix6=64, blocktype=reject', 'table=other']) {
        stage.configure({ honeyport: { options } });
        fail2ban.client('reload');
        if (options === 'table=other') {
          const tables = () =>
            fail2ban
              .ruleset()
              .match(/^table .*/gm)
              ?.join();
          await waitFor(() => tables() === 'table inet other {', {
            deadlineMs: DEADLINE_MS,
            what: 'the other table in place of the first',
          });
        } else {
          const set = options.includes('64') ? 'ban_ipv6_64' : 'ban_ipv6';
          const rule = options.includes('reject') ? 'reject' : 'drop';
          await waitFor(() => new RegExp(`@${set}.honeyport .*${rule}`).test(fail2ban.ruleset()), {
            deadlineMs: DEADLINE_MS,
            what: `a rule for ${options}`,
          });
          await waitForDrops();
        }
      }
      assert.equal(arrived(), 0);
      assert.deepEqual(
        stage.said().map((line) => line.split(' ')[0]),
        ['ban'],
      );
    });

    const removals: [string, string[]][] = [
      ['flushes all rules', ['flush', 'ruleset']],
      ["flushes the jail's chain", ['flush', 'chain', 'inet', 'honeyport', 'prerouting.honeyport']],
    ];
    for (const [what, command] of removals) {
      test(`when somebody ${what}, chain and bans come back by themselves`, async (context) => {
        const stage = await startBans(context, { release });
        const { network, fail2ban } = stage;
        await startService(network);
        const from = network.attacker.ipv4;
        const begin = Date.now() / 1000 - HOUR_SECONDS / 2;
        stage.knockTogether([from, ADDRESS, ADDRESS6], () => HOUR_SECONDS / 2);
        for (const address of [from, ADDRESS, ADDRESS6]) await stage.waitForHeld(address);
        const before = fail2ban.ruleset().replaceAll(/expires \S+|packets \d+ bytes \d+/g, '');
        assert.match(before, /@ban_ipv4\.honeyport counter {2}drop/);
        fail2ban.nft(...command);
        await stage.waitForLog(
          /WARNING .*\[honeyport\] .*inet honeyport prerouting\.honeyport.* there again, with 3 addresses/,
        );
        const after = fail2ban.ruleset().replaceAll(/expires \S+|packets \d+ bytes \d+/g, '');
        assert.deepEqual(after.match(/drop$/gm), before.match(/drop$/gm));
        for (const address of [from, ADDRESS, ADDRESS6]) {
          await stage.checkEnd(address, begin + HOUR_SECONDS);
        }
        assert.equal(await attempt(stage, toService(stage)), 'timeout');
      });
    }

    test('blocks outlast a killed fail2ban, and what it does not know any more is let go', async (context) => {
      const stage = await startBans(context, { release });
      const { network, fail2ban } = stage;
      await startService(network);
      const from = network.attacker.ipv4;
      // The last of many is restored a while after the first.
      const many = Array.from({ length: 500 }, (_, n) => `198.18.${n >> 8}.${n & 255}`);
      stage.knockTogether(many, () => HOUR_SECONDS / 2);
      stage.knock(from);
      await stage.waitForHeld(from);
      await waitFor(() => fail2ban.banned().length === many.length + 1, {
        deadlineMs: DEADLINE_MS,
        what: 'bans',
      });
      const arrived = await startFlood(network, from, network.sensor.ipv4);
      const before = stage.counted();
      await waitFor(() => stage.counted() > before, { deadlineMs: DEADLINE_MS, what: 'dropped datagrams' });
      await fail2ban.stop('SIGKILL');
      assert.equal(await attempt(stage, toService(stage)), 'timeout');
      fail2ban.nft('add', 'element', 'inet', 'honeyport', 'ban_ipv4.honeyport', '{ 198.51.100.99 }');

      await fail2ban.start();
      // Said again: from the database, or from lines that fail2ban had read but not noted as read.
      const again = () => stage.said().filter((line) => line.startsWith(`ban src=${from} `));
      await waitFor(() => again().length === 2, {
        deadlineMs: DEADLINE_MS,
        what: 'the ban to be said again',
      });
      assert.equal(untilOf(again()[1]!), untilOf(again()[0]!));
      await waitFor(() => !stage.held().has('198.51.100.99'), {
        deadlineMs: SETTLED_SECONDS * 1000 + DEADLINE_MS,
        what: 'an unknown address to be let go',
      });
      assert.deepEqual([...stage.held().keys()].sort(), [...many, from].sort());
      assert.equal(arrived(), 0);
      assert.equal(await attempt(stage, toService(stage)), 'timeout');
    });

    for (const outage of ['missing', 'failing'] as const) {
      test(`while nft is ${outage} bans and unbans wait, and nothing is said before it is true`, async (context) => {
        const stage = await startBans(context, {
          release,
          jails: { honeyport: { options: 'nft=DIR/nft' } },
        });
        const { fail2ban } = stage;
        const program = nftThatBreaks(stage.dir, outage);
        const messages = {
          missing: /nft not found; apt-get install nftables/,
          failing: /ended with 1: out of order/,
        };
        await stage.waitForLog(
          /\/nft not found; apt-get install nftables; next try in 1 s, 0 bans are kept until then/,
        );
        program.repair();
        stage.knock('198.51.100.1');
        await stage.waitForHeld('198.51.100.1');
        await stage.waitForLog(/\[honeyport\] nft works again/);

        program.breakDown();
        const before = fail2ban.log().length;
        for (const address of [ADDRESS, ADDRESS6, '198.51.100.2']) stage.knock(address);
        await fail2ban.waitForBan('198.51.100.2');
        fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.1', '198.51.100.2');
        const failed = /\[honeyport\] .*; next try in \d+ s, 2 bans are kept until then/;
        await waitFor(() => failed.test(fail2ban.log().slice(before)), {
          deadlineMs: DEADLINE_MS,
          what: 'a failed try',
        });
        assert.match(fail2ban.log().slice(before), messages[outage]);
        assert.deepEqual(
          stage.said('honeyport').map((line) => line.split(' until')[0]),
          ['ban src=198.51.100.1'],
        );
        assert.deepEqual([...stage.held().keys()], ['198.51.100.1']);

        program.repair();
        for (const address of [ADDRESS, ADDRESS6]) await stage.waitForHeld(address);
        await stage.waitForSaid(/^unban src=198\.51\.100\.1 reason=manual /);
        assert.deepEqual([...stage.held().keys()].sort(), [ADDRESS, ADDRESS6].sort());
        await waitFor(() => stage.said('honeyport').length === 4, {
          deadlineMs: DEADLINE_MS,
          what: 'four lines',
        });
        assert.ok(!stage.said().some((line) => line.includes('198.51.100.2 ')));
      });
    }

    test('wrong options are named in the log, stop no other jail, and block as soon as they are right', async (context) => {
      const wrong = {
        'mode=foo': /mode: expected block or observe, got 'foo'/,
        'bloktype=drop': /Expected an option of honeyport_nftables, got bloktype/,
        'prefix6=200': /prefix6: expected a length from 32 to 128, got '200'/,
        'table="honey port; flush"': /table: expected letters, digits, _ and -, got 'honey port; flush'/,
        'blocktype=deny': /blocktype: expected drop or reject, got 'deny'/,
        'log=bans.log': /log: expected an absolute path or off, got 'bans\.log'/,
      };
      const named = Object.keys(wrong).map((options, index) => [`wrong-${index}`, { options }] as const);
      const jails = { honeyport: {}, ...Object.fromEntries(named) };
      const stage = await startBans(context, { release, jails });
      for (const message of Object.values(wrong)) await stage.waitForLog(message);
      for (const jail of Object.keys(jails)) {
        stage.knock(ADDRESS, { jail });
        await stage.fail2ban.waitForBan(ADDRESS, jail);
      }
      await stage.waitForHeld(ADDRESS);
      assert.doesNotMatch(stage.fail2ban.ruleset(), /wrong/);

      stage.configure({ ...jails, 'wrong-0': {} });
      stage.fail2ban.client('reload');
      await stage.waitForHeld(ADDRESS, 'wrong-0');
      assert.doesNotMatch(stage.fail2ban.ruleset(), /wrong-[1-9]/);
    });

    test('wrong options at a reload are named, and the ones before stay in force with their bans', async (context) => {
      const stage = await startBans(context, { release });
      const { network, fail2ban } = stage;
      await startService(network);
      stage.knock(network.attacker.ipv4);
      await stage.waitForHeld(network.attacker.ipv4);
      for (const [options, message] of [
        [
          'mode=foo',
          /ERROR .*\[honeyport\] mode: expected block or observe, got 'foo'; the options before stay in force/,
        ],
        [
          'bloktype=drop',
          /ERROR .*\[honeyport\] Expected an option of honeyport_nftables, got bloktype; the options/,
        ],
      ] as const) {
        stage.configure({ honeyport: { options } });
        fail2ban.client('reload');
        await stage.waitForLog(message);
        assert.equal(await attempt(stage, toService(stage)), 'timeout');
      }
      // With one more in the kernel, whatever was to be done before is done.
      stage.knock(ADDRESS);
      await stage.waitForHeld(ADDRESS);
      assert.equal(await attempt(stage, toService(stage)), 'timeout');
      assert.deepEqual(fail2ban.banned().sort(), [network.attacker.ipv4, ADDRESS].sort());
      assert.equal(stage.said().length, 2);
    });

    test('jails that stop at the same time leave no rules, no error and no line unsaid', async (context) => {
      const names = ['one', 'two', 'three', 'four', 'five'];
      const jails = Object.fromEntries(names.map((name) => [name, {}]));
      const stage = await startBans(context, { release, jails });
      for (const jail of names) {
        stage.knock(ADDRESS, { jail });
        await stage.waitForHeld(ADDRESS, jail);
      }
      await stage.fail2ban.stop();
      assert.equal(stage.fail2ban.ruleset(), '');
      assert.doesNotMatch(stage.fail2ban.log(), /ERROR/);
      for (const jail of names) assert.match(stage.said(jail).at(-1)!, /^unban .* reason=stop /);
    });

    test('a ban that fail2ban makes longer by itself is longer in the kernel, too', async (context) => {
      const stage = await startBans(context, { release });
      stage.knock(ADDRESS, { ageSeconds: HOUR_SECONDS / 2 });
      await stage.waitForSaid(/^ban /);
      stage.knock(ADDRESS);
      const said = await stage.waitForSaid(/^prolong /);
      const left = untilOf(said) - Date.now() / 1000;
      assert.ok(left > HOUR_SECONDS * 0.9, said);
      await stage.checkEnd(ADDRESS, untilOf(said));
    });

    test('an address with a zone, banned by hand, holds up no other ban', async (context) => {
      const stage = await startBans(context, { release, jails: { honeyport: { options: 'prefix6=64' } } });
      stage.fail2ban.client('set', 'honeyport', 'banip', 'fe80::1%wire');
      stage.knock(ADDRESS);
      await stage.waitForHeld(ADDRESS);
      // Alone, whatever prefix6 says: the prefix is that of every router.
      assert.deepEqual([...stage.held().keys()].sort(), [ADDRESS, 'fe80::1'].sort());
      assert.deepEqual([...stage.held('honeyport', ['ban_ipv6_64']).keys()], []);
    });

    test('reload --restart loads an upgraded action and keeps the bans', async (context) => {
      const stage = await startBans(context, { release });
      const { fail2ban } = stage;
      stage.knock(ADDRESS, { ageSeconds: HOUR_SECONDS / 2 });
      const end = untilOf(await stage.waitForSaid(/^ban /));
      const file = join(fail2ban.configuration, 'action.d/honeyport_nftables.py');
      // Of another length, as Python tells versions of one second apart by it.
      const upgraded = readFileSync(file, 'utf8').replace('PRIORITY = -310', 'PRIORITY = -311  # upgraded');
      writeFileSync(`${file}.new`, upgraded);
      renameSync(`${file}.new`, file);

      fail2ban.client('reload');
      assert.match(fail2ban.ruleset(), /priority raw - 10;/);
      fail2ban.client('reload', '--restart', 'honeyport');
      await waitFor(() => /priority -311;/.test(fail2ban.ruleset()), {
        deadlineMs: DEADLINE_MS,
        what: 'the new priority',
      });
      await stage.checkEnd(ADDRESS, end);
      assert.deepEqual(fail2ban.banned(), [ADDRESS]);
    });
  });
}

async function stopAndStart({ fail2ban }: BanStage): Promise<void> {
  await fail2ban.stop();
  assert.equal(fail2ban.ruleset(), '');
  await fail2ban.start();
}

/** A program in the place of nft; it is not there at first. */
function nftThatBreaks(dir: string, outage: 'missing' | 'failing'): { repair(): void; breakDown(): void } {
  const path = join(dir, 'nft');
  const flag = join(dir, 'broken');
  if (outage === 'missing') {
    return { repair: () => symlinkSync('/usr/sbin/nft', path), breakDown: () => rmSync(path) };
  }
  const text = `#!/bin/sh\nif [ -e ${flag} ]; then echo out of order >&2; exit 1; fi\nexec /usr/sbin/nft "$@"\n`;
  return {
    repair() {
      rmSync(flag, { force: true });
      if (!existsSync(path)) writeFileSync(path, text, { mode: 0o755 });
    },
    breakDown: () => appendFileSync(flag, ''),
  };
}

function toService({ network }: BanStage): { from: string; to: string; port: number } {
  return { from: network.attacker.ipv4, to: network.sensor.ipv4, port: SERVICE };
}
