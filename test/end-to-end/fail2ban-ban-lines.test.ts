import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { startBans } from '../support/bans.ts';
import { findAddresses, RELEASES } from '../support/fail2ban.ts';
import { readLines, startHoneyport } from '../support/listener.ts';
import { fillDisk, mountTinyDisk } from '../support/tiny-disk.ts';
import { waitFor } from '../support/wait.ts';

const DECOY = 2323;
const DEADLINE_MS = 20_000;
const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00`;

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    test('a ban names the connect line that caused it, in a line of its own shape', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { options: 'sensor=web-1, prefix6=64' } },
      });
      const { network, fail2ban } = stage;
      const logFile = join(stage.dir, 'honeyport-0.log');
      const config = `sensor: web-1\ndecoys: [{ name: telnet, ports: ${DECOY} }]\nlog: { file: { path: ${logFile} } }\n`;
      const honeyport = await startHoneyport({ config, namespace: network.sensor.namespace });
      stage.cleanUp(() => honeyport.stop());
      const { attacker, sensor } = network;
      assert.equal(await network.connect({ from: attacker.ipv4, to: sensor.ipv4, port: DECOY }), 'open');
      await stage.waitForSaid(new RegExp(`^ban src=${attacker.ipv4} `));
      assert.equal(await network.connect({ from: attacker.ipv6, to: sensor.ipv6, port: DECOY }), 'open');
      await stage.waitForSaid(new RegExp(`^ban src=${attacker.ipv6} `));
      fail2ban.client('set', 'honeyport', 'unbanip', attacker.ipv4);
      await stage.waitForSaid(/^unban /);

      const connects = readLines(logFile).filter((line) => / connect /.test(line));
      const [id4, id6] = connects.map((line) => / id=(\S+)/.exec(line)![1]!.replace('.', String.raw`\.`));
      const lines = readLines(stage.banLog);
      const head = String.raw`^${TIME} web-1 honeyport\[\d+\]: `;
      const ban = (address: string, n: number, rest: string) =>
        new RegExp(
          `${head}ban src=${address} until=${TIME} count=1 jail=honeyport id=[a-z0-9]{8}\\.${n} ${rest}$`,
        );
      assert.equal(lines.length, 3);
      assert.match(lines[0]!, ban(attacker.ipv4, 1, `cause=${id4}`));
      assert.match(lines[1]!, ban(attacker.ipv6, 2, `cause=${id6} net=fd00:99:\\d+::/64`));
      assert.match(
        lines[2]!,
        new RegExp(`${head}unban src=${attacker.ipv4} reason=manual jail=honeyport id=[a-z0-9]{8}\\.3$`),
      );
      assert.equal(new Set(lines.map((line) => / id=(\w+)/.exec(line)![1])).size, 1);
    });

    test('an unban says why, and ids have no gaps', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: {}, brief: { settings: 'bantime = 2s' } },
      });
      const { fail2ban } = stage;
      const ban = async (address: string, jail?: string) => {
        stage.knock(address, jail === undefined ? {} : { jail });
        await stage.waitForSaid(new RegExp(`^ban src=${address} `));
      };
      await ban('198.51.100.1', 'brief');
      await ban('198.51.100.2');
      fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.2');
      await ban('198.51.100.3');
      fail2ban.client('unban', '198.51.100.3');
      await stage.waitForSaid(/^unban src=198\.51\.100\.1 /);
      await ban('198.51.100.4');
      fail2ban.client('unban', '--all');
      await stage.waitForSaid(/^unban src=198\.51\.100\.4 /);
      fail2ban.client('set', 'honeyport', 'banip', '198.51.100.5');
      await stage.waitForSaid(/^ban src=198\.51\.100\.5 until=\S+ count=1 jail=honeyport id=\w+\.\d+$/);
      fail2ban.client('stop', 'honeyport');
      const reasons = stage
        .said()
        .flatMap((line) => /^unban src=(\S+ reason=\w+) jail=/.exec(line)?.[1] ?? []);
      assert.deepEqual(reasons.sort(), [
        '198.51.100.1 reason=expired',
        '198.51.100.2 reason=manual',
        '198.51.100.3 reason=manual',
        '198.51.100.4 reason=flush',
        '198.51.100.5 reason=stop',
      ]);
      for (const jail of ['honeyport', 'brief']) {
        const numbers = stage.said(jail).map((line) => Number(/ id=\w+\.(\d+)/.exec(line)![1]));
        assert.deepEqual(
          numbers,
          numbers.map((_, index) => index + 1),
        );
      }
    });

    test('a ban line never bans, and only the group may read the file beside root', async (context) => {
      const stage = await startBans(context, { release });
      stage.knock('198.51.100.1');
      await stage.waitForSaid(/^ban /);
      stage.fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.1');
      await stage.waitForSaid(/^unban /);
      assert.equal(statSync(stage.banLog).mode & 0o777, 0o640);
      const copy = join(stage.fail2ban.directory, 'bans.log');
      writeFileSync(copy, readFileSync(stage.banLog));
      assert.deepEqual(findAddresses(release, stage.fail2ban.directory, copy), []);
    });

    test('the file may be renamed or deleted at any time', async (context) => {
      const stage = await startBans(context, { release });
      const removals = [
        () => renameSync(stage.banLog, `${stage.banLog}.1`),
        () => rmSync(stage.banLog),
        () => {},
      ];
      for (const [index, remove] of removals.entries()) {
        stage.knock(`198.51.100.${index}`);
        await stage.waitForSaid(new RegExp(`^ban src=198\\.51\\.100\\.${index} `));
        assert.equal(stage.said().length, 1);
        remove();
      }
      assert.equal(readLines(`${stage.banLog}.1`).length, 1);
    });

    const obstacles: [string, RegExp, (path: string, dir: string) => void][] = [
      ['a symbolic link', /is a symbolic link/, (path, dir) => symlinkSync(join(dir, 'elsewhere'), path)],
      ['a FIFO', /is not a regular file/, (path) => execFileSync('mkfifo', [path])],
      ['a directory', /Is a directory/, (path) => mkdirSync(path)],
    ];
    for (const [what, message, put] of obstacles) {
      test(`${what} in the file's place is refused, bans work, and their lines come without it`, async (context) => {
        const stage = await startBans(context, { release });
        put(stage.banLog, stage.dir);
        for (const address of ['198.51.100.1', '198.51.100.2']) {
          stage.knock(address);
          await stage.waitForHeld(address);
        }
        await stage.waitForLog(message);
        assert.equal(stage.fail2ban.log().match(/cannot write /g)?.length, 1);
        assert.equal(existsSync(join(stage.dir, 'elsewhere')), false);
        rmSync(stage.banLog, { recursive: true });
        await stage.waitForSaid(/^ban src=198\.51\.100\.2 /);
        assert.deepEqual(
          stage.said().map((line) => line.split(' until')[0]),
          ['ban src=198.51.100.1', 'ban src=198.51.100.2'],
        );
      });
    }

    test('lines wait while the disk is full, and a torn one is repeated', async (context) => {
      const disk = mountTinyDisk(context, 64);
      const stage = await startBans(context, { release, banDir: disk });
      const count = 60;
      stage.knock('198.51.100.0');
      await stage.waitForSaid(/^ban /);
      const filler = fillDisk(disk);
      // The file's first page has room for some of them, and for a part of one.
      for (let n = 1; n < count; n += 1) stage.knock(`198.51.100.${n}`);
      await stage.waitForHeld(`198.51.100.${count - 1}`);
      await stage.waitForLog(/cannot write .*: No space left on device; bans work, their lines wait for it/);
      await waitFor(() => stage.fail2ban.banned().length === count, {
        deadlineMs: DEADLINE_MS,
        what: 'all bans',
      });
      const text = readFileSync(stage.banLog, 'latin1');
      assert.equal(text.length, 4096);
      assert.ok(!text.endsWith('\n'));

      rmSync(filler);
      await stage.waitForSaid(new RegExp(`^ban .* id=\\w+\\.${count} `));
      const [torn, ...more] = stage.said().filter((line) => !/ cause=test\.\d+$/.test(line));
      assert.deepEqual(more, []);
      const whole = stage.said().filter((line) => line !== torn);
      assert.ok(torn === undefined || whole.some((line) => line.startsWith(torn)), torn);
      const ids = whole.map((line) => Number(/ id=\w+\.(\d+) /.exec(line)![1]));
      assert.deepEqual(
        ids,
        ids.map((_, index) => index + 1),
      );
      assert.equal(new Set(whole.map((line) => / src=(\S+)/.exec(line)![1])).size, count);
    });

    test('log=off writes no file', async (context) => {
      const stage = await startBans(context, {
        release,
        jails: { honeyport: { options: 'log=off' }, other: {} },
      });
      stage.knock('198.51.100.1');
      stage.knock('198.51.100.2', { jail: 'other' });
      await stage.waitForHeld('198.51.100.1');
      await stage.waitForSaid(/jail=other /);
      assert.deepEqual(stage.said('honeyport'), []);
    });
  });
}
