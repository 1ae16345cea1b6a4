import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { debian13Argv } from '../support/debian13.ts';
import { type HostState, startDemoHost } from '../support/demo-host.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const DEADLINE_MS = 20_000;
const RUN_TIMEOUT_MS = 90_000;
const ATTACKER = '192\\.0\\.2\\.66';
const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S+`;

/** What each step has to show. */
const STEPS: readonly (readonly string[])[] = [
  [`${ATTACKER} to port 8080: HTTP/1\\.1 200 OK`],
  [
    `${ATTACKER} to port 23: connected, and ended by the other side`,
    `honeyport\\.log: ${TIME} \\S+ honeyport\\[\\d+\\]: connect src=${ATTACKER} spt=\\d+ dst=192\\.0\\.2\\.1 dpt=23 .*`,
  ],
  [
    `fail2ban\\.log: .* NOTICE +\\[honeyport\\] Ban ${ATTACKER}`,
    `bans\\.log: ${TIME} \\S+ honeyport\\[\\d+\\]: ban src=${ATTACKER} until=${TIME} count=1 jail=honeyport .*`,
    `nftables: set \\S+, element ${ATTACKER} timeout .*`,
    '  \\(.*\\)',
    'from the line to the block in the kernel: \\d+\\.\\d s',
  ],
  [`${ATTACKER} to port 23: no answer for 1\\.5 s`, `${ATTACKER} to port 8080: no answer for 1\\.5 s`],
  [
    '2001:db8::7 to port 23: connected, and ended by the other side',
    `honeyport\\.log: ${TIME} \\S+ honeyport\\[\\d+\\]: allowed src=2001:db8::7 .* by=2001:db8::7`,
    '2001:db8::7 to port 8080: HTTP/1\\.1 200 OK',
  ],
  [
    `bans\\.log: ${TIME} \\S+ honeyport\\[\\d+\\]: unban src=${ATTACKER} reason=expired jail=honeyport .*`,
    `${ATTACKER} to port 8080: HTTP/1\\.1 200 OK`,
  ],
];

function checkTranscript(stdout: string): void {
  const [opening, ...steps] = stdout.split(/\n\n(?=\d\. )/);
  assert.match(opening!, /not touched/);
  assert.equal(steps.length, STEPS.length);
  for (const [index, step] of steps.entries()) {
    const facts = STEPS[index]!.map((fact) => `\n {5}${fact}`).join('');
    const closing =
      index === STEPS.length - 1 ? '\n\nAll of it is gone again[^]*: honeyport install\\n[^]*' : '';
    assert.match(step, new RegExp(`^${index + 1}\\. [^\\n]+${facts}${closing}$`));
  }
}

/** The end of the ban is what was announced, and the silence came before it. */
function checkTimes(stdout: string): void {
  const until = Date.parse(/ until=(\S+)/.exec(stdout)![1]!);
  const timeOf = (event: string) => Date.parse(new RegExp(`(${TIME}) \\S+ \\S+ ${event} `).exec(stdout)![1]!);
  assert.ok(timeOf('allowed') < until, 'the colleague came while the attacker was banned');
  assert.ok(timeOf('unban') >= until, 'the ban ended no earlier than was announced');
}

test('the demo shows knock, line, ban, silence, allowed colleague and unban, and changes nothing of the host', async (context) => {
  const host = await startDemoHost(context);
  const before = host.state();
  const demo = await host.start();
  assert.deepEqual([await demo.ended(), demo.stderr()], [0, '']);
  checkTranscript(demo.stdout());
  checkTimes(demo.stdout());
  checkUnchanged(host.state(), before);
});

test("the demo shows the same on Debian 13, with fail2ban 1.1.0 and its Node's own libuv", () => {
  const [command, ...args] = debian13Argv(['node', '/tmp/honeyport-package/dist/cli.js', 'demo'], {
    binds: [`${ROOT}:/tmp/honeyport-package`],
  });
  const { status, stdout, stderr } = spawnSync(command!, args, { encoding: 'utf8', timeout: RUN_TIMEOUT_MS });
  assert.deepEqual([status, stderr], [0, '']);
  checkTranscript(stdout);
});

function checkUnchanged(after: HostState, before: HostState): void {
  for (const part of Object.keys(before) as (keyof HostState)[])
    assert.deepEqual(after[part], before[part], part);
}

const INTERRUPTIONS = [
  { signal: 'SIGINT', after: 'not touched', code: 130 },
  { signal: 'SIGTERM', after: '2. ', code: 143 },
  { signal: 'SIGQUIT', after: '3. ', code: 131 },
  { signal: 'SIGHUP', after: '4. ', code: 'SIGHUP' },
] as const;

test('a signal at any time ends the demo, which leaves nothing', async (context) => {
  const host = await startDemoHost(context);
  const before = host.state();
  for (const { signal, after, code } of INTERRUPTIONS) {
    const demo = await host.start();
    await demo.waitFor(after);
    demo.kill(signal);
    // who is in a hurry presses it twice
    demo.kill(signal);
    assert.deepEqual(
      [await demo.ended(), demo.stderr()],
      [code, `honeyport: interrupted (${signal}): all that was made is gone again\n`],
    );
    assert.doesNotMatch(demo.stdout(), /All of it is gone/);
    checkUnchanged(host.state(), before);
  }
});

test('a reader that goes away ends the demo, which leaves nothing', async (context) => {
  const host = await startDemoHost(context);
  const before = host.state();
  const demo = await host.start();
  await demo.waitFor('1. ');
  demo.hangUp();
  assert.equal(await demo.ended(), 141);
  checkUnchanged(host.state(), before);
});

test('what a killed demo started ends with it, and the next one removes the rest', async (context) => {
  const host = await startDemoHost(context);
  const before = host.state();
  const killed = await host.start();
  await killed.waitFor('4. ');
  const isLasting = (line: string) => /fail2ban-server|cli\.js run|createServer/.test(line);
  assert.equal(host.processes().filter(isLasting).length, 3);
  killed.kill('SIGKILL');
  await waitFor(() => !host.processes().some(isLasting), {
    deadlineMs: DEADLINE_MS,
    what: () => `the end of:\n${host.processes().join('\n')}`,
  });
  const left = host.state();
  assert.match(left.links, /^honeyport-demo-attacker-\d+$/m);
  assert.match(left.files, /^\/run\/honeyport-demo-\d+-\w+\/fail2ban\.log$/m);

  const next = await host.start();
  await next.waitFor('1. ');
  next.kill('SIGINT');
  assert.equal(await next.ended(), 130);
  checkUnchanged(host.state(), before);
});

test("a failure is told with the end of fail2ban's log, and leaves nothing", async (context) => {
  const host = await startDemoHost(context);
  const programs = join(host.root, 'tmp/programs');
  linkPrograms(programs, ['nft', 'ip', 'setpriv', 'cat', 'sh', 'dirname']);
  const broken =
    'echo "a line of its log" > "$(dirname "$2")/fail2ban.log"; echo "it says why" >&2; exit 255';
  writeFileSync(join(programs, 'fail2ban-server'), `#!/bin/sh\n${broken}\n`);
  chmodSync(join(programs, 'fail2ban-server'), 0o755);
  const before = host.state();
  const demo = await host.start({ path: '/tmp/programs' });
  assert.equal(await demo.ended(), 1);
  assert.match(
    demo.stderr(),
    /^honeyport: fail2ban\.log: a line of its log\nhoneyport: error: the start of .*: fail2ban has ended, and said: it says why\n$/,
  );
  checkUnchanged(host.state(), before);
});

test('programs that are missing are named all at once, with the line that installs them', (context) => {
  const { status, stdout, stderr } = demoWith({
    path: linkPrograms(temporaryDirectory(context), ['ip', 'setpriv']),
  });
  assert.deepEqual([status, stdout], [1, '']);
  assert.equal(
    stderr,
    'honeyport: error: not installed, or not in PATH: fail2ban-server, nft\nhoneyport: hint: apt-get install fail2ban nftables\n',
  );
});

test('who is not root is told so', () => {
  const { status, stdout, stderr } = demoWith({ as: ['--reuid=65534', '--regid=65534', '--clear-groups'] });
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /^honeyport: error: expected root.*\nhoneyport: hint: sudo honeyport demo\n$/);
});

test('root without the right to make networks, as in a container, is told so, and nothing is left', () => {
  const { status, stderr } = demoWith({ as: ['--bounding-set=-all'] });
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^honeyport: error: ip netns add honeyport-demo-sensor-\d+: .*\nhoneyport: hint: root may not make networks here.*\n$/,
  );
  const pid = /sensor-(\d+)/.exec(stderr)![1];
  const left = readdirSync('/run').filter((name) => name.startsWith(`honeyport-demo-${pid}-`));
  assert.deepEqual(left, []);
});

test('arguments are refused as usage errors', () => {
  const { status, stderr } = spawnSync(process.execPath, [CLI, 'demo', 'now'], { encoding: 'utf8' });
  assert.equal(status, 2);
  assert.match(stderr, /^honeyport: error: too many arguments/);
});

/** Runs the demo on this machine, where it is to be refused. */
function demoWith({
  path = process.env.PATH,
  as = [],
}: {
  path?: string | undefined;
  as?: readonly string[];
}) {
  return spawnSync(requireProgram('setpriv'), [...as, process.execPath, CLI, 'demo'], {
    encoding: 'utf8',
    timeout: RUN_TIMEOUT_MS,
    env: { ...process.env, PATH: path },
  });
}

/** Makes a directory with nothing but these programs of this machine. */
function linkPrograms(directory: string, programs: readonly string[]): string {
  mkdirSync(directory, { recursive: true });
  for (const name of programs) symlinkSync(requireProgram(name), join(directory, name));
  return directory;
}
