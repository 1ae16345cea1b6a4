import { execa } from 'execa';

export interface RunProgramOptions {
  /** A name is looked up in PATH. */
  readonly program: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  /** Of standard output and of standard error, each; a program that prints more is ended. */
  readonly mostBytes: number;
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
  const { program, args, timeoutMs, mostBytes } = options;
  const running = execa(program, args, {
    stdin: 'ignore',
    // The limit counts bytes, and half a character at its end is no matter.
    encoding: 'buffer',
    maxBuffer: mostBytes,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: { LC_ALL: 'C' },
    reject: false,
    stripFinalNewline: false,
  });
  // A child of the program that outlives it keeps the pipes open, for which execa would wait.
  const closing = setTimeout(() => {
    running.stdout.destroy();
    running.stderr.destroy();
  }, timeoutMs);
  const result = await running;
  clearTimeout(closing);
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
