import type { Readable, Writable } from 'node:stream';
import { execa } from 'execa';

export interface RunProgramOptions {
  /** A name is looked up in PATH. */
  readonly program: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  /** Of standard output and of standard error, each; a program that prints more is ended. */
  readonly mostBytes: number;
  /** In a process group of its own, where Ctrl-C at the terminal does not reach it. Default: in ours. */
  readonly ownGroup?: boolean;
  /** Ends the program with SIGKILL. */
  readonly cancel?: AbortSignal | undefined;
}

/** How a program ended, with what it printed until then. */
export interface ProgramResult {
  readonly end: ProgramEnd;
  readonly stdout: string;
  readonly stderr: string;
}

export type ProgramEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'missing' | 'timeout' | 'too much output' }
  /** It could not be started, or a signal ended it. */
  | { readonly kind: 'failure'; readonly message: string };

/**
 * Runs a program without a shell, with nothing on its standard input and in the C locale, so that what it prints can be
 * compared. Never rejects, and takes no longer than `timeoutMs`, whatever the program does.
 */
export async function runProgram(options: RunProgramOptions): Promise<ProgramResult> {
  const { program, args, timeoutMs, mostBytes, ownGroup = false, cancel } = options;
  const running = execa(program, args, {
    stdin: 'ignore',
    // The limit counts bytes, and half a character at its end is no matter.
    encoding: 'buffer',
    maxBuffer: mostBytes,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: { LC_ALL: 'C' },
    detached: ownGroup,
    reject: false,
    stripFinalNewline: false,
  });
  // A child of the program that outlives it keeps the pipes open, for which execa would wait.
  const close = () => {
    running.stdout.destroy();
    running.stderr.destroy();
  };
  const stop = () => {
    running.kill('SIGKILL');
    close();
  };
  const closing = setTimeout(close, timeoutMs);
  cancel?.addEventListener('abort', stop);
  if (cancel?.aborted) stop();
  const result = await running;
  clearTimeout(closing);
  cancel?.removeEventListener('abort', stop);
  return { end: endOf(result), stdout: textOf(result.stdout), stderr: textOf(result.stderr) };
}

interface ExecaEnd {
  readonly code?: string | undefined;
  readonly exitCode?: number | undefined;
  readonly timedOut: boolean;
  readonly isMaxBuffer: boolean;
  readonly originalMessage?: string | undefined;
  readonly shortMessage?: string | undefined;
}

function endOf({
  code,
  exitCode,
  timedOut,
  isMaxBuffer,
  originalMessage,
  shortMessage,
}: ExecaEnd): ProgramEnd {
  if (timedOut) return { kind: 'timeout' };
  if (isMaxBuffer) return { kind: 'too much output' };
  if (exitCode !== undefined) return { kind: 'exit', code: exitCode };
  if (code === 'ENOENT') return { kind: 'missing' };
  return { kind: 'failure', message: originalMessage || shortMessage || 'it could not be run' };
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

export interface BackgroundProgramOptions {
  /** A name is looked up in PATH. */
  readonly program: string;
  readonly args: readonly string[];
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Of what it printed, standard output and standard error together, the last of it. */
  readonly keptBytes: number;
}

/** A program that runs on while others do. */
export interface BackgroundProgram {
  /** Never rejects. */
  readonly ended: Promise<ProgramEnd>;
  /** Whether it runs, as far as is known. */
  isRunning(): boolean;
  /** The end of what it has printed so far. */
  output(): string;
  /** Ends its process group. */
  kill(): void;
}

/**
 * Starts a program without a shell, with nothing on its standard input, as the leader of a process group of its own,
 * which is ended after `timeoutMs`.
 */
export function startBackgroundProgram(options: BackgroundProgramOptions): BackgroundProgram {
  const { program, args, env, timeoutMs, keptBytes } = options;
  const running = execa(program, args, {
    stdin: 'ignore',
    all: true,
    env,
    extendEnv: false,
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
  });
  let printed = Buffer.alloc(0);
  let end: ProgramEnd | undefined;
  running.all.on('data', (bytes: Buffer) => {
    printed = Buffer.concat([printed, bytes]).subarray(-keptBytes);
  });
  const kill = () => killGroup(running.pid);
  const timers = [setTimeout(kill, timeoutMs)];
  running.once('exit', () => {
    // what it left behind has lost its reason to run; what left the group may keep the pipes open for ever
    kill();
    timers.push(setTimeout(() => running.all.destroy(), LAST_WORDS_MS));
  });
  const ended = running.then((result) => {
    for (const timer of timers) clearTimeout(timer);
    end = endOf(result);
    return end;
  });
  return { ended, isRunning: () => end === undefined, output: () => printed.toString(), kill };
}

/** In which the last of what an ended program printed is read. */
const LAST_WORDS_MS = 1000;

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // the group is empty
  }
}

export interface StartProgramOptions {
  /** Absolute path. */
  readonly program: string;
  readonly args: readonly string[];
  /** Becomes its standard input and output; it does not wait while it is ours, and does once it is the program's. */
  readonly fd: number;
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** A program that talks over a descriptor. */
export interface StartedProgram {
  /** Never rejects. When it is done, nothing of the program's process group runs any more. */
  readonly ended: Promise<StartedProgramEnd>;
  /** Ends its process group. */
  kill(): void;
}

export interface StartedProgramEnd {
  readonly end: ProgramEnd | { readonly kind: 'signal'; readonly signal: string };
  /** The beginning of what it wrote to standard error. */
  readonly stderr: string;
}

const MOST_STDERR_BYTES = 512;

/**
 * Starts a program without a shell, as the leader of a process group of its own, with a descriptor as its standard input
 * and output and no other one of ours. libuv takes O_NONBLOCK from it before the program runs: bash's `read` could not wait.
 */
export function startProgram(options: StartProgramOptions): StartedProgram {
  const { program, args, fd, env, timeoutMs } = options;
  const running = execa(program, args, {
    // any number will do; execa's types name the first few
    stdin: fd as 3,
    stdout: fd as 3,
    stderr: 'pipe',
    env,
    extendEnv: false,
    cwd: '/',
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
  });
  const { pid } = running;
  let stderr = Buffer.alloc(0);
  let timedOut = false;
  running.stderr?.on('data', (bytes: Buffer) => {
    stderr = Buffer.concat([stderr, bytes.subarray(0, MOST_STDERR_BYTES - stderr.length)]);
  });
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, timeoutMs);
  running.once('exit', () => {
    clearTimeout(timer);
    // what the program left behind in its group has lost its reason to run
    kill();
    // one that left the group may keep the pipe open for ever
    setImmediate(() => running.stderr?.destroy());
  });
  return { ended: end(), kill };

  async function end(): Promise<StartedProgramEnd> {
    const result = await running;
    clearTimeout(timer);
    const { signal } = result;
    const text = stderr.toString();
    if (timedOut) return { end: { kind: 'timeout' }, stderr: text };
    if (signal !== undefined) return { end: { kind: 'signal', signal }, stderr: text };
    return { end: endOf(result), stderr: text };
  }

  function kill(): void {
    killGroup(pid);
  }
}

export interface StartGuardOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** A descriptor that it holds, too, as its fourth. */
  readonly fd: number;
  readonly timeoutMs: number;
}

/** A program that waits for us to end. */
export interface StartedGuard {
  /** Sends it a word; it sees our end as the end of its standard input. */
  tell(word: string): void;
  /** Resolves when it has ended. Never rejects. */
  readonly ended: Promise<unknown>;
}

/**
 * Starts a program in a session of its own, so that neither a signal to our group nor a terminal that is closed ends it,
 * and waits until it has printed a line. It is not ended with us; what it says goes to our standard error.
 * @throws Error when it does not print one in time
 */
export async function startGuard({ program, args, fd, timeoutMs }: StartGuardOptions): Promise<StartedGuard> {
  const running = execa(program, args, {
    // execa's types know pipes of the first three alone
    stdio: ['pipe', 'pipe', 'inherit', fd as 3],
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
    cwd: '/',
  });
  const { stdin, stdout } = running as unknown as { stdin: Writable; stdout: Readable };
  // it has ended, and `ended` tells
  stdin.on('error', () => {});
  const ended = running.then(() => undefined);
  try {
    await firstData(stdout, ended, timeoutMs);
  } catch (error) {
    running.kill('SIGKILL');
    throw error;
  }
  stdout.destroy();
  return { tell: (word) => void stdin.end(word), ended };
}

/** @throws Error when there is none in time */
function firstData(stream: Readable, ended: Promise<unknown>, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const give = (why: string) => reject(new Error(`the guard of the installation ${why}`));
    const timer = setTimeout(() => give('did not start in time'), timeoutMs);
    stream.once('data', () => {
      clearTimeout(timer);
      resolve();
    });
    void ended.then(() => {
      clearTimeout(timer);
      give('could not be started');
    });
  });
}
