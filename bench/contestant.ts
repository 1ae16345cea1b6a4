import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, mkdir, mkdtemp, open, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { portArgument } from './load.ts';
import { type Logged, parseLog } from './manifest.ts';

const run = promisify(execFile);
const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 10_000;

export type Ports = readonly [first: number, last: number];

/** A program that logs connections, and how it is started. */
export interface Contestant {
  readonly name: 'honeyport' | 'reference';
  /** Whether its lines tell the destination address. */
  readonly tellsDestination: boolean;
  command(ports: Ports, logPath: string): Promise<string[]>;
}

/** A contestant that listens. */
export interface Running {
  readonly contestant: Contestant;
  readonly ports: Ports;
  readonly child: ChildProcess;
  readonly pid: number;
  readonly logPath: string;
  /** From spawn to the `start` line in its log. */
  readonly startMs: number;
}

/** Resident memory in MiB: now, and the highest so far. */
export interface Memory {
  readonly rss: number;
  readonly peak: number;
}

/** The yardstick, bench/reference.c. */
export function reference(program: string): Contestant {
  return {
    name: 'reference',
    tellsDestination: false,
    command: async (ports, logPath) => [program, '-p', portArgument(ports), '-l', logPath],
  };
}

export interface HoneyportOptions {
  /** Addresses of syslog receivers. */
  readonly receivers?: readonly string[];
  /** Keys of `limits`; without them every connection gets its line. */
  readonly lineLimits?: string;
  /** More of the configuration. */
  readonly rest?: string;
}

/** Honeyport as its users run it, log and configuration in directories of their own, with `cli` as its dist/cli.js. */
export function honeyport(cli: string, options: HoneyportOptions = {}): Contestant {
  return {
    name: 'honeyport',
    tellsDestination: true,
    command: async (ports, logPath) => {
      const path = join(dirname(logPath), '..', 'etc', 'honeyport.yaml');
      await mkdir(dirname(path));
      await writeFile(path, configuration(ports, logPath, options));
      return [process.execPath, cli, 'run', '-c', path];
    },
  };
}

/** Every connection gets its line: rates are lifted, and loopback, which the guard allows, is an attacker like any other. */
function configuration(
  ports: Ports,
  logPath: string,
  { receivers = [], lineLimits = 'lines_per_source: off, lines: off', rest = '' }: HoneyportOptions,
): string {
  const syslog = receivers.map((address) => ({ address }));
  const log = { file: { path: logPath }, console: 'off', syslog };
  return [
    `decoys: [{ ports: [${portArgument(ports)}] }]`,
    'guard: off',
    'brake: off',
    `limits: { ${lineLimits} }`,
    `log: ${JSON.stringify(log)}`,
    rest,
    '',
  ].join('\n');
}

/** Starts a contestant and waits until it listens; rejects with its own words when it does not come up. */
export async function start(contestant: Contestant, ports: Ports, directory: string): Promise<Running> {
  const logPath = join(await mkdtemp(join(directory, `${contestant.name}-`)), 'log', 'log');
  await mkdir(dirname(logPath));
  const [file, ...args] = await contestant.command(ports, logPath);
  const began = performance.now();
  const child = spawn(file!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const killer = () => child.kill('SIGKILL');
  process.once('exit', killer);
  child.once('exit', () => process.removeListener('exit', killer));
  await untilStarted(child, logPath, contestant.name);
  return { contestant, ports, child, pid: child.pid!, logPath, startMs: performance.now() - began };
}

async function untilStarted(child: ChildProcess, logPath: string, name: string): Promise<void> {
  let words = '';
  child.stderr!.on('data', (chunk) => {
    words = `${words}${chunk}`.slice(-4000);
  });
  child.once('error', (error) => {
    words += error.message;
  });
  for (const deadline = performance.now() + START_DEADLINE_MS; performance.now() < deadline; await sleep(1)) {
    const log = await readFile(logPath, 'latin1').catch(() => '');
    if (/\sstart(\s.*)?\n/.test(log)) return;
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) break;
  }
  await sleep(50);
  child.kill('SIGKILL');
  throw new Error(`${name} did not start: ${words.trim() || 'no start line in its log, and no message'}`);
}

/** Ends a contestant as its service manager would, and waits for it. */
export async function stop({ child, contestant }: Running): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    throw new Error(
      `${contestant.name} ended during the run (${child.signalCode ?? `exit ${child.exitCode}`})`,
    );
  }
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const inTime = await Promise.race([
    exited.then(() => true),
    sleep(STOP_DEADLINE_MS, false, { ref: false }),
  ]);
  if (inTime) return;
  child.kill('SIGKILL');
  throw new Error(`${contestant.name} did not end within ${STOP_DEADLINE_MS / 1000} s of SIGTERM`);
}

/** CPU time of the whole process so far, user and system. */
export async function cpuNs(program: string, pid: number): Promise<number> {
  const { stdout } = await run(program, [String(pid)]);
  return Number(stdout);
}

export async function memory(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mebibytes = (key: string) =>
    Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  return { rss: mebibytes('VmRSS'), peak: mebibytes('VmHWM') };
}

/** Reads a growing log, each line once. */
export class LogReader {
  readonly #file: FileHandle;
  #offset = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(path: string): Promise<LogReader> {
    return new LogReader(await open(path));
  }

  /** The connections logged since the last call, once there are `count`, or once the log has not grown for `patienceMs`. */
  async next(count: number, patienceMs = 5000): Promise<Logged[]> {
    const logged = await this.rest();
    for (let grownAt = performance.now(); logged.length < count; await sleep(20)) {
      const more = await this.rest();
      if (more.length > 0) grownAt = performance.now();
      if (performance.now() - grownAt > patienceMs) break;
      for (const line of more) logged.push(line);
    }
    return logged;
  }

  /** The connections logged since the last call. */
  async rest(): Promise<Logged[]> {
    const { size } = await this.#file.stat();
    const bytes = Buffer.alloc(size - this.#offset);
    await this.#file.read(bytes, 0, bytes.length, this.#offset);
    const whole = bytes.subarray(0, bytes.lastIndexOf(10) + 1);
    const logged = parseLog(whole, this.#offset);
    this.#offset += whole.length;
    return logged;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
