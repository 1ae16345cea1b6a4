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

export interface LaunchOptions {
  /** A name is looked up in PATH. */
  readonly program: string;
  readonly args: readonly string[];
  /** Standard input, output and error, and descriptors of ours that follow them. */
  readonly stdio: readonly [Stdio, Stdio, Stdio, ...number[]];
  /** All of its environment; ours where it is left out. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

type Stdio = 'pipe' | 'ignore' | 'inherit' | number;

/** A program that runs on while others do. The streams are there where they are pipes. */
export interface LaunchedProgram {
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** Resolves when it has ended and its pipes are closed. Never rejects. */
  readonly ended: Promise<{ readonly end: ProgramEnd; readonly signal: string | undefined }>;
  /** Called when it has ended, though others may hold its pipes open. */
  onExit(listener: () => void): void;
  /** Ends its process group. */
  kill(): void;
}

/** Starts a program without a shell, as the leader of a session and a process group of its own; it is not ended with us. */
export function launchProgram({ program, args, stdio, env, cwd }: LaunchOptions): LaunchedProgram {
  const running = execa(program, args, {
    // any descriptors will do; execa's types name the first few
    stdio: stdio as ['pipe', 'pipe', 'pipe'],
    ...(env === undefined ? {} : { env, extendEnv: false }),
    ...(cwd === undefined ? {} : { cwd }),
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
  });
  const { pid, stdin, stdout, stderr } = running;
  return {
    stdin,
    stdout,
    stderr,
    ended: running.then((result) => ({ end: endOf(result), signal: result.signal })),
    onExit: (listener) => void running.once('exit', listener),
    kill: () => killGroup(pid),
  };
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // the group is empty
  }
}
