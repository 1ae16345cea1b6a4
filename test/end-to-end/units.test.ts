import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DEFAULTS } from '../../src/configuration/schema-nodes.ts';
import { socketDropInText, socketUnitText } from '../../src/installation/socket-unit.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';

const DIRECTORY = fileURLToPath(new URL('../../systemd', import.meta.url));
const UNIT = 'honeyport.service';
const DOME9_UNIT = 'honeyport-dome9.service';
const RULES_UNIT = 'honeyport-rules.service';
const RULES_TIMER = 'honeyport-rules.timer';
/** What `systemd-analyze security` calls OK ends at 4.4; 10 is a service without any bound. */
const MOST_EXPOSURE = 2.0;
/** Neither root nor the owner of anything else. */
const SERVICE_USER = 64_321;

const units = readdirSync(DIRECTORY).filter((name) => name.endsWith('.service'));

for (const unit of units) {
  test(`systemd takes every line of ${unit}, which leaves it few rights`, () => {
    const path = join(DIRECTORY, unit);
    const verified = run(requireProgram('systemd-analyze'), 'verify', path);
    assert.deepEqual([verified.code, verified.stdout + verified.stderr], [0, '']);
    const { stdout } = run(
      requireProgram('systemd-analyze'),
      'security',
      '--offline=true',
      '--no-pager',
      path,
    );
    const exposure = /Overall exposure level for \S+: ([0-9.]+)/.exec(stdout)?.[1];
    assert.ok(Number(exposure) <= MOST_EXPOSURE, `${exposure}: ${stdout}`);
  });
}

test('there is a unit to look at', () => {
  for (const unit of [UNIT, DOME9_UNIT, RULES_UNIT]) assert.ok(units.includes(unit), units.join(', '));
});

test('systemd takes every line of the timer, which starts the service not before a minute after boot, and each minute', () => {
  const verified = run(requireProgram('systemd-analyze'), 'verify', join(DIRECTORY, RULES_TIMER));
  assert.deepEqual([verified.code, verified.stdout + verified.stderr], [0, '']);
  assert.ok(Number(settingOf(RULES_TIMER, 'OnBootSec')) >= 60);
  assert.equal(settingOf(RULES_TIMER, 'OnUnitActiveSec'), '1min');
});

test('the unit for rules fails when either program does, says what to look at, and loads no half of a script', (context) => {
  const directory = temporaryDirectory(context);
  const start = (honeyport: string, nft: string) => {
    for (const [name, script] of Object.entries({ honeyport, nft }))
      writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return startRulesUnit(directory);
  };
  assert.deepEqual(start('echo "$@"; echo rule', 'cat; echo "$@"'), {
    code: 0,
    stdout: `rules --config /etc/honeyport/honeyport.yaml --remember ${directory}/ports.json\nrule\n-f -\n`,
    stderr: '',
  });
  assert.deepEqual(start('echo half; exit 2', 'cat'), { code: 2, stdout: '', stderr: '' });
  const failed = start('echo rule', 'cat > /dev/null; echo "Error: No such file or directory" >&2; exit 1');
  assert.deepEqual(failed, {
    code: 1,
    stdout: '',
    stderr: `Error: No such file or directory
honeyport: hint: honeyport doctor tells what the kernel or nft lacks
`,
  });
});

/** Runs ExecStart of the unit as systemd would, with the programs in a directory, which is that of its state as well. */
function startRulesUnit(directory: string) {
  const unit = readFileSync(join(DIRECTORY, RULES_UNIT), 'utf8');
  const [, command = ''] = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(unit) ?? [];
  const [, script = ''] = /^\/bin\/sh -c '(.*)'$/s.exec(command.replaceAll(/\\\n/g, ' ')) ?? [];
  const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', script.replaceAll('$$', '$')], {
    encoding: 'utf8',
    timeout: 30_000,
    env: { PATH: `${directory}:/usr/bin:/bin`, STATE_DIRECTORY: directory },
  });
  return { code: status, stdout, stderr };
}

test('every file for systemd says whose it is, that upgrades replace it, and where own settings go', () => {
  const files = readdirSync(DIRECTORY, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(service|timer|conf)$/.test(name),
  );
  assert.equal(files.length, 6, files.join(', '));
  for (const file of files) {
    const [head = ''] = readFileSync(join(DIRECTORY, file), 'utf8').split('\n\n');
    assert.match(head, /^# Author: {2}the honeyport project$/m, file);
    assert.match(head, /^# This file is replaced by upgrades\. /m, file);
    assert.match(head, /systemctl edit|\/etc\/(sysusers|tmpfiles)\.d takes its place/, file);
  }
});

test('systemd makes the users of the services, and the directories and the empty log of the listener', (context) => {
  const root = temporaryDirectory(context);
  mkdirSync(join(root, 'etc'));
  provision(root);
  const ids = new Map(
    readFileSync(join(root, 'etc/passwd'), 'utf8')
      .split('\n')
      .map((line) => [line.split(':')[0]!, Number(line.split(':')[2])]),
  );
  for (const unit of [UNIT, DOME9_UNIT]) assert.ok(ids.get(settingOf(unit, 'User')), `the user of ${unit}`);
  const owner = ids.get('honeyport')!;
  const log = DEFAULTS.logPath;
  assert.deepEqual(aboutFile(join(root, log)), [owner, owner, `100${DEFAULTS.logMode.slice(1)}`]);
  const logs = settingOf(UNIT, 'LogsDirectory');
  assert.equal(`/var/log/${logs}`, dirname(log));
  const mode = settingOf(UNIT, 'LogsDirectoryMode').slice(1);
  assert.deepEqual(aboutFile(join(root, dirname(log))), [owner, owner, `40${mode}`]);
  // rsyslogd changes, as root, the owner of what it finds there
  assert.deepEqual(aboutFile(join(root, 'run/honeyport')), [0, owner, '40750']);
});

test('what systemd makes twice is the same, and the log keeps what is in it', (context) => {
  const root = temporaryDirectory(context);
  mkdirSync(join(root, 'etc'));
  provision(root);
  const users = readFileSync(join(root, 'etc/passwd'), 'utf8');
  writeFileSync(join(root, DEFAULTS.logPath), 'a line\n');
  provision(root);
  assert.equal(readFileSync(join(root, 'etc/passwd'), 'utf8'), users);
  assert.equal(readFileSync(join(root, DEFAULTS.logPath), 'utf8'), 'a line\n');
});

function provision(root: string): void {
  const files = (kind: string) => join(DIRECTORY, `${kind}.d/honeyport.conf`);
  for (const [program, ...args] of [
    ['systemd-sysusers', `--root=${root}`, files('sysusers')],
    ['systemd-tmpfiles', '--create', `--root=${root}`, files('tmpfiles')],
  ] as const) {
    const { code, stderr } = run(requireProgram(program), ...args);
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /honeyport\.conf:[0-9]+:/);
  }
}

function aboutFile(path: string): [uid: number, gid: number, mode: string] {
  const { uid, gid, mode } = statSync(path);
  return [uid, gid, mode.toString(8)];
}

test('systemd takes the socket unit of a configuration, and a service that has no capability with it', (context) => {
  const directory = temporaryDirectory(context);
  const decoys = [
    { ports: [23, 65_535], address: undefined },
    { ports: [22], address: '2001:db8::1' },
  ] as const;
  writeFileSync(join(directory, 'honeyport.socket'), socketUnitText({ file: '/f', decoys: decoys as never }));
  copyFileSync(join(DIRECTORY, UNIT), join(directory, UNIT));
  mkdirSync(join(directory, `${UNIT}.d`));
  writeFileSync(
    join(directory, `${UNIT}.d/honeyport-sockets.conf`),
    socketDropInText({ decoys: decoys as never }),
  );
  for (const unit of ['honeyport.socket', UNIT]) {
    const { code, stdout, stderr } = run(requireProgram('systemd-analyze'), 'verify', join(directory, unit));
    assert.deepEqual([code, stdout + stderr], [0, ''], unit);
  }
  const security = run(
    requireProgram('systemd-analyze'),
    ...['security', '--offline=true', '--no-pager', join(directory, UNIT)],
  );
  assert.match(security.stdout, /✓ AmbientCapabilities=/);
  assert.match(security.stdout, /✓ CapabilityBoundingSet=~CAP_NET_\(BIND_SERVICE/);
});

for (const mode of [0o600, 0o640]) {
  test(`what the Dome9 unit starts takes a key's file of root with mode 0${mode.toString(8)}`, (context) => {
    const { code, stdout, stderr } = startDome9Unit(context, mode);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^the v1 blacklist at \S+: 0 to add/);
  });
}

for (const mode of [0o644, 0o604, 0o660]) {
  test(`what the Dome9 unit starts refuses a key's file with mode 0${mode.toString(8)}, though its copy is closed, and is not started again`, (context) => {
    const { code, stdout, stderr } = startDome9Unit(context, mode);
    assert.deepEqual(
      [stdout, stderr],
      [
        '',
        `honeyport: error: /etc/honeyport/dome9.yaml: expected a file that others can neither read nor write, got mode 0${mode.toString(8)}
honeyport: hint: the key is in it: chmod 600, and make a new key if anybody could have read this one
`,
      ],
    );
    assert.ok(settingOf(DOME9_UNIT, 'RestartPreventExitStatus').split(' ').includes(String(code)), `${code}`);
  });
}

test('the Dome9 unit takes a file that it cannot even see, for nobody else can', (context) => {
  const { code, stderr } = startDome9Unit(context, 0o644, { directoryMode: 0o700 });
  assert.equal(code, 0, stderr);
});

test('without its file the Dome9 unit is not started, or not again where systemd finds nothing to copy', () => {
  const file = settingOf(DOME9_UNIT, 'LoadCredential').split(':')[1];
  assert.equal(settingOf(DOME9_UNIT, 'AssertPathExists'), file);
  // EXIT_CREDENTIALS of systemd.exec(5)
  assert.ok(
    settingOf(DOME9_UNIT, 'RestartPreventExitStatus').split(' ').includes('243'),
    'it is started for ever',
  );
});

/**
 * Runs the unit's ExecStart as an unprivileged user, as systemd does: /etc has the file with a mode, and the service
 * its closed copy. With --dry-run it ends, and of v1 it asks nobody.
 */
function startDome9Unit(context: TestContext, mode: number, { directoryMode = 0o755 } = {}) {
  const directory = temporaryDirectory(context);
  chmodSync(directory, 0o755);
  const etc = makeEtc(join(directory, 'etc'), mode, directoryMode);
  const credentials = makeCredentials(join(directory, 'credentials'));
  symlinkSync(CLI, join(directory, 'honeyport'));
  const path = [directory, dirname(process.execPath), process.env.PATH].join(delimiter);
  const started = settingOf(DOME9_UNIT, 'ExecStart').replace(/\$\{CREDENTIALS_DIRECTORY\}/, credentials);
  const script = `mount --bind "$1" /etc; shift; exec "$@"`;
  const inPlace = ['--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh', etc];
  const asUser = [`--reuid=${SERVICE_USER}`, `--regid=${SERVICE_USER}`, '--clear-groups'];
  return run(
    requireProgram('unshare'),
    ...inPlace,
    ...[requireProgram('setpriv'), ...asUser, 'env', '-i', `PATH=${path}`],
    ...[...started.split(' '), '--dry-run'],
  );
}

const DOME9_TEXT =
  'api: v1\nkey: { id: "a@example.com", secret: "s3cret-Key" }\nsensor: web-1\nstate: /nonexistent\n';

function makeEtc(directory: string, fileMode: number, directoryMode: number): string {
  const own = join(directory, 'honeyport');
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'dome9.yaml'), DOME9_TEXT);
  chmodSync(join(own, 'dome9.yaml'), fileMode);
  chmodSync(own, directoryMode);
  return directory;
}

function makeCredentials(directory: string): string {
  const copy = join(directory, 'dome9.yaml');
  mkdirSync(directory, { mode: 0o500 });
  writeFileSync(copy, DOME9_TEXT, { mode: 0o400 });
  for (const own of [directory, copy]) chownSync(own, SERVICE_USER, SERVICE_USER);
  return directory;
}

/** The value of a setting that a unit has once. */
function settingOf(unit: string, name: string): string {
  const values = [
    ...readFileSync(join(DIRECTORY, unit), 'utf8').matchAll(new RegExp(`^${name}=(.*)$`, 'gm')),
  ];
  assert.equal(values.length, 1, `${name} of ${unit}`);
  return values[0]![1]!;
}

function run(program: string, ...args: string[]) {
  const { status: code, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 30_000 });
  return { code, stdout, stderr };
}
