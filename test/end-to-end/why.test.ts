import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type BanStage, startBans } from '../support/bans.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { fail2banArgv, RELEASES } from '../support/fail2ban.ts';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';

const RUN_TIMEOUT_MS = 60_000;
const ADDRESS = '198.51.100.7';
/** What a shell would take apart, and what it would not print. */
const ODD_JAIL = 'größer & $HOME';
/** fail2ban notes the time of the log's line, in seconds. */
const TOLERANCE_MS = 30_000;

for (const release of RELEASES) {
  test(`why tells who bans an address, until when, and what lifts it (${release})`, async (context) => {
    const jails = { honeyport: {}, [ODD_JAIL]: { settings: 'bantime = -1', options: 'prefix6=64' } };
    const stage = await startBans(context, { release, jails });
    const host = makeHost(context, stage);

    const quiet = host.why(ADDRESS);
    assert.deepEqual([quiet.code, quiet.stderr], [0, '']);
    assert.match(quiet.stdout, /^198\.51\.100\.7\n\nbanned now: no\n\n/);
    assert.match(quiet.stdout, /^its lines: none in \S+honeyport-0\.log$/m);

    // one jail, for an hour
    const before = Date.now();
    stage.knock(ADDRESS);
    stage.knock('198.51.100.70');
    await stage.waitForSaid(/^ban src=198\.51\.100\.7 /);
    await stage.waitForSaid(/^ban src=198\.51\.100\.70 /);
    const banned = host.why('::FFFF:198.51.100.7', { TZ: 'Asia/Tokyo' });
    assert.deepEqual([banned.code, banned.stderr], [0, '']);
    assert.match(banned.stdout, /^198\.51\.100\.7\n\nbanned now: yes\n {2}by jail honeyport\n/);
    checkTime(banned.stdout, 'since', before);
    checkTime(banned.stdout, 'until', before + 3_600_000);
    assert.match(banned.stdout, /^its lines: 1 in \S+\n {2}connect 1\n/m);
    assert.match(banned.stdout, /^its bans so far: 1 in \S+bans\.log\n {2}ban 1\n/m);
    assert.equal(
      banned.stdout.match(/^\S+ web-1 honeyport\[812\]: connect src=198\.51\.100\.7 .* id=test\.1 ttl=52$/gm)
        ?.length,
      1,
    );
    assert.deepEqual(commands(banned.stdout), ['fail2ban-client set honeyport unbanip 198.51.100.7']);

    // a second jail with an odd name, for ever, and the network around it
    stage.knock(ADDRESS, { jail: ODD_JAIL });
    stage.fail2ban.client('set', 'honeyport', 'banip', '198.51.100.0/24', '203.0.113.0/24');
    await stage.waitForSaid(/^ban src=198\.51\.100\.7 until=never /);
    await stage.waitForSaid(/^ban src=198\.51\.100\.0\/24 /);
    const often = host.why(ADDRESS);
    assert.deepEqual([often.code, often.stderr], [0, '']);
    const lifting = commands(often.stdout);
    assert.equal(lifting.length, 3);
    assert.match(often.stdout, /^ {2}by jail honeyport, as part of 198\.51\.100\.0\/24$/m);
    assert.match(often.stdout, /^ {4}until for ever$/m);
    assert.match(often.stdout, /^[ -~\n]*$/);
    assert.match(often.stdout, /^its bans so far: 3 in /m);

    // each command lifts its ban and no other
    for (const [index, command] of lifting.entries()) {
      assert.equal(host.shell(command), '1\n', command);
      assert.deepEqual(commands(host.why(ADDRESS).stdout), lifting.slice(index + 1));
    }
    assert.match(host.why(ADDRESS).stdout, /\nbanned now: no\n/);
    assert.deepEqual(stage.fail2ban.banned().sort(), ['198.51.100.70', '203.0.113.0/24']);

    // IPv6, in another spelling than fail2ban's
    stage.knock('2001:db8::7');
    await stage.waitForSaid(/^ban src=2001:db8::7 /);
    const six = host.why('2001:DB8:0:0::0007');
    assert.match(six.stdout, /^2001:db8::7\n\nbanned now: yes\n/);
    assert.deepEqual(commands(six.stdout), ['fail2ban-client set honeyport unbanip 2001:db8::7']);

    // a neighbour, with whom the kernel blocks the whole /64
    stage.knock('2001:db8:0:1::8', { jail: ODD_JAIL });
    await stage.waitForSaid(/^ban src=2001:db8:0:1::8 .* net=2001:db8:0:1::\/64/);
    const beside = host.why('2001:db8:0:1::7');
    assert.match(beside.stdout, /^ {2}by jail gr.*, as part of 2001:db8:0:1::\/64 around 2001:db8:0:1::8$/m);
    assert.equal(host.shell(commands(beside.stdout)[0]!), '1\n');
    assert.match(host.why('2001:db8:0:1::7').stdout, /\nbanned now: no\n/);

    await stage.fail2ban.stop();
    const stopped = host.why(ADDRESS);
    assert.equal(stopped.code, 1);
    assert.equal(
      stopped.stderr,
      'honeyport: error: fail2ban is not running\nhoneyport: hint: start it with: systemctl start fail2ban\n',
    );
    assert.match(stopped.stdout, /\nbanned now: not known\n/);
    assert.match(stopped.stdout, /^its lines: 1 in /m);
  });
}

test('why says that asking fail2ban takes root, and prints what it knows', async (context) => {
  const stage = await startBans(context, { release: 'host' });
  const host = makeHost(context, stage);
  chmodSync(stage.fail2ban.directory, 0o755);
  stage.knock(ADDRESS);
  await stage.waitForSaid(/^ban src=198\.51\.100\.7 /);
  const { code, stdout, stderr } = host.why(ADDRESS, {}, asNobody());
  assert.equal(code, 1);
  assert.deepEqual(stderr.split('\n'), [
    `honeyport: warning: ${stage.banLog}: permission denied`,
    'honeyport: error: no right to ask fail2ban',
    'honeyport: hint: run it as root',
    '',
  ]);
  assert.match(stdout, /\nbanned now: not known\n/);
  assert.match(stdout, /^its lines: 1 in /m);
});

test('why without fail2ban says so, reads rotated logs, and says which it may not read', (context) => {
  const host = makeHost(context);
  const line = (n: number) =>
    `2026-11-22T03:04:5${n}.123+00:00 web-1 honeyport[812]: connect src=${ADDRESS} spt=4 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=a.${n}`;
  writeFileSync(host.log, `${line(5)}\n`);
  writeFileSync(`${host.log}.1`, `${line(4)}\n`);
  writeFileSync(`${host.log}.2.gz`, gzipSync(`${line(3)}\n`));
  writeFileSync(`${host.log}.3`, `${line(2)}\n`, { mode: 0o000 });
  const { code, stdout, stderr } = host.why(ADDRESS, { PATH: join(host.dir, 'bin') }, asNobody());
  assert.equal(code, 1);
  assert.deepEqual(stderr.split('\n'), [
    `honeyport: warning: ${host.log}.3: permission denied`,
    'honeyport: error: fail2ban is not installed, or fail2ban-client is not in PATH',
    'honeyport: hint: apt-get install fail2ban',
    '',
  ]);
  assert.match(stdout, /^its lines: 3 in \S+ and 2 rotated$/m);
  assert.ok(stdout.includes(`\n${line(3)}\n${line(4)}\n${line(5)}\n`));
  assert.match(stdout, /^its bans so far: none, no file \S+bans\.log could be read$/m);
});

test('why refuses what is no address', (context) => {
  const host = makeHost(context);
  for (const text of [
    '198.51.100',
    '198.51.100.0/24',
    'localhost',
    'fe80::1%eth0',
    '',
    '\x1b[2J',
    'x'.repeat(1000),
  ]) {
    const { code, stdout, stderr } = host.why(text);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /^honeyport: error: expected an IPv4 or IPv6 address, got "[ -~]{0,60}"\n$/, text);
  }
  const faulty = host.run(['why', ADDRESS, '-c', join(host.dir, 'missing.yaml')]);
  assert.deepEqual([faulty.code, faulty.stdout], [2, '']);
});

interface Host {
  readonly dir: string;
  /** The log that its configuration names. */
  readonly log: string;
  why(address: string, env?: NodeJS.ProcessEnv, wrapper?: readonly string[]): Result;
  run(args: readonly string[], env?: NodeJS.ProcessEnv, wrapper?: readonly string[]): Result;
  /** What a shell prints for a command, as an administrator types it. */
  shell(command: string): string;
}

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A host whose log is that of the stage's first jail, and whose fail2ban-client asks the stage's fail2ban. */
function makeHost(context: TestContext, stage?: BanStage): Host {
  const dir = temporaryDirectory(context);
  for (const open of [dir, ...(stage === undefined ? [] : [stage.dir])]) chmodSync(open, 0o755);
  const log = stage === undefined ? join(dir, 'honeyport.log') : join(stage.dir, 'honeyport-0.log');
  const config = join(dir, 'honeyport.yaml');
  writeFileSync(config, `decoys: [{ ports: 23 }]\nlog: { file: { path: ${log} } }\n`);
  const path = `${makeBin(dir, stage)}:${process.env.PATH}`;
  const run = (
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    wrapper: readonly string[] = [],
  ): Result => {
    const [command, ...rest] = [...wrapper, process.execPath, CLI, ...args];
    const options = { encoding: 'utf8', timeout: RUN_TIMEOUT_MS, cwd: dir } as const;
    const result = spawnSync(command!, rest, { ...options, env: { PATH: path, ...env } });
    return { code: result.status, stdout: result.stdout, stderr: result.stderr };
  };
  const shell = (command: string) => {
    const { stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8', env: { PATH: path } });
    assert.equal(stderr, '');
    return stdout;
  };
  const why: Host['why'] = (address, env, wrapper) => run(['why', address, '-c', config], env, wrapper);
  return { dir, log, why, run, shell };
}

function makeBin(dir: string, stage: BanStage | undefined): string {
  const bin = join(dir, 'bin');
  mkdirSync(bin);
  if (stage === undefined) return bin;
  const { release, fail2ban } = stage;
  const access = ['-c', fail2ban.configuration, '-s', join(fail2ban.directory, 'socket')];
  const argv = fail2banArgv(release, ['fail2ban-client', ...access], [fail2ban.directory]);
  const script = `#!/bin/sh\nexec ${argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')} "$@"\n`;
  writeFileSync(join(bin, 'fail2ban-client'), script, { mode: 0o755 });
  return bin;
}

function asNobody(): string[] {
  return [requireProgram('setpriv'), '--reuid', '65534', '--regid', '65534', '--clear-groups'];
}

/** The commands that lift bans, as printed. */
function commands(text: string): string[] {
  return [...text.matchAll(/^ {4}lift {2}(.*)$/gm)].map(([, command]) => command!);
}

function checkTime(text: string, word: string, wanted: number): void {
  const found = Date.parse(new RegExp(`^ {4}${word} (\\S+\\+00:00)$`, 'm').exec(text)![1]!);
  assert.ok(Math.abs(found - wanted) < TOLERANCE_MS, `${word} ${new Date(found).toISOString()}`);
}
