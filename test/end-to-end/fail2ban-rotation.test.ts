import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { findOtherLogs } from '../../src/system/log-readers.ts';
import {
  type Fail2ban,
  RELEASES,
  type Release,
  startFail2ban,
  temporaryDirectory,
} from '../support/fail2ban.ts';
import { startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, runLoad } from '../support/load.ts';
import { cleanUpAfter, createNetwork, type Network } from '../support/namespaces.ts';
import { requireProgram } from '../support/programs.ts';
import { fillDisk, mountTinyDisk } from '../support/tiny-disk.ts';
import { waitFor } from '../support/wait.ts';

const LOGROTATE_FILE = fileURLToPath(new URL('../../logrotate.d/honeyport', import.meta.url));
const BACKENDS = ['pyinotify', 'polling'] as const;
const PORT = 2323;
const CONFIGURATION = `sensor: web-1
decoys: [{ name: telnet, ports: ${PORT} }]
log: { file: { path: LOG }, console: off }
limits: { lines_per_source: off, lines: off }
`;
const NOBODY = 65_534;
const NOTHING = { missing: [], duplicated: [], invented: [] };
/** Thousands of lines take fail2ban some seconds, and a loaded machine takes longer. */
const DEADLINE_MS = 60_000;
/** Looking costs fail2ban some of its time, with many bans more than a little. */
const LOOK_EVERY_MS = 200;
const LOOK_AT_MANY_EVERY_MS = 1000;
/** Enough that fail2ban is in the midst of them for more than a second. */
const MANY = 15_000;

/** Bans in fail2ban's own list alone, which is quick: what blocks is tested elsewhere. */
const WATCHED = 'honeyport_rotation.py';
const UNWATCHED = 'nothing';
/** From the first ban on, as at the end of fail2ban: what writes bans into the database is gone, and bans go on. */
const UNRECORDED = `from fail2ban.server.action import ActionBase
from fail2ban.server.observer import Observers

class Action(ActionBase):
    def __init__(self, jail, name, **options):
        super().__init__(jail, name)

    def ban(self, aInfo):
        Observers.Main = None
`;

/** A log that a real fail2ban reads. */
interface Stage {
  readonly network: Network;
  readonly release: Release;
  readonly dir: string;
  readonly log: string;
  readonly fail2ban: Fail2ban;
  readonly cleanUp: (step: () => unknown) => void;
}

interface StageOptions {
  readonly release: Release;
  readonly backend?: (typeof BACKENDS)[number];
  readonly action?: string;
  /** More of jail.local, where `LOG` stands for the log's path. */
  readonly jails?: string;
}

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, {
    concurrency: 3,
  }, () => {
    for (const backend of BACKENDS) {
      test(`three rotations by logrotate under load lose no line and no ban, read by ${backend}`, async (context) => {
        const stage = await setStage(context, { release, backend });
        const { network, fail2ban, log, dir } = stage;
        network.addSources('198.18.0.0/16');
        const { namespace, ipv4: address } = network.sensor;
        const honeyport = await startHoneyport({ config: CONFIGURATION, namespace, dir });
        stage.cleanUp(() => honeyport.stop());
        const generations = [log, ...[1, 2, 3].flatMap((n) => [`${log}.${n}`, `${log}.${n}.gz`])];
        const lines = () => generations.flatMap(connects);
        const load = runLoad({
          namespace: network.attacker.namespace,
          address,
          ports: PORT,
          count: 4000,
          rate: 1000,
          concurrency: 64,
          mode: 'rst',
          firstSource: '198.18.0.1',
        });
        const rotate = logrotate(dir);
        for (const n of [1, 2, 3]) {
          await waitFor(() => lines().length >= n * 900, { deadlineMs: DEADLINE_MS, what: 'the load' });
          rotate();
        }
        const { established } = await load;
        await waitFor(() => lines().length >= established.length, {
          deadlineMs: DEADLINE_MS,
          what: () => `${established.length} lines, got ${lines().length}`,
        });
        assert.deepEqual(compareLogWithManifest(lines(), established), NOTHING);
        await waitForBans(
          fail2ban,
          established.map(({ src }) => src),
        );
        await waitForTidiness(stage);
      });

      test(`lines that the writer adds to the renamed file ban their sources, read by ${backend}`, async (context) => {
        const stage = await setStage(context, { release, backend });
        const { log, fail2ban } = stage;
        write(log, ['198.51.100.1']);
        await fail2ban.waitForBan('198.51.100.1');
        renameSync(log, `${log}.1`);
        write(log, ['198.51.100.2']);
        write(`${log}.1`, ['198.51.100.3']);
        await waitForBans(fail2ban, ['198.51.100.1', '198.51.100.2', '198.51.100.3']);
        await waitForTidiness(stage);
        // a line in two parts
        const text = line('198.51.100.4');
        appendFileSync(`${log}.1`, text.slice(0, 70));
        await moveOn(stage, '198.51.100.5');
        appendFileSync(`${log}.1`, text.slice(70));
        await fail2ban.waitForBan('198.51.100.4');
        await waitForTidiness(stage);
      });

      test(`a reload in the midst of what was left of a log loses no ban, read by ${backend}`, async (context) => {
        const stage = await setStage(context, { release, backend });
        const { fail2ban } = stage;
        const sources = await leave(stage, MANY);
        await waitFor(() => existsSync(spoolOf(stage)), { deadlineMs: DEADLINE_MS, what: 'the spool' });
        fail2ban.client('reload');
        fail2ban.client('reload');
        await waitForBans(fail2ban, sources);
        await waitForTidiness(stage);
      });
    }

    test('without the action the same rotation does lose lines', async (context) => {
      const { log, fail2ban } = await setStage(context, { release, action: UNWATCHED });
      write(log, ['198.51.100.1']);
      await fail2ban.waitForBan('198.51.100.1');
      renameSync(log, `${log}.1`);
      write(`${log}.1`, ['198.51.100.3']);
      for (const source of ['198.51.100.2', '198.51.100.4']) {
        write(log, [source]);
        await fail2ban.waitForBan(source);
      }
      assert.ok(!fail2ban.banned().includes('198.51.100.3'));
    });

    test('a log that is deleted, and one that is rotated twice at once, lose no ban', async (context) => {
      const stage = await setStage(context, { release });
      const { log, fail2ban } = stage;
      write(log, ['198.51.100.1']);
      unlinkSync(log);
      write(log, ['198.51.100.2']);
      await fail2ban.waitForBan('198.51.100.1');
      await fail2ban.waitForBan('198.51.100.2');
      write(log, ['198.51.100.3']);
      renameSync(log, `${log}.1`);
      write(log, ['198.51.100.4']);
      renameSync(`${log}.1`, `${log}.2`);
      renameSync(log, `${log}.1`);
      write(log, ['198.51.100.5']);
      await waitForBans(
        fail2ban,
        [1, 2, 3, 4, 5].map((n) => `198.51.100.${n}`),
      );
      await waitForTidiness(stage);
    });

    test('who was unbanned by hand is not banned by older lines, and is by a new one', async (context) => {
      const stage = await setStage(context, { release });
      const { log, fail2ban } = stage;
      const unbanned = ['198.51.100.1', '2001:db8::1'];
      const older = unbanned.map(line);
      const early = line('198.51.100.3');
      appendFileSync(log, older.join(''));
      for (const source of unbanned) {
        await fail2ban.waitForBan(source);
        fail2ban.client('set', 'honeyport', 'unbanip', source);
      }
      const others = [...burst(stage, 300), '198.51.100.3'];
      await moveOn(stage, '198.51.100.3');
      // As if they were read a second time; the last form has a time that the action does not read.
      appendFileSync(`${log}.1`, [...older, traditional(unbanned[0]!)].join(''));
      write(`${log}.1`, ['198.51.100.2']);
      await waitForBans(fail2ban, [...others, '198.51.100.2']);
      await waitForTidiness(stage);
      write(`${log}.1`, unbanned);
      await waitForBans(fail2ban, [...others, '198.51.100.2', ...unbanned]);

      fail2ban.client('unban', '--all');
      appendFileSync(`${log}.1`, [...older, early].join(''));
      write(`${log}.1`, ['198.51.100.2']);
      await fail2ban.waitForBan('198.51.100.2');
      await waitForTidiness(stage);
      assert.deepEqual(fail2ban.banned(), ['198.51.100.2']);
    });

    test('a knock, its ban, its unban by hand and a rotation, one after the other, leave the source alone', async (context) => {
      const stage = await setStage(context, { release });
      const { log, fail2ban } = stage;
      for (const n of [1, 2, 3]) {
        write(log, ['198.51.100.1']);
        await fail2ban.waitForBan('198.51.100.1');
        fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.1');
        const others = burst(stage, 20, n);
        const areBanned = () => {
          const banned = new Set(fail2ban.banned());
          return others.every((source) => banned.has(source));
        };
        await waitFor(areBanned, { deadlineMs: DEADLINE_MS, everyMs: LOOK_EVERY_MS, what: 'the others' });
        assert.ok(!fail2ban.banned().includes('198.51.100.1'));
      }
    });

    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      test(`an end of fail2ban by ${signal} right after a rotation loses no ban`, async (context) => {
        const stage = await setStage(context, { release });
        const { log, fail2ban } = stage;
        // Unbanned for good, whatever the next start reads again.
        write(log, ['198.51.100.1']);
        await fail2ban.waitForBan('198.51.100.1');
        fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.1');
        await waitFor(() => readFileSync(stateOf(stage), 'utf8').includes('198.51.100.1'), {
          deadlineMs: DEADLINE_MS,
          what: 'the unban in the state',
        });
        const sources = await leave(stage, MANY);
        await waitFor(() => existsSync(spoolOf(stage)), { deadlineMs: DEADLINE_MS, what: 'the spool' });
        await fail2ban.stop(signal);
        write(`${log}.1`, ['198.51.100.2']);
        await fail2ban.start();
        const first = [...sources, '198.51.100.2'];
        await waitForBans(fail2ban, first);
        await waitForTidiness(stage);
        // before the action has seen the rotation
        const more = burst(stage, 500, 1);
        await fail2ban.stop(signal);
        await fail2ban.start();
        await waitForBans(fail2ban, [...first, ...more]);
        await waitForTidiness(stage);
      });
    }

    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      test(`an end of fail2ban by ${signal} while it still has to make bans, and a rotation, lose none`, async (context) => {
        const stage = await setStage(context, { release, action: `${WATCHED}\n  slow` });
        const { log, fail2ban } = stage;
        const sources = Array.from({ length: 12 }, (_, i) => `198.51.100.${i}`);
        write(log, sources);
        await waitFor(() => fail2ban.log().includes('Ban 198.51.100.8'), {
          deadlineMs: DEADLINE_MS,
          what: 'the first bans',
        });
        rotateByHand(log);
        write(log, ['198.51.100.12']);
        await fail2ban.stop(signal);
        await fail2ban.start();
        await waitForBans(fail2ban, [...sources, '198.51.100.12']);
        await waitForTidiness(stage);
      });
    }

    test('bans that fail2ban makes at its end, when nothing records them any more, are made at the next start', async (context) => {
      const stage = await setStage(context, { release, action: `${WATCHED}\n  unrecorded.py\n  slow` });
      const { log, fail2ban } = stage;
      const sources = Array.from({ length: 4 }, (_, i) => `198.51.100.${i}`);
      write(log, sources);
      await waitFor(() => fail2ban.log().includes('Ban 198.51.100.3'), {
        deadlineMs: DEADLINE_MS,
        what: 'the last ban',
      });
      // As long as the action looks for changes twice, so that it could take all bans for made.
      await delay(1000);
      await fail2ban.stop('SIGTERM');
      await fail2ban.start();
      await waitForBans(fail2ban, sources);
    });

    test('rotations while fail2ban is stopped lose no ban', async (context) => {
      const stage = await setStage(context, { release });
      const { log, fail2ban } = stage;
      write(log, ['198.51.100.1']);
      await fail2ban.waitForBan('198.51.100.1');
      // Forgotten by the database as well: only lines that are read ban again.
      fail2ban.client('set', 'honeyport', 'unbanip', '198.51.100.1');
      await waitFor(() => savedPosition(stage) === statSync(log).size, {
        deadlineMs: DEADLINE_MS,
        what: 'the position in the state',
      });
      await fail2ban.stop();
      for (const n of [2, 3, 4]) {
        write(log, [`198.51.100.${n}`]);
        rotateByHand(log);
      }
      write(log, ['198.51.100.5']);
      await fail2ban.start();
      await waitForBans(
        fail2ban,
        [2, 3, 4, 5].map((n) => `198.51.100.${n}`),
      );
      await waitForTidiness(stage);
      assert.equal(fail2ban.log().split('Found 198.51.100.1 ').length - 1, 1, 'read a second time');
    });

    test('two jails on one log, one with an odd name, both get all', async (context) => {
      const other = 'decoys/50_50';
      const jails = `[${other}]\nenabled = true\nfilter = honeyport\nlogpath = LOG\nmaxretry = 1\nbackend = polling\naction = ${WATCHED}\n`;
      const stage = await setStage(context, { release, jails });
      const sources = burst(stage, 500);
      write(`${stage.log}.1`, ['198.51.100.1']);
      for (const jail of ['honeyport', other]) {
        await waitForBans(stage.fail2ban, [...sources, '198.51.100.1'], jail);
        await waitForTidiness(stage, jail);
      }
    });
  });
}

test('a spool directory that is full: lines wait until there is room', async (context) => {
  const disk = mountTinyDisk(context, 256);
  const stage = await setStage(context, {
    release: 'host',
    action: `honeyport_rotation.py[spool="${disk}"]`,
  });
  const { fail2ban } = stage;
  const ballast = fillDisk(disk);
  const sources = await leave(stage, 100);
  await waitFor(() => fail2ban.log().includes('No space left on device'), {
    deadlineMs: DEADLINE_MS,
    what: 'the complaint',
  });
  rmSync(ballast);
  await waitForBans(fail2ban, sources);
  await waitForTidiness(stage);
});

test('a jail that reads the journal has no use for the action, and is none the worse for it', async (context) => {
  const jails = `[journal]\nenabled = true\nfilter = honeyport\nbackend = systemd\naction = ${WATCHED}\n`;
  const stage = await setStage(context, { release: 'host', jails });
  await waitForBans(stage.fail2ban, burst(stage, 10));
  assert.equal(existsSync(stateOf(stage, 'journal')), false);
  assert.equal(errors(stage.fail2ban), '');
});

test('the file for logrotate names the default log, and leaves an empty log of the same user', (context) => {
  const dir = temporaryDirectory();
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, 'logrotate.d'));
  cpSync(LOGROTATE_FILE, join(dir, 'logrotate.d/honeyport'));
  assert.deepEqual(findOtherLogs('/var/log/honeyport/honeyport.log', dir), []);
  assert.equal(findOtherLogs('/var/log/other.log', dir).length, 1);

  chmodSync(dir, 0o755);
  chownSync(dir, NOBODY, NOBODY);
  const log = join(dir, 'honeyport.log');
  const bans = join(dir, 'bans.log');
  for (const file of [log, bans]) writeFileSync(file, 'text\n', { mode: 0o640 });
  chownSync(log, NOBODY, NOBODY);
  logrotate(dir)();
  for (const [file, owner] of [
    [log, NOBODY],
    [bans, 0],
  ] as const) {
    const { size, uid, gid, mode } = statSync(file);
    assert.deepEqual(
      { size, uid, gid, mode: mode & 0o777 },
      { size: 0, uid: owner, gid: owner, mode: 0o640 },
    );
    assert.equal(readFileSync(`${file}.1`, 'latin1'), 'text\n');
  }
});

test('an option that is wrong is refused, and an action added to a running jail works', async (context) => {
  const stage = await setStage(context, { release: 'host', action: UNWATCHED });
  const { fail2ban } = stage;
  const file = join(fail2ban.directory, 'etc/action.d/honeyport_rotation.py');
  const add = (options: object) =>
    fail2ban.client('set', 'honeyport', 'addaction', 'rotation', file, JSON.stringify(options));
  assert.throws(() => add({ spool: 'here' }), /spool: expected the absolute path of a directory, got 'here'/);
  assert.throws(() => add({ spol: '/tmp' }), /unexpected keyword argument 'spol'/);
  add({ port: '1:65535', protocol: 'tcp', name: 'honeyport', chain: 'INPUT' });
  await waitFor(() => existsSync(stateOf(stage)), { deadlineMs: DEADLINE_MS, what: 'the state' });
  await waitForBans(fail2ban, burst(stage, 50));
  await waitForTidiness(stage);
});

/** An empty log with a fail2ban that reads it, and nobody who writes it yet. */
async function setStage(context: TestContext, options: StageOptions): Promise<Stage> {
  const { release, backend = 'pyinotify', action = WATCHED, jails = '' } = options;
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  const log = join(dir, 'honeyport.log');
  writeFileSync(log, '');
  const fail2ban = await startFail2ban({
    network,
    release,
    jails:
      `[honeyport]\nenabled = true\nbackend = ${backend}\nlogpath = LOG\naction = ${action}\n\n${jails}`.replaceAll(
        'LOG',
        log,
      ),
    files: {
      [`action.d/${UNWATCHED}.conf`]: '[Definition]\n',
      'action.d/slow.conf': '[Definition]\nactionban = sleep 0.4\n',
      'action.d/unrecorded.py': UNRECORDED,
    },
    binds: [dir],
  });
  cleanUp(fail2ban.dispose);
  // It has looked at the log: what is lost is lost by the rotation, not by a start.
  if (action.startsWith(WATCHED)) {
    const spool = /spool="([^"]+)"/.exec(action)?.[1];
    await waitFor(() => existsSync(stateOf({ fail2ban }, 'honeyport', spool)), {
      deadlineMs: DEADLINE_MS,
      what: 'the action to begin',
    });
  }
  return { network, release, dir, log, fail2ban, cleanUp };
}

/** What rotates a directory's logs as our file for logrotate says, but for the place. */
function logrotate(dir: string): () => void {
  const text = readFileSync(LOGROTATE_FILE, 'utf8');
  const file = join(dir, 'logrotate.conf');
  writeFileSync(file, text.replace(/^\/var\/log\/honeyport\//m, `${dir}/`));
  return () => {
    execFileSync(requireProgram('logrotate'), ['--state', join(dir, 'logrotate.state'), '--force', file], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  };
}

/** Names as logrotate's, of which fail2ban sees nothing until it is started. */
function rotateByHand(log: string): void {
  for (const n of [3, 2, 1]) if (existsSync(`${log}.${n}`)) renameSync(`${log}.${n}`, `${log}.${n + 1}`);
  renameSync(log, `${log}.1`);
}

/** Writes lines of as many sources and renames the log in the same instant. @returns the sources */
function burst({ log }: Stage, count: number, network = 0): string[] {
  const sources = Array.from({ length: count }, (_, i) => `198.${18 + network}.${i >> 8}.${i & 255}`);
  write(log, sources);
  renameSync(log, `${log}.1`);
  writeFileSync(log, '');
  return sources;
}

/** Rotates, and has the writer add many lines to the renamed file. @returns all sources */
async function leave(stage: Stage, count: number): Promise<string[]> {
  const { log } = stage;
  renameSync(log, `${log}.1`);
  await moveOn(stage, '198.51.100.9');
  const sources = Array.from({ length: count }, (_, i) => `198.18.${i >> 8}.${i & 255}`);
  write(`${log}.1`, sources);
  return [...sources, '198.51.100.9'];
}

/** A ban from the new log: fail2ban does not read the old one any more, by itself. */
async function moveOn({ log, fail2ban }: Stage, source: string): Promise<void> {
  write(log, [source]);
  await fail2ban.waitForBan(source);
}

function write(log: string, sources: readonly string[]): void {
  appendFileSync(log, sources.map(line).join(''));
}

let lines = 0;

/** Each is another one: fail2ban tells files by their first lines. */
function line(source: string): string {
  lines += 1;
  const time = new Date().toISOString().replace('Z', '+00:00');
  return `${time} web-1 honeyport[812]: ${message(source)}\n`;
}

/** The form of RSYSLOG_TraditionalFileFormat, in local time. */
function traditional(source: string): string {
  lines += 1;
  const [, month, day, , time] = new Date().toString().split(' ');
  return `${month} ${day} ${time} web-1 honeyport[812]: ${message(source)}\n`;
}

function message(source: string): string {
  return `connect src=${source} spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.${lines}`;
}

function connects(file: string): string[] {
  if (!existsSync(file)) return [];
  const bytes = readFileSync(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1');
  return text.split('\n').filter((text) => text.includes(': connect '));
}

function spoolOf({ fail2ban }: Pick<Stage, 'fail2ban'>, jail = 'honeyport'): string {
  return join(fail2ban.directory, `honeyport-rotation-${encodeURIComponent(jail)}.log`);
}

function stateOf(stage: Pick<Stage, 'fail2ban'>, jail = 'honeyport', directory = ''): string {
  return join(directory || stage.fail2ban.directory, `honeyport-rotation-${encodeURIComponent(jail)}.state`);
}

/** How far the log is read, as the action keeps it. */
function savedPosition(stage: Stage): number {
  return JSON.parse(readFileSync(stateOf(stage), 'utf8')).files.at(-1)?.[2];
}

/** Waits until exactly these are banned. */
async function waitForBans(fail2ban: Fail2ban, sources: readonly string[], jail?: string): Promise<void> {
  const wanted = new Set(sources);
  const missing = () => {
    const banned = new Set(fail2ban.banned(jail));
    return [...wanted].filter((source) => !banned.has(source));
  };
  await waitFor(() => fail2ban.banned(jail).length >= wanted.size, {
    deadlineMs: DEADLINE_MS,
    everyMs: wanted.size < MANY ? LOOK_EVERY_MS : LOOK_AT_MANY_EVERY_MS,
    what: () =>
      `${missing().length} of ${wanted.size} bans, as ${missing().slice(0, 5)}\n${errors(fail2ban)}`,
  });
  assert.deepEqual(fail2ban.banned(jail).sort(), [...wanted].sort());
}

/** Waits until fail2ban reads nothing but the log again, and nothing is left of what it read beside. */
async function waitForTidiness(stage: Stage, jail = 'honeyport'): Promise<void> {
  const { fail2ban, log } = stage;
  const files = () => /File list:\s*(.*)/.exec(fail2ban.client('status', jail))?.[1]?.trim();
  await waitFor(() => files() === log && !existsSync(spoolOf(stage, jail)), {
    deadlineMs: DEADLINE_MS,
    everyMs: LOOK_EVERY_MS,
    what: () => `${log} to be all that is read, not ${files()}`,
  });
  assert.deepEqual(
    readdirSync(dirname(spoolOf(stage))).filter((name) => name.endsWith('.new')),
    [],
  );
  assert.equal(errors(fail2ban), '');
}

/** The action's own complaints, and fail2ban's about what it did. */
function errors(fail2ban: Fail2ban): string {
  return fail2ban
    .log()
    .split('\n')
    .filter((text) => /fail2ban\.Action .* ERROR |ERROR .*unhandled/.test(text))
    .filter((text) => !text.includes('No space left'))
    .join('\n');
}
