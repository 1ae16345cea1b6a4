import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI, type RunningHoneyport, readLines, startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, runLoad } from '../support/load.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 20_000;
/** Node's inspector listens here unless told otherwise. */
const DEBUGGER_PORT = 9229;
/** Below those that the kernel gives to outgoing connections, and above those of known services. */
const PORTS = { first: 21_000, last: 31_000 } as const;

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} ends in order, with its name in the last line`, async (context) => {
    const { honeyport, port } = await start(context);
    await knock(port);
    assert.deepEqual(await honeyport.stop(signal), { code: 0, signal: null });
    const lines = readLines(honeyport.logFile);
    assert.deepEqual(lines.map(kindOf), ['start', 'connect', 'stop']);
    assert.match(lines.at(-1)!, new RegExp(`: stop signal=${signal} id=`));
  });
}

test('signals that follow the first change nothing', async (context) => {
  const { honeyport } = await start(context);
  process.kill(honeyport.pid, 'SIGTERM');
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGTERM'] as const)
    killIfThere(honeyport.pid, signal);
  assert.deepEqual(await honeyport.ended(), { code: 0, signal: null });
  // signals that arrive together are taken in the order of their numbers, so a reload may come first
  const kinds = readLines(honeyport.logFile).map(kindOf);
  assert.deepEqual([kinds.at(-1), kinds.filter((kind) => kind === 'stop').length], ['stop', 1]);
});

test('SIGHUP while the last lines wait for the log is no fault', async (context) => {
  const { honeyport, port } = await start(context);
  renameSync(honeyport.logFile, `${honeyport.logFile}.1`);
  mkdirSync(honeyport.logFile);
  await knock(port);
  await honeyport.waitForStderr(/: it is a directory; lines wait in memory$/m);
  process.kill(honeyport.pid, 'SIGTERM');
  await waitFor(async () => (await attempt(port)).outcome === 'ECONNREFUSED', {
    deadlineMs: DEADLINE_MS,
    what: 'the port to be closed',
  });
  const config = `decoys: [{ ports: ${await freePort()} }]\nlog: { file: { path: ${honeyport.logFile}.2 } }\n`;
  writeFileSync(honeyport.configFile, config);
  killIfThere(honeyport.pid, 'SIGHUP');
  assert.deepEqual(await honeyport.ended(), { code: 0, signal: null });
  const kinds = readLines(`${honeyport.logFile}.1`).map(kindOf);
  assert.deepEqual(
    [...new Set(kinds)],
    ['start', 'connect', 'stop'],
    'no reload, and nothing after the stop',
  );
  assert.ok(!existsSync(`${honeyport.logFile}.2`));
});

test('SIGTERM that follows the start line ends in order', async (context) => {
  const { honeyport } = await start(context, { started: false });
  await honeyport.waitForLine(/: start /);
  assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
  assert.deepEqual(readLines(honeyport.logFile).map(kindOf), ['start', 'stop']);
});

test('SIGTERM under full load loses no connection that ended in order', async (context) => {
  const { honeyport, port } = await start(context);
  const clients = Array.from({ length: 20 }, () => connectUntilRefused(port));
  const load = runLoad({ address: '127.0.0.1', ports: port, count: 30_000, concurrency: 200, wallS: 30 });
  await waitFor(() => readLines(honeyport.logFile).length > 3_000, {
    deadlineMs: DEADLINE_MS,
    what: 'three thousand lines',
  });
  assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
  const ended = (await Promise.all(clients)).flat();
  const { established } = await load;
  const lines = readLines(honeyport.logFile);
  assert.match(lines.at(-1)!, /: stop signal=SIGTERM /);
  const connects = lines.filter((line) => kindOf(line) === 'connect');
  const seen = new Map<string, number>();
  for (const line of connects) {
    const spt = / spt=(\d+) /.exec(line)![1]!;
    seen.set(spt, (seen.get(spt) ?? 0) + 1);
  }
  assert.ok(ended.length > 20, `only ${ended.length} connections were seen to end`);
  assert.deepEqual(
    ended.filter((local) => !seen.has(String(local))),
    [],
    'ended in order and not in the log',
  );
  const ends = ended.map((spt) => ({ src: '127.0.0.1', spt, dst: '127.0.0.1', dpt: port }));
  const { duplicated, invented } = compareLogWithManifest(lines, [...established, ...ends]);
  // a connection whose end a client did not see, as honeyport had stopped, may be in the log all the same: once
  assert.deepEqual(duplicated, []);
  assert.ok(invented.length <= clients.length, `${invented.length} connections that no client made`);
});

test('SIGUSR1 opens no debugger, and the listener goes on', async (context) => {
  const { honeyport, port } = await start(context);
  for (let times = 0; times < 3; times++) process.kill(honeyport.pid, 'SIGUSR1');
  await honeyport.waitForStderr(/^honeyport: warning: SIGUSR1 has no meaning here; SIGHUP reloads$/m);
  await knock(port);
  assert.deepEqual(listeningPorts(honeyport.pid), [port]);
  assert.ok(!listeningPorts(honeyport.pid).includes(DEBUGGER_PORT));
  assert.ok(!honeyport.stderr().includes('Debugger'));
  await honeyport.waitForLine(/: connect /);
  assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
});

for (const signal of ['SIGPIPE', 'SIGXFSZ'] as const) {
  test(`${signal} does not end the listener`, async (context) => {
    const { honeyport, port } = await start(context);
    process.kill(honeyport.pid, signal);
    await knock(port);
    assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
    assert.deepEqual(readLines(honeyport.logFile).map(kindOf), ['start', 'connect', 'stop']);
  });
}

/** A shell's redirection of a honeyport whose output is shown as lines; `$!` is not waited for by those who read. */
const OUTPUTS: readonly (readonly [title: string, redirection: string])[] = [
  ['whose output goes to a reader that leaves after the first line', '> >(head -n 1 >/dev/null) 2>&1'],
  ['whose standard error goes to a reader that leaves at once', '2> >(true)'],
  ['whose standard output is closed', '>&-'],
  ['whose standard error is closed', '2>&-'],
  ['whose standard input is closed', '<&-'],
  ['of which all three are closed', '<&- >&- 2>&-'],
  ['whose output is a full device', '>/dev/full 2>&1'],
];

for (const [title, redirection] of OUTPUTS) {
  test(`a honeyport ${title} logs every connection and reload`, async (context) => {
    const { honeyport, port } = await start(context, { console: 'line', redirection });
    await honeyport.waitForLine(/: start /);
    for (let round = 1; round <= 5; round++) {
      await knock(port);
      process.kill(honeyport.pid, 'SIGHUP');
      await waitFor(() => count(honeyport, 'reload') === round, {
        deadlineMs: DEADLINE_MS,
        what: 'the reload',
      });
    }
    assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
    const wanted = ['start', ...Array.from({ length: 5 }, () => ['connect', 'reload']).flat(), 'stop'];
    assert.deepEqual(readLines(honeyport.logFile).map(kindOf), wanted);
  });
}

test('a terminal that takes nothing, as after Ctrl-S, holds up neither log, reload nor stop', async (context) => {
  const { honeyport, port } = await start(context, {
    console: 'line',
    wrapper: onStoppedTerminal(),
    started: false,
  });
  await honeyport.waitForLine(/: start /);
  const { established } = await runLoad({ address: '127.0.0.1', ports: port, count: 5_000, concurrency: 50 });
  const pid = pidOf(honeyport);
  // far more messages than a terminal takes
  for (let round = 1; round <= 200; round++) {
    process.kill(pid, 'SIGHUP');
    await waitFor(() => count(honeyport, 'reload') === round, {
      deadlineMs: DEADLINE_MS,
      what: () => `reload ${round}`,
      everyMs: 5,
    });
  }
  await knock(port);
  process.kill(pid, 'SIGTERM');
  assert.deepEqual(await honeyport.ended(), { code: 0, signal: null });
  const lines = readLines(honeyport.logFile);
  assert.equal(lines.filter((line) => kindOf(line) === 'connect').length, established.length + 1);
  assert.match(lines.at(-1)!, /: stop signal=SIGTERM /);
});

test('what is printed may be cut off by its reader without a word', async () => {
  const pipe = 'set -o pipefail; "$@" | head -n 1';
  const shell = spawn('bash', ['-c', pipe, 'bash', process.execPath, CLI, 'schema'], {
    timeout: DEADLINE_MS,
  });
  let stderr = '';
  shell.stderr.on('data', (text) => {
    stderr += text;
  });
  const code = await new Promise((resolve) => shell.once('close', resolve));
  assert.equal(stderr, '');
  assert.equal(code, 0);
});

interface Started {
  readonly honeyport: RunningHoneyport;
  readonly port: number;
}

interface StartSettings {
  readonly console?: string;
  /** Of a shell that becomes honeyport. */
  readonly redirection?: string;
  readonly wrapper?: readonly string[];
  readonly started?: boolean;
}

async function start(context: TestContext, settings: StartSettings = {}): Promise<Started> {
  const { console = 'off', redirection, started = redirection === undefined } = settings;
  const dir = temporaryDirectory(context);
  const port = await freePort();
  const config = `decoys: [{ ports: ${port} }]\nguard: off\nlimits: { lines_per_source: off, lines: off }\nlog: { file: { path: LOG }, console: ${console} }\n`;
  const shell = redirection === undefined ? [] : ['bash', '-c', `exec "$@" ${redirection}`, 'bash'];
  const wrapper = [...(settings.wrapper ?? []), ...shell];
  const honeyport = await startHoneyport({ dir, config, started, wrapper });
  context.after(() => honeyport.stop('SIGKILL'));
  return { honeyport, port };
}

/** Runs a command on a terminal of its own that nobody reads, and ends as it does. */
function onStoppedTerminal(): string[] {
  const program = [
    'import os, pty, subprocess, sys',
    'master, terminal = pty.openpty()',
    'child = subprocess.Popen(sys.argv[1:], stdin=terminal, stdout=terminal, stderr=terminal)',
    'sys.exit(child.wait())',
  ];
  // should the test end the terminal's owner, the command goes with it
  const tied = [requireProgram('setpriv'), '--pdeathsig', 'KILL'];
  return [requireProgram('python3'), '-c', program.join('\n'), ...tied];
}

/** The process that writes the log, where another one started it. */
function pidOf(honeyport: RunningHoneyport): number {
  return Number(/ honeyport\[(\d+)\]: /.exec(honeyport.lines()[0]!)![1]);
}

/** Connects again and again; the local ports of connections that honeyport ended in order. */
async function connectUntilRefused(port: number): Promise<number[]> {
  const ended: number[] = [];
  for (;;) {
    const { outcome, localPort } = await attempt(port);
    if (outcome === 'end') ended.push(localPort!);
    else if (outcome === 'ECONNREFUSED') return ended;
    else assert.equal(outcome, 'ECONNRESET', 'the kernel resets what honeyport has not accepted');
  }
}

async function knock(port: number): Promise<void> {
  assert.equal((await attempt(port)).outcome, 'end');
}

function attempt(port: number): Promise<{ outcome: string; localPort: number | undefined }> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let localPort: number | undefined;
    const finish = (outcome: string) => {
      socket.destroy();
      resolve({ outcome, localPort });
    };
    socket.setTimeout(DEADLINE_MS, () => finish('timeout'));
    socket.once('connect', () => {
      localPort = socket.localPort;
    });
    socket.once('end', () => finish('end'));
    socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.resume();
  });
}

/** The ports that a process listens on, by the inodes of its sockets. */
function listeningPorts(pid: number): number[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return 'closed meanwhile';
      }
    }),
  );
  const rows = ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, 'latin1').split('\n').slice(1),
  );
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === '0A' && sockets.has(`socket:[${inode}]`))
    .map(([, local = '']) => Number.parseInt(local.split(':')[1]!, 16));
}

async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * (PORTS.last - PORTS.first));
    const server = createServer().listen(port);
    const free = await new Promise<boolean>((resolve) => {
      server.once('listening', () => resolve(true)).once('error', () => resolve(false));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

function killIfThere(pid: number, signal: NodeJS.Signals): void {
  if (existsSync(`/proc/${pid}`)) process.kill(pid, signal);
}

function count(honeyport: RunningHoneyport, kind: string): number {
  return honeyport.lines().filter((line) => kindOf(line) === kind).length;
}

/** The word that says what a line is. */
function kindOf(line: string): string {
  return /honeyport\[\d+\]: ([a-z]+) /.exec(line)?.[1] ?? line;
}
