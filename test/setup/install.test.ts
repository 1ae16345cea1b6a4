import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { UserError } from '../../src/errors.ts';
import { JOURNAL_FILE, MANIFEST_FILE } from '../../src/installation/manifest.ts';
import { listPackageFiles } from '../../src/installation/package-files.ts';
import { planText } from '../../src/setup/plan.ts';
import { planInstall } from '../../src/setup/plan-install.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { install, makeRoot, snapshot, uninstall, writeBelow } from './support.ts';

const FILTER = '/etc/fail2ban/filter.d/honeyport.conf';
const JAIL = '/etc/fail2ban/jail.d/honeyport.conf';
const LOCAL = '/etc/fail2ban/jail.d/honeyport.local';
const CONFIGURATION = '/etc/honeyport/honeyport.yaml';

const MINE = {
  [LOCAL]: '[honeyport]\nenabled = false\nbantime = 1w\n',
  '/etc/fail2ban/filter.d/honeyport.local': '[Definition]\n',
  '/etc/fail2ban/jail.local': '[DEFAULT]\nbantime = 1h\n',
  [CONFIGURATION]: 'decoys: [{ ports: 2222 }]\n',
  '/etc/logrotate.d/mine': '/var/log/mine {}\n',
};

test('an installation puts each file of the package in its place, and the plan names each of them', async (context) => {
  const root = makeRoot(context);
  const { target: rsyslog } = listPackageFiles().find(({ part }) => part === 'rsyslog')!;
  const text = planText(
    await planInstall({ root, version: '1.0.0', observe: false, sockets: false, senders: [] }),
  );
  assert.equal((await install(root)).kind, 'done');
  for (const { source, target } of listPackageFiles().filter(({ part }) => part !== 'rsyslog')) {
    assert.deepEqual(readFileSync(join(root, target)), readFileSync(source), target);
    assert.equal(statSync(join(root, target)).mode & 0o7777, 0o644, target);
    assert.match(text, new RegExp(`^\\+ ${target.replaceAll('.', '\\.')}$`, 'm'));
  }
  assert.equal(existsSync(join(root, rsyslog)), false, 'rsyslog is only on request');
  assert.equal(readFileSync(join(root, LOCAL), 'utf8'), '[honeyport]\nenabled = true\n');
  assert.deepEqual(leftovers(root), []);
});

test('a plan changes nothing', async (context) => {
  const root = makeRoot(context, MINE);
  const before = snapshot(root);
  await planInstall({ root, version: '1.0.0', observe: false, sockets: false, senders: [] });
  assert.deepEqual(snapshot(root), before);
});

test('twice is once: what is installed already is not written again', async (context) => {
  const root = makeRoot(context, MINE);
  await install(root);
  const before = snapshot(root);
  assert.deepEqual(await install(root), { kind: 'nothing to do' });
  assert.deepEqual(snapshot(root), before);
});

test("the administrator's own files stay as they are, through an upgrade, too", async (context) => {
  const root = makeRoot(context, MINE);
  const before = snapshot(root);
  await install(root);
  rewriteAsOlder(root, FILTER);
  await install(root, { version: '2.0.0' });
  const after = snapshot(root);
  for (const path of Object.keys(MINE)) assert.equal(after[path.slice(1)], before[path.slice(1)], path);
  assert.doesNotMatch(readFileSync(join(root, FILTER), 'utf8'), /older/);
});

test('one of our files that was edited is replaced, and kept beside under a name that nobody reads', async (context) => {
  const root = makeRoot(context);
  await install(root);
  appendFileSync(join(root, JAIL), '# mine\n');
  chmodSync(join(root, JAIL), 0o600);
  const edited = readFileSync(join(root, JAIL));
  const plan = await planInstall({ root, version: '1.0.0', observe: false, sockets: false, senders: [] });
  assert.ok(plan.lines.includes(`~ ${JAIL} (it was edited: kept as ${JAIL}~)`), planText(plan));
  await install(root);
  assert.deepEqual(readFileSync(join(root, `${JAIL}~`)), edited);
  assert.equal(statSync(join(root, `${JAIL}~`)).mode & 0o7777, 0o600);
  assert.doesNotMatch(readFileSync(join(root, JAIL), 'utf8'), /mine/);
  appendFileSync(join(root, JAIL), '# mine again\n');
  await install(root);
  assert.deepEqual(readFileSync(join(root, `${JAIL}~`)), edited, 'the first one stays');
  assert.match(readFileSync(join(root, `${JAIL}.1~`), 'utf8'), /mine again/);
});

test('whatever stands in the place of one of our files and is not ours is named, and nothing is changed', async (context) => {
  const root = makeRoot(context, { ...MINE, [FILTER]: '[Definition]\nfailregex = mine\n' });
  symlinkSync(CONFIGURATION, join(root, JAIL));
  mkdirSync(join(root, '/etc/logrotate.d/honeyport'));
  const before = snapshot(root);
  const outcome = await install(root);
  assert.equal(outcome.kind, 'refused');
  assert.deepEqual(outcome.kind === 'refused' ? outcome.plan.refusals : [], [
    `${FILTER}: expected none, or one of honeyport's, got somebody else's file`,
    `${JAIL}: expected none, or one of honeyport's, got a symbolic link`,
    `/etc/logrotate.d/honeyport: expected none, or one of honeyport's, got a directory`,
  ]);
  assert.deepEqual(snapshot(root), before);
});

for (const folder of ['etc/fail2ban/filter.d', 'etc/logrotate.d', 'var/lib/honeyport', 'etc/honeyport']) {
  test(`a symbolic link in the place of ${folder} does not lead an installation out of its root`, async (context) => {
    const root = makeRoot(context);
    const outside = temporaryDirectory(context);
    rmSync(join(root, folder), { recursive: true, force: true });
    symlinkSync(outside, join(root, folder));
    await assert.rejects(install(root), /expected a directory, got a symbolic link/);
    assert.deepEqual(snapshot(outside), {});
  });
}

test('a directory that everybody may write to is not trusted', async (context) => {
  const root = makeRoot(context);
  chmodSync(join(root, 'etc/fail2ban/filter.d'), 0o777);
  const before = snapshot(root);
  await assert.rejects(install(root), /filter\.d: expected a directory that not everybody may write to/);
  assert.deepEqual(snapshot(root), before);
});

test('a failure at any step brings back every file with its mode and its time', async (context) => {
  const root = await makeOldInstallation(context);
  const before = snapshot(root);
  const count = await countSteps(context);
  for (let failing = 1; failing <= count; failing += 1) {
    await assert.rejects(
      install(root, { version: '2.0.0', onStep: failAt(failing) }),
      /everything is as it was/,
    );
    assert.deepEqual(snapshot(root), before, `step ${failing}`);
  }
  assert.equal((await install(root, { version: '2.0.0' })).kind, 'done', 'and then it works');
  assert.deepEqual(leftovers(root), []);
});

test('a failure at any step of uninstall brings back every file, and without one nothing of ours is left', async (context) => {
  const pristine = snapshot(makeRoot(context));
  const root = makeRoot(context);
  await install(root);
  const before = snapshot(root);
  let count = 0;
  const fresh = makeRoot(context);
  await install(fresh);
  await uninstall(fresh, {
    onStep: () => {
      count += 1;
    },
  });
  assert.deepEqual(Object.keys(snapshot(fresh)), Object.keys(pristine));
  assert.ok(count > 10, `${count} steps`);
  for (let failing = 1; failing <= count; failing += 1) {
    await assert.rejects(uninstall(root, { onStep: failAt(failing) }), /everything is as it was/);
    assert.deepEqual(snapshot(root), before, `step ${failing}`);
  }
});

test('a file that somebody makes meanwhile is not overwritten, nor removed on the way back', async (context) => {
  const root = makeRoot(context);
  const before = snapshot(root);
  const onStep = (text: string) => {
    if (text.includes(JAIL)) writeFileSync(join(root, JAIL), 'theirs\n');
  };
  await assert.rejects(install(root, { onStep }), /honeyport\.conf was changed while honeyport was at work/);
  assert.equal(readFileSync(join(root, JAIL), 'utf8'), 'theirs\n');
  rmSync(join(root, JAIL));
  assert.deepEqual(snapshot(root), before);
});

test('uninstall leaves what was edited and what is not ours, and names it', async (context) => {
  const root = makeRoot(context, MINE);
  const before = snapshot(root);
  await install(root);
  appendFileSync(join(root, FILTER), '# mine\n');
  writeBelow(root, '/var/log/honeyport/honeyport.log', 'a line\n');
  writeBelow(root, '/var/log/honeyport/bans.log', '');
  writeBelow(root, '/var/log/honeyport/honeyport.allow.json', '{}');
  assert.equal((await uninstall(root)).kind, 'done');
  const after = snapshot(root);
  for (const path of Object.keys(MINE)) assert.equal(after[path.slice(1)], before[path.slice(1)], path);
  const added = Object.keys(after).filter((name) => !(name in before));
  assert.deepEqual(added, [FILTER.slice(1), 'var/log/honeyport', 'var/log/honeyport/honeyport.log']);
  await uninstall(root, { purge: true });
  assert.deepEqual(
    Object.keys(snapshot(root)).filter((name) => !(name in before)),
    [FILTER.slice(1)],
  );
});

test('uninstall removes by name in the directory of the logs, and goes neither into directories nor through links', async (context) => {
  const root = makeRoot(context);
  const outside = temporaryDirectory(context);
  writeFileSync(join(outside, 'precious'), 'x');
  await install(root);
  mkdirSync(join(root, 'var/log/honeyport/honeyport.log.1'), { recursive: true });
  writeFileSync(join(root, 'var/log/honeyport/honeyport.log.1/inside'), 'x');
  symlinkSync(join(outside, 'precious'), join(root, 'var/log/honeyport/honeyport.log'));
  symlinkSync(outside, join(root, 'var/log/honeyport/bans.log.2'));
  await uninstall(root, { purge: true });
  assert.deepEqual(Object.keys(snapshot(join(root, 'var/log/honeyport'))), [
    'honeyport.log.1',
    'honeyport.log.1/inside',
  ]);
  assert.deepEqual(Object.keys(snapshot(outside)), ['precious']);
});

test('sockets are made of the configuration, stay in step with it, and go with honeyport', async (context) => {
  const root = makeRoot(context, { [CONFIGURATION]: 'decoys: [{ ports: 2222 }]\n' });
  const before = snapshot(root);
  const unit = join(root, 'etc/systemd/system/honeyport.socket');
  await install(root);
  assert.equal(existsSync(unit), false, 'only on request');
  await install(root, { sockets: true });
  assert.match(readFileSync(unit, 'utf8'), /^ListenStream=2222$/m);
  writeBelow(root, CONFIGURATION, 'decoys: [{ ports: 2223 }]\n');
  await install(root);
  assert.match(readFileSync(unit, 'utf8'), /^ListenStream=2223$/m);
  assert.deepEqual(Object.keys(snapshot(join(root, 'etc/systemd/system'))), [
    'honeyport.service.d',
    'honeyport.service.d/honeyport-sockets.conf',
    'honeyport.socket',
  ]);
  await uninstall(root);
  assert.deepEqual(Object.keys(snapshot(root)), Object.keys(before));
});

test('a configuration without a port that systemd can open gets no sockets', async (context) => {
  const root = makeRoot(context, { [CONFIGURATION]: 'decoys: [{ ports: unused }]\n' });
  const outcome = await install(root, { sockets: true });
  assert.deepEqual(outcome.kind === 'refused' ? outcome.plan.refusals : [], [
    '/etc/systemd/system/honeyport.socket: expected a decoy with ports that systemd can open, got `ports: unused` alone',
  ]);
  assert.equal((await install(root)).kind === 'refused', false);
});

test('a journal that others may have written is not followed', async (context) => {
  const root = makeRoot(context, { '/etc/precious': 'x\n' });
  const journal = {
    verb: 'install',
    way: 'back',
    changes: [{ kind: 'log', path: '/etc/precious' }],
    isTold: true,
  };
  writeBelow(root, JOURNAL_FILE, JSON.stringify(journal));
  chmodSync(join(root, JOURNAL_FILE), 0o666);
  await assert.rejects(install(root), /install\.journal: expected a file that only root may write/);
  chmodSync(join(root, JOURNAL_FILE), 0o600);
  linkSync(join(root, JOURNAL_FILE), join(root, 'second'));
  await assert.rejects(install(root), /install\.journal: expected a file that only root may write/);
  rmSync(join(root, 'second'));
  chmodSync(join(root, 'var/lib/honeyport'), 0o777);
  await assert.rejects(install(root), /honeyport: expected a directory that not everybody may write to/);
  assert.ok(existsSync(join(root, 'etc/precious')), 'nothing was removed');
});

test('a second installation at the same time is refused', async (context) => {
  const root = makeRoot(context);
  let second: unknown;
  const onStep = async () => {
    second ??= install(root).catch((error: unknown) => error);
  };
  await install(root, { onStep });
  const error = await second;
  assert.ok(error instanceof UserError, String(error));
  assert.equal(error.message, 'another installation is under way');
  assert.equal((await install(root)).kind, 'nothing to do');
});

/** An older version, with a file that was edited since, as an upgrade finds it. */
async function makeOldInstallation(context: TestContext): Promise<string> {
  const root = makeRoot(context, MINE);
  await install(root, { version: '0.9.0' });
  rewriteAsOlder(root, FILTER);
  appendFileSync(join(root, JAIL), '# mine\n');
  rmSync(join(root, '/etc/logrotate.d/honeyport'));
  for (const path of [FILTER, JAIL]) utimesSync(join(root, path), 1_000_000_000, 1_000_000_000);
  return root;
}

async function countSteps(context: TestContext): Promise<number> {
  let count = 0;
  await install(await makeOldInstallation(context), {
    version: '2.0.0',
    onStep: () => {
      count += 1;
    },
  });
  assert.ok(count >= 6, `${count} steps`);
  return count;
}

function failAt(failing: number): () => void {
  let step = 0;
  return () => {
    step += 1;
    if (step === failing) throw new UserError('injected');
  };
}

function rewriteAsOlder(root: string, path: string): void {
  const text = `${readFileSync(join(root, path), 'utf8')}# older\n`;
  writeFileSync(join(root, path), text);
  const manifest = JSON.parse(readFileSync(join(root, MANIFEST_FILE), 'utf8'));
  const file = manifest.files.find((one: { path: string }) => one.path === path);
  file.sha256 = createHash('sha256').update(text).digest('hex');
  writeFileSync(join(root, MANIFEST_FILE), JSON.stringify(manifest));
}

/** What an installation needs while it is under way. */
function leftovers(root: string): string[] {
  return Object.keys(snapshot(root)).filter((name) => /\.honeyport-(old|new)~$|journal/.test(name));
}
