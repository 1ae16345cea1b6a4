import type { Readable } from 'node:stream';
import { launchProgram } from './run-program.ts';

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
  const running = launchProgram({ program, args, cwd: '/', stdio: ['pipe', 'pipe', 'inherit', fd] });
  const [stdin, stdout] = [running.stdin!, running.stdout!];
  // it has ended, and `ended` tells
  stdin.on('error', () => {});
  try {
    await firstData(stdout, running.ended, timeoutMs);
  } catch (error) {
    running.kill();
    throw error;
  }
  stdout.destroy();
  return { tell: (word) => void stdin.end(word), ended: running.ended };
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
