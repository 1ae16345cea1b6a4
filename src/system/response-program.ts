import { launchProgram, type ProgramEnd } from './run-program.ts';

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
  const running = launchProgram({ program, args, env, cwd: '/', stdio: [fd, fd, 'pipe'] });
  let stderr = Buffer.alloc(0);
  let timedOut = false;
  running.stderr?.on('data', (bytes: Buffer) => {
    stderr = Buffer.concat([stderr, bytes.subarray(0, MOST_STDERR_BYTES - stderr.length)]);
  });
  const timer = setTimeout(() => {
    timedOut = true;
    running.kill();
  }, timeoutMs);
  running.onExit(() => {
    clearTimeout(timer);
    // what the program left behind in its group has lost its reason to run
    running.kill();
    // one that left the group may keep the pipe open for ever
    setImmediate(() => running.stderr?.destroy());
  });
  return { ended: end(), kill: running.kill };

  async function end(): Promise<StartedProgramEnd> {
    const { end, signal } = await running.ended;
    clearTimeout(timer);
    const text = stderr.toString();
    if (timedOut) return { end: { kind: 'timeout' }, stderr: text };
    if (signal !== undefined) return { end: { kind: 'signal', signal }, stderr: text };
    return { end, stderr: text };
  }
}
