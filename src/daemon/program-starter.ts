import type { ProgramEnded, StartProgram } from '../conversation/respond.ts';
import { messageOf } from '../errors.ts';

/** Starts programs with the runner of programs, which is loaded when `prepare` is called: execa takes 15 MiB. */
export interface ProgramStarter {
  readonly start: StartProgram;
  prepare(): void;
}

type Runner = { readonly startProgram: StartProgram };

function failedToStart(error: unknown): ProgramEnded {
  return { end: { kind: 'failure', message: messageOf(error) }, stderr: '' };
}

const KILLED: ProgramEnded = { end: { kind: 'signal', signal: 'SIGKILL' }, stderr: '' };

export interface ProgramStarterOptions {
  /** Called before the first program can be started. */
  readonly onPrepare: () => void;
  /** Called with words that say why none can be. */
  readonly onTrouble: (message: string) => void;
}

export function createProgramStarter({ onPrepare, onTrouble }: ProgramStarterOptions): ProgramStarter {
  let runner: Promise<Runner> | undefined;

  return {
    start,
    prepare() {
      load().catch((error) => onTrouble(`programs cannot be started: ${messageOf(error)}`));
    },
  };

  async function load(): Promise<Runner> {
    if (runner === undefined) onPrepare();
    runner ??= import('../system/response-program.ts');
    try {
      return await runner;
    } catch (error) {
      // tried again for the next program: an upgrade may be under way
      runner = undefined;
      throw error;
    }
  }

  function start(options: Parameters<StartProgram>[0]): ReturnType<StartProgram> {
    let isKilled = false;
    let running: ReturnType<StartProgram> | undefined;
    const ended = load()
      .then(({ startProgram }) => {
        if (isKilled) return KILLED;
        running = startProgram(options);
        return running.ended;
      })
      .catch(failedToStart);
    return {
      ended,
      kill() {
        isKilled = true;
        running?.kill();
      },
    };
  }
}
