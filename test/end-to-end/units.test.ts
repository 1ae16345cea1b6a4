import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';

const DIRECTORY = fileURLToPath(new URL('../../systemd', import.meta.url));
const DOME9_UNIT = 'honeyport-dome9.service';
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
  assert.ok(units.includes(DOME9_UNIT), units.join(', '));
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
