import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { SERVICE, startService } from '../support/bans.ts';
import {
  copyShipped,
  type Fail2ban,
  RELEASES,
  type Release,
  SHIPPED_DIR,
  startFail2ban,
  temporaryDirectory,
} from '../support/fail2ban.ts';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { cleanUpAfter, createNetwork, type Network } from '../support/namespaces.ts';
import { waitFor } from '../support/wait.ts';

const TELNET = 2323;
const SSH = 2222;
/** A dropped packet brings no answer. */
const SILENCE_MS = 500;

const CONFIGURATION = `sensor: web-1
decoys:
  - { name: telnet, ports: ${TELNET} }
  - { name: ssh, ports: ${SSH} }
log: { file: { path: LOG } }
`;

/** A sensor with the built listener on it, watched by a real fail2ban. */
interface Stage {
  readonly network: Network;
  readonly honeyport: RunningHoneyport;
  readonly fail2ban: Fail2ban;
}

interface StageOptions {
  readonly release?: Release;
  /** jail.local, where `LOG` stands for the log's path. */
  readonly jails: string;
  readonly files?: Readonly<Record<string, string>>;
}

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    for (const backend of ['pyinotify', 'polling']) {
      test(`a knock shuts every port and protocol to its source, read by ${backend}`, async (context) => {
        const jails = `[honeyport]\nenabled = true\nbackend = ${backend}\nlogpath = LOG\n`;
        const { network, fail2ban } = await setStage(context, { release, jails });
        await startService(network);
        const { attacker, sensor } = network;
        const ends = [
          { from: attacker.ipv4, to: sensor.ipv4 },
          { from: attacker.ipv6, to: sensor.ipv6 },
        ];
        for (const { from, to } of ends) {
          assert.equal(await network.connect({ from, to, port: SERVICE }), 'open');
          assert.equal(await network.connect({ from, to, port: SERVICE, protocol: 'udp' }), 'open');
          assert.equal(await network.connect({ from, to, port: TELNET }), 'open');
        }
        for (const { from, to } of ends) {
          await fail2ban.waitForBlock(from);
          const ways = [{ port: SERVICE }, { port: TELNET }, { port: SERVICE, protocol: 'udp' as const }];
          const outcomes = ways.map((way) => network.connect({ from, to, ...way, timeoutMs: SILENCE_MS }));
          assert.deepEqual(await Promise.all(outcomes), ['timeout', 'timeout', 'timeout']);
        }
        assert.deepEqual(fail2ban.banned().sort(), [attacker.ipv4, attacker.ipv6].sort());
      });
    }

    test('a source is let in again when its ban time is over', async (context) => {
      const jails = '[honeyport]\nenabled = true\nlogpath = LOG\nbantime = 3s\n';
      const { network, fail2ban } = await setStage(context, { release, jails });
      const { attacker, sensor } = network;
      const ends = { from: attacker.ipv4, to: sensor.ipv4, port: TELNET };
      assert.equal(await network.connect(ends), 'open');
      // In its log, since a slow machine may look at the rules only when the ban is over.
      for (const what of ['Ban', 'Unban']) {
        const wanted = `[honeyport] ${what} ${attacker.ipv4}`;
        await waitFor(() => fail2ban.log().includes(wanted), { deadlineMs: 30_000, what: wanted });
      }
      await waitFor(async () => (await network.connect(ends)) === 'open', {
        deadlineMs: 10_000,
        what: `${ends.from} to be let in again`,
      });
    });

    test('sources in ignoreip are never banned, however often they knock', async (context) => {
      const jails = `[DEFAULT]
ignoreip = 198.18.7.0/24 2001:db8:7::/64

[honeyport]
enabled = true
logpath = LOG
`;
      const { network, fail2ban } = await setStage(context, { release, jails });
      for (const prefix of ['198.18.0.0/16', '2001:db8:7::/64', '2001:db8:8::/64'])
        network.addSources(prefix);
      const { ipv4, ipv6 } = network.sensor;
      const ignored = [
        { from: '198.18.7.9', to: ipv4 },
        { from: '2001:db8:7::9', to: ipv6 },
      ];
      const others = [
        { from: '198.18.8.9', to: ipv4 },
        { from: '2001:db8:8::9', to: ipv6 },
      ];
      for (const ends of [...ignored, ...ignored, ...others]) {
        assert.equal(await network.connect({ ...ends, port: TELNET }), 'open');
      }
      // Lines are read in order: with the last source banned, all were looked at.
      for (const { from } of others) await fail2ban.waitForBlock(from);
      assert.deepEqual(fail2ban.banned().sort(), others.map(({ from }) => from).sort());
      for (const ends of ignored) assert.equal(await network.connect({ ...ends, port: TELNET }), 'open');
    });

    test("the shipped example of a decoy's own jail bans for its own time", async (context) => {
      const jails = `[honeyport]\nenabled = true\nlogpath = LOG\nbantime = 1h\n\n${shippedExample()}`;
      const { network, fail2ban } = await setStage(context, { release, jails });
      network.addSources('198.18.0.0/16');
      const to = network.sensor.ipv4;
      await network.connect({ from: '198.18.0.1', to, port: SSH });
      await fail2ban.waitForBan('198.18.0.1', 'honeyport-ssh');
      await fail2ban.waitForBan('198.18.0.1', 'honeyport');
      assert.equal(banSeconds(fail2ban, 'honeyport-ssh', '198.18.0.1'), 4 * 7 * 24 * 3600);
      assert.equal(banSeconds(fail2ban, 'honeyport', '198.18.0.1'), 3600);
    });

    test('jails with decoy= ban for their own decoys alone', async (context) => {
      const jail = (decoy: string, bantime: string) =>
        `[honeyport-${decoy}]\nenabled = true\nfilter = honeyport[decoy=${decoy}]\nbanaction = nftables[type=custom]\n` +
        `logpath = LOG\nmaxretry = 1\nbantime = ${bantime}\n\n`;
      const { network, fail2ban } = await setStage(context, {
        release,
        jails: jail('ssh', '2h') + jail('telnet', '3h'),
      });
      network.addSources('198.18.0.0/16');
      const to = network.sensor.ipv4;
      await network.connect({ from: '198.18.0.1', to, port: SSH });
      await network.connect({ from: '198.18.0.2', to, port: TELNET });
      await fail2ban.waitForBan('198.18.0.1', 'honeyport-ssh');
      await fail2ban.waitForBan('198.18.0.2', 'honeyport-telnet');
      assert.deepEqual(fail2ban.banned('honeyport-ssh'), ['198.18.0.1']);
      assert.deepEqual(fail2ban.banned('honeyport-telnet'), ['198.18.0.2']);
      assert.equal(banSeconds(fail2ban, 'honeyport-ssh', '198.18.0.1'), 2 * 3600);
      assert.equal(banSeconds(fail2ban, 'honeyport-telnet', '198.18.0.2'), 3 * 3600);
    });

    test("an action receives the line's ends, decoy and id as tags", async (context) => {
      const { network, honeyport, fail2ban } = await setStage(context, {
        release,
        jails: `[honeyport]\nenabled = true\nlogpath = LOG\naction = record\n`,
        files: {
          'action.d/record.conf':
            '[Definition]\nactionban = echo "<ip> <F-SPT> <F-DST> <F-DPT> <F-DECOY> <F-EVENTID>" >> LOG.record\n',
        },
      });
      const { attacker, sensor } = network;
      await network.connect({ from: attacker.ipv6, to: sensor.ipv6, port: SSH });
      const line = await honeyport.waitForLine(/ connect /);
      const [, ...wanted] = /src=(\S+) spt=(\S+) dst=(\S+) dpt=(\S+) proto=tcp decoy=(\S+) id=(\S+)/.exec(
        line,
      )!;
      await fail2ban.waitForBan(attacker.ipv6);
      const record = `${honeyport.logFile}.record`;
      const recorded = await waitFor(() => existsSync(record) && readFileSync(record, 'utf8'), {
        deadlineMs: 10_000,
        what: 'the action to record a ban',
      });
      assert.equal(recorded, `${wanted.join(' ')}\n`);
      assert.deepEqual(wanted.slice(2, 5), [sensor.ipv6, String(SSH), 'ssh']);
    });

    test('lines of other events never ban, whatever they hold', async (context) => {
      const { log, fail2ban } = await watchFile(context, {
        release,
        jails: '[honeyport]\nenabled = true\nlogpath = LOG\n',
      });
      appendFileSync(log, [...harmlessLines(), line(`connect ${endpoints('198.51.100.99')}`), ''].join('\n'));
      await fail2ban.waitForBan('198.51.100.99');
      assert.deepEqual(fail2ban.banned(), ['198.51.100.99']);
    });

    test('copying our files again keeps the bans, and removing them takes the bans back', async (context) => {
      const { log, fail2ban } = await watchFile(context, {
        release,
        jails: '',
        files: { 'jail.d/honeyport.local': '[honeyport]\nenabled = true\nlogpath = LOG\n' },
      });
      const etc = fail2ban.configuration;
      appendFileSync(log, `${line(`connect ${endpoints('198.51.100.99')}`)}\n`);
      await fail2ban.waitForBlock('198.51.100.99');

      copyShipped(etc);
      fail2ban.client('reload', '--restart', '--all');
      const events = () =>
        fail2ban.banLines().map((text) => / (ban|unban) src=198\.51\.100\.99 /.exec(text)?.[1]);
      await waitFor(() => events().length === 3, { deadlineMs: 20_000, what: 'the ban to be restored' });
      assert.deepEqual(events(), ['ban', 'unban', 'ban']);
      assert.deepEqual(fail2ban.banned(), ['198.51.100.99']);
      assert.match(fail2ban.ruleset(), /198\.51\.100\.99/);

      const shipped = readdirSync(SHIPPED_DIR, { recursive: true, encoding: 'utf8' });
      const files = shipped.filter((name) => /\.(?:conf|py)$/.test(name));
      for (const file of [...files, 'jail.d/honeyport.local']) rmSync(join(etc, file));
      fail2ban.client('reload');
      assert.match(fail2ban.client('status'), /Number of jail:\s+0$/m);
      assert.equal(fail2ban.ruleset(), '');
      assert.match(fail2ban.banLines().at(-1)!, / unban src=198\.51\.100\.99 reason=stop /);
    });

    test('the jail that nobody enabled yet does not stop fail2ban, though its log does not exist', async (context) => {
      const jails = '[other]\nenabled = true\nfilter = honeyport\nlogpath = LOG\n';
      const { fail2ban } = await watchFile(context, { release, jails });
      assert.match(fail2ban.client('status'), /Jail list:\s+other$/m);
    });
  });
}

async function setStage(context: TestContext, options: StageOptions): Promise<Stage> {
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  const honeyport = await startHoneyport({ config: CONFIGURATION, namespace: network.sensor.namespace, dir });
  cleanUp(() => honeyport.stop());
  const fail2ban = await watch(network, honeyport.logFile, options);
  cleanUp(fail2ban.dispose);
  return { network, honeyport, fail2ban };
}

/** The same without a listener: the test itself writes the log. */
async function watchFile(
  context: TestContext,
  options: StageOptions,
): Promise<{ log: string; fail2ban: Fail2ban }> {
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  const log = join(dir, 'honeyport.log');
  writeFileSync(log, '');
  const fail2ban = await watch(network, log, options);
  cleanUp(fail2ban.dispose);
  return { log, fail2ban };
}

function watch(network: Network, log: string, options: StageOptions): Promise<Fail2ban> {
  const { release = 'host', jails, files = {} } = options;
  const located = Object.entries(files).map(([name, text]) => [name, text.replaceAll('LOG', log)]);
  return startFail2ban({
    network,
    release,
    jails: jails.replaceAll('LOG', log),
    files: Object.fromEntries(located),
    binds: [dirname(log)],
  });
}

/** The example that the jail's comment gives, without the comment signs. */
function shippedExample(): string {
  const text = readFileSync(join(SHIPPED_DIR, 'jail.d/honeyport.conf'), 'utf8');
  const lines = text.slice(text.indexOf('#   [honeyport-ssh]')).split('\n');
  const end = lines.findIndex((line) => !line.startsWith('#   '));
  return lines
    .slice(0, end)
    .map((line) => line.slice(4))
    .join('\n');
}

/** How long a jail bans an address; fail2ban-client says `ADDRESS START + SECONDS = END`. */
function banSeconds(fail2ban: Fail2ban, jail: string, address: string): number {
  const bans = fail2ban.client('get', jail, 'banip', '--with-time').split('\n');
  const ban = bans.find((text) => text.startsWith(`${address} `)) ?? '';
  return Number(/ \+ (\d+) = /.exec(ban)?.[1]);
}

/** A line of now: fail2ban ignores what is older than findtime. */
function line(message: string): string {
  return `${new Date().toISOString().replace('Z', '+00:00')} web-1 honeyport[812]: ${message}`;
}

function endpoints(source: string): string {
  return `src=${source} spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42`;
}

function harmlessLines(): string[] {
  const bannable = `connect ${endpoints('198.51.100.66')} ttl=52`;
  const texts = [bannable, line(bannable), `\\"\\x0a${line(bannable)}`, `\\\\\\" ${bannable}`];
  const data = texts.map((text) => `data ${endpoints('198.51.100.1')} bytes=9 guess=unknown text="${text}"`);
  return [
    ...data,
    `allowed ${endpoints('198.51.100.2')} by=198.51.100.0/24`,
    `withheld ${endpoints('198.51.100.3')} reason=cookie`,
    `close ${endpoints('198.51.100.4')} duration_ms=3 rx=9 tx=0 by=peer`,
    'suppressed src=198.51.100.5 count=3 dpt=23 reason=rate id=7f3k9q2x.43',
    'reload result=applied decoys=2 ports=2 id=7f3k9q2x.44',
  ].map(line);
}
