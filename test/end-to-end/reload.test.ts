import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, readLines, startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, type Established, runLoad } from '../support/load.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 20_000;
const REFUSED = 'honeyport: warning: the new configuration is not applied: the old one runs on';
/** Below those that the kernel gives to outgoing connections, and above those of known services. */
const PORTS = { first: 21_000, last: 31_000 } as const;

/** Brings a new file about. @returns the number of reloads that this causes */
type Change = (stage: Stage, text: string) => number | Promise<number>;

/** What the watch sees. */
const edit: Change = ({ file }, text) => {
  writeFileSync(file, text);
  return 1;
};

/** The signal is answered at once; the watch finds the edit when it has settled, and it runs already. */
const editAndSignal: Change = ({ honeyport, file }, text) => {
  writeFileSync(file, text);
  process.kill(honeyport.pid, 'SIGHUP');
  return 2;
};

const renameOver: Change = ({ file }, text) => {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
  return 1;
};

const removeAndBringBack: Change = async ({ honeyport, file }, text) => {
  const warnings = () => honeyport.stderr().split('is gone: the configuration read before runs on').length;
  const before = warnings();
  rmSync(file);
  await waitFor(() => warnings() > before, { deadlineMs: DEADLINE_MS, what: 'the loss to be seen' });
  writeFileSync(file, text);
  return 1;
};

const WAYS: readonly (readonly [way: string, change: Change])[] = [
  ['an edit and SIGHUP', editAndSignal],
  ['an edit in place', edit],
  ['a file renamed over it', renameOver],
  ['a file that went and came back', removeAndBringBack],
];

for (const [way, change] of WAYS) {
  test(`a fault that comes by ${way} leaves the old configuration running`, async (context) => {
    const stage = await start(context);
    const [port = 0, other = 0] = await freePorts(2);
    const faults: readonly (readonly [text: string, problem: string])[] = [
      ['decoys: [', `${stage.file}:1:10: not valid YAML: `],
      [
        configuration({ ports: [other], log: stage.log, extra: 'sensro: x' }),
        `${stage.file}:1:1: sensro: unknown key, did you mean sensor?`,
      ],
      [
        configuration({ ports: [other, 70_000], log: stage.log }),
        'expected a port between 1 and 65535, got 70000',
      ],
      ['', `${stage.file}:1:1: expected a mapping with the key decoys, got nothing`],
    ];
    for (const [text, problem] of faults) {
      await refused(stage, () => change(stage, text), problem);
      await knock(stage.port);
      assert.equal(await outcome(other), 'ECONNREFUSED');
    }
    await applied(stage, () => change(stage, configuration({ ports: [stage.port, port], log: stage.log })));
    await knock(port);
    await stage.honeyport.waitForLine(new RegExp(` dpt=${port} `));
    const connects = stage.honeyport.lines().filter((line) => line.includes(`connect src=127.0.0.1`));
    assert.equal(connects.length, faults.length + 1, 'every knock is in the log');
  });
}

test('a change by way of symbolic links is seen', async (context) => {
  const directory = temporaryDirectory(context);
  const [port = 0, second = 0, third = 0] = await freePorts(3);
  const file = join(directory, 'honeyport.yaml');
  const log = join(directory, 'honeyport.log');
  const version = (name: string, listened: number) => {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'honeyport.yaml'), configuration({ ports: [listened], log }));
    symlinkSync(name, join(directory, 'data.new'));
    renameSync(join(directory, 'data.new'), join(directory, 'data'));
    return 1;
  };
  version('one', port);
  symlinkSync('data/honeyport.yaml', file);
  const honeyport = await startHoneyport({ dir: directory });
  context.after(() => honeyport.stop('SIGKILL'));
  const stage = { honeyport, file, log, port };
  await applied(stage, () => version('two', second));
  await knock(second);
  await applied(stage, () => version('three', third));
  await knock(third);
  assert.equal(await outcome(second), 'ECONNREFUSED');
});

test('a port in use refuses the whole reload', async (context) => {
  const stage = await start(context);
  const holder = await listen(context, '127.0.0.1');
  const [free = 0] = await freePorts(1);
  const text = configuration({ ports: [free, holder.port], log: stage.log });
  const owner = `${basename(readlinkSync('/proc/self/exe'))}[${process.pid}]`;
  await refused(stage, () => edit(stage, text), `cannot listen on port ${holder.port}: in use by ${owner}`);
  await knock(stage.port);
  assert.equal(await outcome(free), 'ECONNREFUSED', 'no port of a refused configuration stays open');
});

test('an address that this host does not have refuses the move of a port, which listens on as before', async (context) => {
  const stage = await start(context);
  const text = configuration({ ports: [stage.port], address: '192.0.2.77', log: stage.log });
  await refused(stage, () => edit(stage, text), 'no interface of this host has that address');
  await knock(stage.port);
  await knock(stage.port, '::1');
});

test('a log that cannot be opened refuses the reload', async (context) => {
  const stage = await start(context);
  const log = join(stage.honeyport.dir, 'no', 'such.log');
  const [other = 0] = await freePorts(1);
  const problem = `cannot write the log ${log}: the directory ${join(stage.honeyport.dir, 'no')} does not exist`;
  await refused(stage, () => edit(stage, configuration({ ports: [other], log })), problem);
  await knock(stage.port);
  assert.equal(await outcome(other), 'ECONNREFUSED');
});

test('ports come and go with a reload', async (context) => {
  const stage = await start(context);
  const [added = 0] = await freePorts(1);
  await applied(stage, () => edit(stage, configuration({ ports: [stage.port, added], log: stage.log })));
  await knock(added);
  await knock(stage.port);
  await applied(stage, () => edit(stage, configuration({ ports: [added], log: stage.log })));
  await knock(added);
  assert.equal(await outcome(stage.port), 'ECONNREFUSED');
});

test('a port moves from all addresses to one and back', async (context) => {
  const stage = await start(context);
  const at = (address?: string) => configuration({ ports: [stage.port], log: stage.log, address });
  await applied(stage, () => edit(stage, at('127.0.0.1')));
  await knock(stage.port);
  assert.equal(await outcome(stage.port, '::1'), 'ECONNREFUSED');
  await applied(stage, () => edit(stage, at('::1')));
  await knock(stage.port, '::1');
  assert.equal(await outcome(stage.port), 'ECONNREFUSED');
  await applied(stage, () => edit(stage, at()));
  await knock(stage.port);
  await knock(stage.port, '::1');
});

test('a new name of decoy and sensor is in the next line', async (context) => {
  const stage = await start(context);
  await knock(stage.port);
  const text = configuration({ ports: [stage.port], log: stage.log, name: 'renamed', sensor: 'web-9' });
  await applied(stage, () => edit(stage, text));
  await knock(stage.port);
  const connects = stage.honeyport.lines().filter((line) => line.includes(': connect '));
  assert.equal(connects.length, 2);
  assert.match(connects[0]!, / test-1 honeyport\[\d+\]: connect .* decoy=first /);
  assert.match(connects[1]!, / web-9 honeyport\[\d+\]: connect .* decoy=renamed /);
});

test('a new log has the next line, the old one all before, and the numbers go on', async (context) => {
  const stage = await start(context);
  await knock(stage.port);
  const log = join(stage.honeyport.dir, 'other.log');
  await applied({ ...stage, log }, () => edit(stage, configuration({ ports: [stage.port], log })));
  await knock(stage.port);
  const before = readLines(stage.log);
  const after = readLines(log);
  assert.deepEqual(before.map(kindOf), ['start', 'connect']);
  assert.deepEqual(after.map(kindOf), ['reload', 'connect']);
  assert.deepEqual([...before, ...after].map(numberOf), [1, 2, 3, 4]);
});

test('the console comes and goes with a reload', async (context) => {
  const stage = await start(context);
  await knock(stage.port);
  const shown = (console: string) => configuration({ ports: [stage.port], log: stage.log, console });
  await applied(stage, () => edit(stage, shown('line')));
  await knock(stage.port);
  await waitFor(() => stage.honeyport.stdout().includes(': connect '), {
    deadlineMs: DEADLINE_MS,
    what: 'a line on the console',
  });
  await applied(stage, () => edit(stage, shown('off')));
  await knock(stage.port);
  await stage.honeyport.stop();
  assert.deepEqual(
    stage.honeyport.stdout().split('\n').slice(0, -1),
    readLines(stage.log).filter((line) => numberOf(line) === 3 || numberOf(line) === 4),
  );
});

test('a reload without a change changes nothing and says so', async (context) => {
  const stage = await start(context);
  await applied(stage, () => {
    process.kill(stage.honeyport.pid, 'SIGHUP');
    return 1;
  });
  await knock(stage.port);
  assert.deepEqual(readLines(stage.log).map(kindOf), ['start', 'reload', 'connect']);
  assert.match(stage.honeyport.stderr(), /^honeyport: reloaded: 1 decoy, 1 port$/m);
});

test('after a rotation that makes no new file SIGHUP makes the log anew at once', async (context) => {
  const stage = await start(context);
  await knock(stage.port);
  renameSync(stage.log, `${stage.log}.1`);
  process.kill(stage.honeyport.pid, 'SIGHUP');
  await waitFor(() => existsSync(stage.log) && readLines(stage.log).length > 0, {
    deadlineMs: DEADLINE_MS,
    what: 'the log to be made anew',
  });
  await knock(stage.port);
  assert.deepEqual(readLines(`${stage.log}.1`).map(kindOf), ['start', 'connect']);
  assert.deepEqual(readLines(stage.log).map(kindOf), ['reload', 'connect']);
});

test('SIGHUP without a file is taken, and the log reopened', async (context) => {
  const [port = 0] = await freePorts(1);
  const honeyport = await startHoneyport({ args: ['run', '-p', String(port)] });
  context.after(() => honeyport.stop('SIGKILL'));
  await knock(port);
  renameSync(honeyport.logFile, `${honeyport.logFile}.1`);
  process.kill(honeyport.pid, 'SIGHUP');
  await honeyport.waitForStderr(/^honeyport: reloaded: 1 decoy, 1 port$/m);
  await knock(port);
  // the built-in default has the guard on
  assert.deepEqual(readLines(`${honeyport.logFile}.1`).map(kindOf), ['start', 'allowed']);
  assert.deepEqual(readLines(honeyport.logFile).map(kindOf), ['reload', 'allowed']);
});

test('SIGHUP that follows the start line is no end', async (context) => {
  const stage = await start(context, false);
  await stage.honeyport.waitForLine(/: start /);
  process.kill(stage.honeyport.pid, 'SIGHUP');
  await stage.honeyport.waitForLine(/: reload result=applied /);
});

test('connections at full rate through twenty reloads are all logged, each once', async (context) => {
  const stage = await start(context);
  const added = await freePorts(2);
  const variants = [
    configuration({ ports: [stage.port, ...added], log: stage.log }),
    configuration({ ports: [stage.port], log: stage.log, name: 'renamed', sensor: 'web-9' }),
    'decoys: 5',
  ];
  let reloading = true;
  const load = loadWhile(() => reloading, stage.port);
  for (let round = 0; round < 20; round++) {
    const text = variants[round % variants.length]!;
    const result = text === 'decoys: 5' ? 'refused' : 'applied';
    await reloaded(stage, () => editAndSignal(stage, text), result);
  }
  reloading = false;
  const established = await load;
  await stage.honeyport.stop();
  const lines = readLines(stage.log);
  assert.deepEqual(compareLogWithManifest(lines, established), { missing: [], duplicated: [], invented: [] });
  assert.deepEqual(
    lines.map(numberOf),
    lines.map((_, index) => index + 1),
  );
});

interface Stage {
  readonly honeyport: RunningHoneyport;
  readonly file: string;
  readonly log: string;
  readonly port: number;
}

/** One load after the other; every connection of theirs must be accepted. */
async function loadWhile(wanted: () => boolean, ports: number): Promise<Established[]> {
  const all: Established[] = [];
  while (wanted()) {
    const load = { address: '127.0.0.1', ports, count: 2_000, rate: 4_000, concurrency: 200 };
    const { established, summary } = await runLoad(load);
    assert.deepEqual(summary.errors, {}, 'no connection may be refused');
    all.push(...established);
  }
  return all;
}

/** A honeyport with one port on all addresses, started with the name test-1. */
async function start(context: TestContext, started = true): Promise<Stage> {
  const dir = temporaryDirectory(context);
  const log = join(dir, 'honeyport.log');
  const [port = 0] = await freePorts(1);
  const honeyport = await startHoneyport({ dir, started, config: configuration({ ports: [port], log }) });
  context.after(() => honeyport.stop('SIGKILL'));
  return { honeyport, file: honeyport.configFile, log, port };
}

interface Wanted {
  readonly ports: readonly number[];
  readonly log: string;
  readonly name?: string;
  readonly address?: string | undefined;
  readonly sensor?: string;
  readonly console?: string;
  /** A line of its own. */
  readonly extra?: string;
}

function configuration(wanted: Wanted): string {
  const { ports, log, name = 'first', address, sensor = 'test-1', console = 'off', extra = '' } = wanted;
  const at = address === undefined ? '' : `, address: "${address}"`;
  return `${extra}
sensor: ${sensor}
decoys: [{ name: ${name}, ports: [${ports}]${at} }]
guard: off
limits: { lines_per_source: off, lines: off }
log: { file: { path: ${log} }, console: ${console} }
`.trimStart();
}

/** Waits for as many results of reloads as the change causes, all of which must be the wanted one. */
async function reloaded(
  { log }: Pick<Stage, 'log'>,
  change: () => number | Promise<number>,
  result: 'applied' | 'refused',
): Promise<void> {
  const results = () => readLines(log).filter((line) => line.includes(': reload '));
  const before = results().length;
  const wanted = before + (await change());
  await waitFor(() => results().length >= wanted, {
    deadlineMs: DEADLINE_MS,
    what: () => `${wanted} reloads, of which the log has:\n${results().join('\n')}`,
  });
  for (const line of results().slice(before)) assert.match(line, new RegExp(`: reload result=${result} `));
}

async function applied(stage: Stage, change: () => number | Promise<number>): Promise<void> {
  await reloaded(stage, change, 'applied');
}

/** @param problem what standard error must tell, in an error's line */
async function refused(stage: Stage, change: () => number | Promise<number>, problem: string): Promise<void> {
  const before = stage.honeyport.stderr().length;
  await reloaded(stage, change, 'refused');
  const said = () => stage.honeyport.stderr().slice(before).split('\n');
  await waitFor(() => said().includes(REFUSED), { deadlineMs: DEADLINE_MS, what: `"${REFUSED}"` });
  const errors = said().filter((line) => line.startsWith('honeyport: error: '));
  assert.ok(
    errors.some((line) => line.includes(problem)),
    `expected ${problem} in:\n${said().join('\n')}`,
  );
}

/** Connects and waits for the orderly end, after which the connection is in the log. */
async function knock(port: number, host = '127.0.0.1'): Promise<void> {
  assert.equal(await outcome(port, host), 'end');
}

function outcome(port: number, host = '127.0.0.1'): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host });
    const finish = (text: string) => {
      socket.destroy();
      resolve(text);
    };
    socket.setTimeout(DEADLINE_MS, () => finish('timeout'));
    socket.once('end', () => finish('end')).once('error', (error) => finish(codeOf(error)));
    socket.resume();
  });
}

function codeOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message;
}

async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = PORTS.first + Math.floor(Math.random() * (PORTS.last - PORTS.first));
    if ((await outcomeOfListening(port)) === 'free') ports.add(port);
  }
  return [...ports];
}

async function outcomeOfListening(port: number): Promise<'free' | 'taken'> {
  const server = createServer().listen(port);
  const state = await new Promise<'free' | 'taken'>((resolve) => {
    server.once('listening', () => resolve('free')).once('error', () => resolve('taken'));
  });
  if (state === 'free') await new Promise((resolve) => server.close(resolve));
  return state;
}

async function listen(context: TestContext, host: string): Promise<{ port: number; server: Server }> {
  const server = createServer().listen(0, host);
  context.after(() => server.close());
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
  return { port: (server.address() as AddressInfo).port, server };
}

/** The word that says what a line is. */
function kindOf(line: string): string {
  return /honeyport\[\d+\]: ([a-z]+) /.exec(line)?.[1] ?? line;
}

/** The rising part of a line's id. */
function numberOf(line: string): number {
  return Number(/ id=[a-z2-7]{8}\.(\d+)/.exec(line)?.[1]);
}
