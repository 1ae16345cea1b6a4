import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connectLine } from '../support/ban-burst.ts';
import { startBans } from '../support/bans.ts';
import { debian13Root } from '../support/debian13.ts';
import {
  recorded,
  recordedAddresses,
  recording,
  startRecording,
  untilRecorded,
} from '../support/dome9-record.ts';
import { manyAddresses } from '../support/dome9-service.ts';
import { type Fail2ban, RELEASES, SHIPPED_DIR } from '../support/fail2ban.ts';
import { requireProgram } from '../support/programs.ts';
import { fillDisk, mountTinyDisk } from '../support/tiny-disk.ts';
import { waitFor } from '../support/wait.ts';

const [ADDRESS, OTHER, ADDRESS6] = ['198.51.100.7', '198.51.100.8', '2001:db8::7'];
const HOUR_SECONDS = 3600;
const DEADLINE_MS = 30_000;
/** Neither root nor the owner of anything else. */
const SERVICE_USER = 64_321;

/** What the action tells of itself. */
function told(fail2ban: Fail2ban, property: 'wanted' | 'waiting', jail = 'honeyport'): number {
  return Number(fail2ban.client('get', jail, 'action', 'honeyport-dome9', property));
}

async function untilTold(fail2ban: Fail2ban, wanted: number): Promise<void> {
  await waitFor(() => told(fail2ban, 'wanted') === wanted && told(fail2ban, 'waiting') === 0, {
    deadlineMs: DEADLINE_MS,
    everyMs: 100,
    what: `${wanted} bans that the action has recorded`,
  });
}

// made on the first run ever, in a minute or two in which nothing else could go on in this process
before(() => void debian13Root());

// each waits for most of its time
describe('the record', { concurrency: 4 }, () => {
  for (const release of RELEASES) {
    describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, {
      concurrency: 2,
    }, () => {
      test('a ban stands in the record with its decoy port, event and end, beside what the shipped jail does, until it is lifted', async (context) => {
        const { state, knock, fail2ban, waitForHeld, dir } = await startRecording(context, release);
        assert.ok(
          /honeyport_rotation/.test(fail2ban.client('get', 'honeyport', 'actions')),
          'the rotation stays',
        );
        const id = knock(ADDRESS);
        const id6 = knock(ADDRESS6);
        await waitForHeld(ADDRESS);
        await untilRecorded(state, [ADDRESS, ADDRESS6]);
        const text = readFileSync(join(state, 'wanted/honeyport.json'), 'utf8');
        const [first] = recorded(state).bans as { since: number }[];
        const ends = (ban: unknown) =>
          `"since":${(ban as { since: number }).since},"until":${(ban as { since: number }).since + HOUR_SECONDS}`;
        const second = recorded(state).bans[1];
        assert.equal(
          text,
          `{"version":1,"jail":"honeyport","leftOut":0,"bans":[
{"ip":"${ADDRESS}",${ends(first)},"dpt":23,"decoy":"telnet","id":"${id}"},
{"ip":"${ADDRESS6}",${ends(second)},"dpt":23,"decoy":"telnet","id":"${id6}"}
]}
`,
        );
        assert.ok(Math.abs(first!.since - Date.now() / 1000) < 60, `${first!.since}`);
        assert.equal(fail2ban.client('get', 'honeyport', 'action', 'honeyport-dome9', 'wanted').trim(), '2');
        fail2ban.client('set', 'honeyport', 'unbanip', ADDRESS);
        await untilRecorded(state, [ADDRESS6]);
        fail2ban.client('set', 'honeyport', 'banip', '203.0.113.0/24', '::ffff:192.0.2.9');
        await untilRecorded(state, [ADDRESS6, '203.0.113.0/24', '192.0.2.9']);
        const byHand = recorded(state).bans.find(({ ip }) => ip === '203.0.113.0/24')!;
        assert.deepEqual(Object.keys(byHand), ['ip', 'since', 'until']);
        fail2ban.client('unban', '--all');
        await untilRecorded(state, []);
        assert.equal(
          readFileSync(join(state, 'wanted/honeyport.json'), 'utf8'),
          '{"version":1,"jail":"honeyport","leftOut":0,"bans":[\n]}\n',
        );
        assert.deepEqual(readdirSync(join(state, 'wanted')), ['honeyport.json']);
        assert.doesNotMatch(fail2ban.log(), /Traceback|ERROR .*dome9/, dir);
      });

      test('a restart and a crash of fail2ban keep what is wanted, and what was lifted meanwhile goes', async (context) => {
        const { state, knock, fail2ban } = await startRecording(context, release);
        const file = join(state, 'wanted/honeyport.json');
        for (const address of [ADDRESS, ADDRESS6]) knock(address);
        await untilRecorded(state, [ADDRESS, ADDRESS6]);
        const before = statSync(file);
        const text = readFileSync(file, 'utf8');
        await fail2ban.stop();
        assert.equal(readFileSync(file, 'utf8'), text);
        await fail2ban.start();
        // the ban of another one is recorded with what was restored
        knock(OTHER);
        await untilRecorded(state, [ADDRESS, ADDRESS6, OTHER]);
        const kept = recorded(state).bans.find(({ ip }) => ip === ADDRESS);
        assert.ok(text.includes(JSON.stringify(kept)), `${JSON.stringify(kept)} was not in ${text}`);
        assert.notEqual(statSync(file).ino, before.ino);
        await fail2ban.stop('SIGKILL');
        const stale = readFileSync(file, 'utf8').replace(OTHER, '203.0.113.77');
        writeFileSync(file, stale);
        writeFileSync(join(state, 'wanted/.honeyport-honeyport.json.1'), 'half');
        await fail2ban.start();
        await untilRecorded(state, [ADDRESS, ADDRESS6, OTHER]);
        assert.deepEqual(readdirSync(join(state, 'wanted')), ['honeyport.json']);
      });
    });
  }

  for (const release of RELEASES) {
    test(`a ban that ${release} fail2ban makes longer, as its source was banned before, is recorded with its new end`, async (context) => {
      // fail2ban bans for 5 s as ever, and looks only then how often it has banned before
      const more = 'bantime = 5\nbantime.increment = true\nbantime.multipliers = 1 40\n';
      const stage = await startRecording(context, release, recording(undefined, { more }));
      const { state, knock, fail2ban, waitForLog } = stage;
      knock(ADDRESS);
      await waitForLog(new RegExp(`NOTICE +\\[honeyport\\] Unban ${ADDRESS}`));
      await untilRecorded(state, []);
      knock(ADDRESS);
      const length = () => {
        const [ban] = recorded(state).bans as { since: number; until: number }[];
        return ban!.until - ban!.since;
      };
      await waitFor(() => length() === 200, {
        deadlineMs: DEADLINE_MS,
        what: () => `a ban of 200 s in the record, which has ${JSON.stringify(recorded(state).bans)}`,
      });
      assert.deepEqual(fail2ban.banned(), [ADDRESS]);
    });
  }

  test('a file that would be the same is left alone, and a stop writes what is new and lifts nothing', async (context) => {
    const { state, knock, fail2ban } = await startRecording(context);
    const file = join(state, 'wanted/honeyport.json');
    const identity = () => `${statSync(file).ino} ${statSync(file).mtimeMs} ${readFileSync(file, 'utf8')}`;
    knock(ADDRESS6);
    fail2ban.client('set', 'honeyport', 'banip', OTHER);
    // fail2ban's database rounds times, up in the second half of a second
    await delay(1500 - (Date.now() % 1000));
    fail2ban.client('set', 'honeyport', 'banip', ADDRESS);
    await untilRecorded(state, [ADDRESS, ADDRESS6, OTHER]);
    await untilTold(fail2ban, 3);
    fail2ban.client('set', 'honeyport', 'unbanip', OTHER);
    await fail2ban.stop();
    assert.deepEqual(
      recordedAddresses(state),
      [ADDRESS, ADDRESS6],
      'what changed just before the stop is not recorded',
    );
    const before = identity();
    await fail2ban.start();
    await untilTold(fail2ban, 2);
    assert.equal(identity(), before, 'the same bans were written anew after a restart');
    fail2ban.client('reload', '--restart', 'honeyport');
    await untilTold(fail2ban, 2);
    assert.equal(identity(), before, 'the same bans were written anew after a restart of the jail');
    fail2ban.client('reload', '--unban', 'honeyport');
    await untilRecorded(state, []);
    fail2ban.client('set', 'honeyport', 'banip', OTHER);
    await untilRecorded(state, [OTHER]);
    fail2ban.client('stop', 'honeyport');
    assert.deepEqual(recordedAddresses(state), [OTHER], 'the stop of the jail lifted the ban');
  });

  test('what is lifted right after a start is out of the record, also when a stop comes at once', async (context) => {
    const { state, knock, fail2ban } = await startRecording(context);
    for (const address of [ADDRESS, ADDRESS6, OTHER]) knock(address);
    await untilRecorded(state, [ADDRESS, ADDRESS6, OTHER]);
    const restart = async () => {
      await fail2ban.stop();
      await fail2ban.start();
      await waitFor(() => fail2ban.banned().includes(ADDRESS6), {
        deadlineMs: DEADLINE_MS,
        everyMs: 50,
        what: 'the restored bans',
      });
    };
    await restart();
    fail2ban.client('set', 'honeyport', 'unbanip', ADDRESS);
    await fail2ban.stop();
    assert.deepEqual(recordedAddresses(state), [OTHER, ADDRESS6], 'the lifted one stayed');
    await fail2ban.start();
    await waitFor(() => fail2ban.banned().length === 2, { deadlineMs: DEADLINE_MS, what: 'restored bans' });
    fail2ban.client('unban', '--all');
    await fail2ban.stop();
    assert.deepEqual(recordedAddresses(state), [], 'those that were lifted together stayed');
  });

  test('a running jail that is given the action begins to record when it restarts', async (context) => {
    const stage = await startBans(context, { release: 'host', jails: { honeyport: {} } });
    const { knock, fail2ban, waitForHeld, configure, dir } = stage;
    knock(ADDRESS);
    await waitForHeld(ADDRESS);
    configure({ honeyport: { settings: recording() } });
    fail2ban.client('restart', 'honeyport');
    await untilRecorded(join(dir, 'dome9'), [ADDRESS]);
  });

  test('a source that is found again is recorded with its new end', async (context) => {
    const { state, knock } = await startRecording(context);
    knock(ADDRESS, { ageSeconds: HOUR_SECONDS / 2 });
    await untilRecorded(state, [ADDRESS]);
    const [first] = recorded(state).bans as { since: number; until: number }[];
    knock(ADDRESS);
    const ends = () => (recorded(state).bans as { since: number; until: number }[]).map(({ until }) => until);
    await waitFor(() => ends()[0]! >= first!.until + HOUR_SECONDS / 2 - 60, {
      deadlineMs: DEADLINE_MS,
      what: () => `an end after ${first!.until}, got ${ends()}`,
    });
  });

  test('of more bans than there is room for the newest are recorded, and how many are left out is told once', async (context) => {
    const shipped = readFileSync(join(SHIPPED_DIR, 'action.d/honeyport-dome9.py'), 'utf8');
    const small = shipped.replace('MOST_RECORDED = 100_000', 'MOST_RECORDED = 2');
    assert.notEqual(small, shipped, 'the bound has another name now');
    const { knockTogether, state, fail2ban, waitForLog } = await startRecording(context);
    writeFileSync(join(fail2ban.configuration, 'action.d/honeyport-dome9.py'), small);
    fail2ban.client('reload', '--restart', 'honeyport');
    const ages = [300, 10, 20, 400];
    knockTogether([OTHER, ADDRESS, ADDRESS6, '198.51.100.9'], (index) => ages[index]!);
    await untilRecorded(state, [ADDRESS, ADDRESS6]);
    await waitFor(() => recorded(state).leftOut === 2, {
      deadlineMs: DEADLINE_MS,
      what: () => `2 bans left out, got ${recorded(state).leftOut}`,
    });
    fail2ban.client('set', 'honeyport', 'unbanip', ADDRESS);
    await untilRecorded(state, [ADDRESS6, OTHER]);
    assert.equal(recorded(state).leftOut, 1, 'how many are left out');
    assert.equal(fail2ban.log().match(/only the newest 2 bans are recorded/g)?.length, 1, fail2ban.log());
    fail2ban.client('set', 'honeyport', 'unbanip', OTHER, '198.51.100.9');
    await waitForLog(/NOTICE .*honeyport-dome9: all 1 bans are recorded again/);
  });

  test('a permanent ban has no end, and a jail of another filter has neither port nor event', async (context) => {
    const more = 'bantime = -1\n';
    const jails = {
      honeyport: { settings: recording(undefined, { more }) },
      'other.jail': {
        settings: `filter = plain\n${recording(undefined, { before: '%(action_)s' })}`,
      },
    };
    const files = {
      'filter.d/plain.conf': '[Definition]\nfailregex = ^\\s*\\S+ honeyport\\S+ connect src=<ADDR> ',
    };
    const { knock, dir } = await startBans(context, { release: 'host', jails, files });
    const state = join(dir, 'dome9');
    const id = knock(ADDRESS);
    knock(OTHER, { jail: 'other.jail' });
    await untilRecorded(state, [ADDRESS]);
    const [ban] = recorded(state).bans;
    assert.deepEqual(
      { ...ban, since: 0 },
      { ip: ADDRESS, since: 0, until: null, dpt: 23, decoy: 'telnet', id },
    );
    const name = await waitFor(
      () => readdirSync(join(state, 'wanted')).find((found) => found.startsWith('other_jail.')),
      { deadlineMs: DEADLINE_MS, what: 'the file of the other jail' },
    );
    const jail = name.replace(/\.json$/, '');
    await untilRecorded(state, [OTHER], jail);
    assert.equal(recorded(state, jail).jail, 'other.jail');
    assert.deepEqual(Object.keys(recorded(state, jail).bans[0]!), ['ip', 'since', 'until']);
  });

  test('reloads keep what is wanted, tell wrong options, follow other ones, and empty the record of an action that goes', async (context) => {
    const { state, knock, fail2ban, configure, waitForLog, dir } = await startRecording(context);
    knock(ADDRESS);
    await untilRecorded(state, [ADDRESS]);
    fail2ban.client('reload');
    knock(OTHER);
    await untilRecorded(state, [ADDRESS, OTHER]);
    configure({ honeyport: { settings: recording('state="here"') } });
    fail2ban.client('reload');
    await waitForLog(
      /ERROR .*\[honeyport\] honeyport-dome9: state: expected an absolute path, got 'here'; the options before stay in force/,
    );
    configure({ honeyport: { settings: recording('state="DIR/elsewhere"') } });
    fail2ban.client('reload');
    await untilRecorded(join(dir, 'elsewhere'), [ADDRESS, OTHER]);
    configure({ honeyport: {} });
    fail2ban.client('reload');
    await untilRecorded(join(dir, 'elsewhere'), []);
    assert.deepEqual(fail2ban.banned().sort(), [ADDRESS, OTHER].sort());
  });

  test('wrong options stop neither fail2ban nor the block, and once they are right all bans are recorded', async (context) => {
    const stage = await startRecording(context, 'host', recording('stat="/x"'));
    const { knock, fail2ban, waitForHeld, waitForLog, configure, state } = stage;
    await waitForLog(
      /ERROR .*Expected an option of honeyport-dome9, got stat; nothing is recorded for Dome9/,
    );
    knock(ADDRESS);
    await waitForHeld(ADDRESS);
    configure({ honeyport: { settings: recording() } });
    fail2ban.client('reload');
    await untilRecorded(state, [ADDRESS]);
  });

  test('without its sibling it says so, and what blocks goes on', async (context) => {
    const stage = await startRecording(context);
    const { fail2ban, knock, waitForLog, waitForHeld } = stage;
    await fail2ban.stop();
    const action = join(fail2ban.configuration, 'action.d');
    renameSync(join(action, 'honeyport_nftables.py'), join(action, 'honeyport_other.py'));
    stage.configure({
      honeyport: { settings: 'banaction = honeyport_other.py[log=off]\n'.concat(recording()) },
    });
    await fail2ban.start();
    await waitForLog(/ERROR .*honeyport_nftables\.py of the same release must stand beside this file/);
    knock(ADDRESS);
    await waitForHeld(ADDRESS);
  });

  test('who is allowed is never recorded, also for some ports only, and goes as soon as the list says so', async (context) => {
    const { state, knock, fail2ban, dir, waitForHeld, configure } = await startRecording(context);
    const list = join(dir, 'honeyport-0.allow.json');
    const allow = (...nets: string[]) => {
      const lines = nets.map((net) =>
        JSON.stringify({ net, by: 'test', ...(net.endsWith('.8/32') ? { ports: '22' } : {}) }),
      );
      writeFileSync(`${list}.new`, ['{"version":1,"entries":[', lines.join(',\n'), ']}', ''].join('\n'));
      renameSync(`${list}.new`, list);
    };
    allow(`${OTHER}/32`, '203.0.113.128/25', '2001:db8::/64');
    fail2ban.client('set', 'honeyport', 'banip', '203.0.113.0/24', '203.0.113.200', '203.0.113.3');
    for (const address of [ADDRESS, OTHER, ADDRESS6]) knock(address);
    await waitForHeld(ADDRESS6);
    await untilRecorded(state, [ADDRESS, '203.0.113.3']);
    allow(`${ADDRESS}/32`);
    await untilRecorded(state, [OTHER, ADDRESS6, '203.0.113.0/24', '203.0.113.200', '203.0.113.3']);
    rmSync(list);
    fail2ban.client('set', 'honeyport', 'addignoreip', ADDRESS6);
    const others = [OTHER, '203.0.113.0/24', '203.0.113.200', '203.0.113.3'];
    await untilRecorded(state, others);
    // a reload forgets what was added to ignoreip
    configure({ honeyport: { settings: recording('state="DIR/dome9", allow=off') } });
    fail2ban.client('reload');
    await untilRecorded(state, [ADDRESS, ADDRESS6, ...others]);
  });

  test('while a disk hangs, bans are in nftables as ever, those of another jail, too', async (context) => {
    const disk = mountFreezableDisk(context);
    const options = `state="${disk.directory}"`;
    const jails = {
      honeyport: { settings: recording(options) },
      other: { settings: recording(options, { before: '%(action_)s' }) },
    };
    const { knock, waitForHeld, fail2ban } = await startBans(context, { release: 'host', jails });
    knock(ADDRESS);
    await untilRecorded(disk.directory, [ADDRESS]);
    disk.freeze();
    try {
      for (let burst = 0; burst < 3; burst++) {
        for (const [index, jail] of ['honeyport', 'other'].entries()) {
          const source = `203.0.113.${10 * burst + index}`;
          knock(source, { jail });
          await waitForHeld(source, jail);
          fail2ban.client('set', jail, 'unbanip', source);
        }
      }
      assert.deepEqual(recordedAddresses(disk.directory), [ADDRESS]);
      knock(OTHER);
      await waitForHeld(OTHER);
      for (const jail of ['honeyport', 'other'])
        assert.ok(told(fail2ban, 'waiting', jail) > 0, `the worker of ${jail} was not held up`);
      const begin = performance.now();
      fail2ban.client('stop', 'other');
      const taken = performance.now() - begin;
      assert.ok(taken < 12_000, `the jail took ${Math.round(taken)} ms to stop`);
      assert.match(fail2ban.log(), /\[other\] honeyport-dome9: \S+other\.json is still being written/);
    } finally {
      disk.thaw();
    }
    await untilRecorded(disk.directory, [ADDRESS, OTHER]);
    // or it would make the directory anew
    await fail2ban.stop();
  });

  test('a full disk is told once, and what is wanted is recorded as soon as there is room', async (context) => {
    const disk = mountTinyDisk(context, 64);
    const { knock, waitForHeld, waitForLog, fail2ban } = await startRecording(
      context,
      'host',
      recording(`state="${disk}"`),
    );
    knock(ADDRESS);
    await untilRecorded(disk, [ADDRESS]);
    const text = readFileSync(join(disk, 'wanted/honeyport.json'), 'utf8');
    const ballast = fillDisk(disk);
    for (const address of [OTHER, ADDRESS6]) {
      knock(address);
      await waitForHeld(address);
    }
    await waitForLog(
      /ERROR .*cannot write \S+wanted\/honeyport\.json: No space left on device; the firewall has all bans/,
    );
    assert.equal(
      readFileSync(join(disk, 'wanted/honeyport.json'), 'utf8'),
      text,
      'the file before stays whole',
    );
    assert.deepEqual(
      readdirSync(join(disk, 'wanted')),
      ['honeyport.json'],
      'what could not be written is removed',
    );
    assert.equal(told(fail2ban, 'wanted'), 1, 'bans that are recorded');
    assert.ok(told(fail2ban, 'waiting') > 0, 'nothing is said to wait');
    const tried = statSync(join(disk, 'wanted')).mtimeMs;
    await waitFor(() => statSync(join(disk, 'wanted')).mtimeMs !== tried, {
      deadlineMs: DEADLINE_MS,
      what: 'another try while the disk is full',
    });
    rmSync(ballast);
    await untilRecorded(disk, [ADDRESS, OTHER, ADDRESS6]);
    await waitForLog(/NOTICE .*honeyport\.json works again, with 3 bans/);
    assert.equal(fail2ban.log().match(/No space left/g)?.length, 1);
    await fail2ban.stop();
  });

  test("the service's user owns what is recorded, and leads root nowhere", async (context) => {
    const { dir, state, knock, waitForLog, configure, fail2ban } = await startRecording(
      context,
      'host',
      recording('state="DIR/none"'),
    );
    mkdirSync(state);
    chmodSync(state, 0o750);
    chownSync(state, SERVICE_USER, SERVICE_USER);
    const target = join(dir, 'target');
    mkdirSync(target);
    for (const [name, make] of [
      ['link', () => symlinkSync(target, join(dir, 'link'))],
      ['file', () => writeFileSync(join(dir, 'file'), '')],
    ] as const) {
      make();
      configure({ honeyport: { settings: recording(`state="DIR/${name}"`) } });
      fail2ban.client('reload');
      await waitForLog(new RegExp(`ERROR .*cannot write \\S+: \\S+/${name} is not a directory of its own`));
    }
    symlinkSync(target, join(state, 'wanted'));
    configure({ honeyport: { settings: recording() } });
    fail2ban.client('reload');
    knock(ADDRESS);
    await waitForLog(/ERROR .*cannot write \S+: wanted is not a directory of its own/);
    assert.deepEqual(readdirSync(target), []);
    rmSync(join(state, 'wanted'));
    mkdirSync(join(state, 'wanted'));
    chownSync(join(state, 'wanted'), SERVICE_USER, SERVICE_USER);
    const precious = join(dir, 'precious');
    writeFileSync(precious, 'mine');
    symlinkSync(precious, join(state, 'wanted/honeyport.json'));
    symlinkSync(precious, join(state, 'wanted/.honeyport-honeyport.json.1'));
    await untilRecorded(state, [ADDRESS]);
    assert.equal(readFileSync(precious, 'utf8'), 'mine');
    const { uid, gid, mode } = statSync(join(state, 'wanted/honeyport.json'));
    assert.deepEqual([uid, gid, mode & 0o777], [SERVICE_USER, SERVICE_USER, 0o640]);
    // a pipe that nobody writes to holds nobody up
    rmSync(join(state, 'wanted/honeyport.json'));
    execFileSync('mkfifo', [join(state, 'wanted/honeyport.json')]);
    knock(OTHER);
    await waitFor(() => statSync(join(state, 'wanted/honeyport.json')).isFile(), {
      deadlineMs: DEADLINE_MS,
      what: 'a file in the place of the pipe',
    });
    await untilRecorded(state, [ADDRESS, OTHER]);
  });

  test('directories that are missing are made, the way there for everybody', async (context) => {
    const { dir, knock } = await startRecording(
      context,
      'host',
      recording('state="DIR/lib/honeyport/dome9"'),
    );
    knock(ADDRESS);
    await untilRecorded(join(dir, 'lib/honeyport/dome9'), [ADDRESS]);
    const mode = (name: string) => (statSync(join(dir, name)).mode & 0o777).toString(8);
    assert.deepEqual(
      ['lib', 'lib/honeyport', 'lib/honeyport/dome9', 'lib/honeyport/dome9/wanted'].map(mode),
      ['755', '755', '750', '750'],
    );
  });
});

test('a burst of 10,000 is in nftables and in the record', async (context) => {
  const { state, fail2ban, dir, held } = await startRecording(context);
  const sources = manyAddresses(10_000);
  appendFileSync(join(dir, 'honeyport-0.log'), sources.map(connectLine).join(''));
  await waitFor(() => held().size === sources.length, {
    deadlineMs: 60_000,
    everyMs: 200,
    what: '10,000 in nftables',
  });
  await untilRecorded(state, sources);
  assert.equal(recorded(state).leftOut, 0);
  assert.equal(fail2ban.client('get', 'honeyport', 'action', 'honeyport-dome9', 'waiting').trim(), '0');
});

/** An ext4 file system of a file, on which every write hangs while it is frozen. */
function mountFreezableDisk(context: TestContext) {
  const image = join('/tmp', `honeyport-disk-${process.pid}.img`);
  const directory = `${image.replace(/\.img$/, '')}.d`;
  let isFrozen = false;
  const run = (name: string, ...args: string[]) =>
    execFileSync(requireProgram(name), args, { stdio: 'pipe', timeout: 30_000 });
  const thaw = () => {
    if (isFrozen) run('fsfreeze', '--unfreeze', directory);
    isFrozen = false;
  };
  writeFileSync(image, Buffer.alloc(8 << 20));
  mkdirSync(directory);
  run('mkfs.ext4', '-q', '-F', image);
  run('mount', '-o', 'loop', image, directory);
  context.after(() => {
    thaw();
    run('umount', '-l', directory);
    rmSync(directory, { recursive: true, force: true });
    rmSync(image, { force: true });
  });
  return {
    directory,
    thaw,
    freeze() {
      run('fsfreeze', '--freeze', directory);
      isFrozen = true;
    },
  };
}
