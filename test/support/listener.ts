import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitOnSignals } from './namespaces.ts';
import { waitFor } from './wait.ts';

export const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

export interface StartOptions {
  /** Instead of `run -c <the configuration>`. */
  readonly args?: readonly string[];
  /** YAML; `LOG` in it stands for the log file's path. */
  readonly config?: string;
  /** A network namespace to run in. */
  readonly namespace?: string;
  /** Working directory, where configuration and log are; one is made and removed where none is given. */
  readonly dir?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Node's binary, with its own arguments. */
  readonly node?: readonly string[];
  /** dist/cli.js as that Node sees it. */
  readonly cli?: string;
  /** Put before everything else, as `prlimit --nofile=20`. */
  readonly wrapper?: readonly string[];
  /** Waits for the start line in the log; false for a start that is to fail. */
  readonly started?: boolean;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A honeyport of the built package, run as its user runs it. */
export interface RunningHoneyport {
  readonly pid: number;
  readonly dir: string;
  readonly logFile: string;
  readonly configFile: string;
  readonly process: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Whole lines of the log file, as it is now. */
  lines(): string[];
  /** Waits for it to end by itself. */
  ended(): Promise<Ended>;
  /** Ends it and removes the directory it was given. */
  stop(signal?: NodeJS.Signals): Promise<Ended>;
  waitForLine(wanted: RegExp | ((line: string) => boolean), deadlineMs?: number): Promise<string>;
  waitForStderr(wanted: RegExp, deadlineMs?: number): Promise<string>;
}

const DEADLINE_MS = 15_000;

export async function startHoneyport(options: StartOptions = {}): Promise<RunningHoneyport> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'honeyport-test-'));
  const logFile = join(dir, 'honeyport.log');
  const configFile = join(dir, 'honeyport.yaml');
  if (options.config !== undefined) writeFileSync(configFile, options.config.replaceAll('LOG', logFile));
  const child = spawnHoneyport(options, dir, options.args ?? ['run', '-c', configFile]);
  const output = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const exit = new Promise<Ended>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal })),
  );
  let ended = false;
  void exit.then(() => (ended = true));
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  exitOnSignals();
  void exit.then(() => process.off('exit', kill));

  const running: RunningHoneyport = {
    pid: child.pid!,
    dir,
    logFile,
    configFile,
    process: child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    lines: () => readLines(logFile),
    ended: () => exit,
    stop,
    waitForLine,
    waitForStderr,
  };
  if (options.started ?? true) await waitForStart();
  return running;

  async function waitForStart(): Promise<void> {
    await waitFor(() => ended || /^honeyport: hint: knock with/m.test(output.stderr), {
      deadlineMs: DEADLINE_MS,
      what: () => `honeyport to start; it said:\n${output.stderr}`,
    });
    if (ended) throw new Error(`honeyport ended at once:\n${output.stderr}`);
  }

  async function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    if (!ended) process.kill(child.pid!, signal);
    const result = await exit;
    if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
    return result;
  }

  async function waitForLine(
    wanted: RegExp | ((line: string) => boolean),
    deadlineMs = DEADLINE_MS,
  ): Promise<string> {
    const matches = typeof wanted === 'function' ? wanted : (line: string) => wanted.test(line);
    return await waitFor(() => readLines(logFile).find(matches), {
      deadlineMs,
      what: () =>
        `a line like ${wanted} in the log; it has:\n${readLines(logFile).slice(-20).join('\n')}\n${output.stderr}`,
    });
  }

  async function waitForStderr(wanted: RegExp, deadlineMs = DEADLINE_MS): Promise<string> {
    await waitFor(() => wanted.test(output.stderr), {
      deadlineMs,
      what: () => `${wanted} in:\n${output.stderr}`,
    });
    return output.stderr;
  }
}

function spawnHoneyport(options: StartOptions, dir: string, args: readonly string[]): ChildProcess {
  const inNamespace = options.namespace === undefined ? [] : ['ip', 'netns', 'exec', options.namespace];
  const node = options.node ?? [process.execPath];
  const [command, ...rest] = [
    ...inNamespace,
    ...(options.wrapper ?? []),
    ...node,
    options.cli ?? CLI,
    ...args,
  ];
  if (!existsSync(CLI)) throw new Error('dist/cli.js is missing: run npm run build');
  return spawn(command!, rest, {
    cwd: dir,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Whole lines only: what follows the last line feed is still being written. */
export function readLines(file: string): string[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'latin1').split('\n').slice(0, -1);
}
