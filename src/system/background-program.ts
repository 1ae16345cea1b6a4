import { launchProgram, type ProgramEnd } from './run-program.ts';

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
  const running = launchProgram({ program, args, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const streams = [running.stdout!, running.stderr!];
  let printed = Buffer.alloc(0);
  let end: ProgramEnd | undefined;
  const keep = (bytes: Buffer) => {
    printed = Buffer.concat([printed, bytes]).subarray(-keptBytes);
  };
  for (const stream of streams) stream.on('data', keep);
  const timers = [setTimeout(running.kill, timeoutMs)];
  running.onExit(() => {
    // what it left behind has lost its reason to run; what left the group may keep the pipes open for ever
    running.kill();
    timers.push(setTimeout(() => streams.map((stream) => stream.destroy()), LAST_WORDS_MS));
  });
  const ended = running.ended.then((result) => {
    for (const timer of timers) clearTimeout(timer);
    end = result.end;
    return end;
  });
  return { ended, isRunning: () => end === undefined, output: () => printed.toString(), kill: running.kill };
}

/** In which the last of what an ended program printed is read. */
const LAST_WORDS_MS = 1000;
