import { constants } from 'node:os';
import type { Command } from 'commander';
import type { Voice } from '../voice.ts';
import type { CommandContext } from './context.ts';

export function addDemoCommand(program: Command, { voice, print }: CommandContext): void {
  program
    .command('demo')
    .description(
      'Show a knock, its line, its ban and the end of the ban, in networks made for it. Needs root.',
    )
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async () => {
      const interruption = listenForInterruption();
      // loaded when it is asked for: execa would take 15 MiB of the running listener
      const { runDemo } = await import('../demo/run-demo.ts');
      await runDemo({ interruption, print, onTrouble: voice.say });
      if (interruption.aborted) endAs(interruption.reason as Ending, voice);
    });
}

/** The exit code that a shell gives to what a signal ended. */
function endAs(ending: Ending, voice: Voice): void {
  voice.say(`interrupted (${ending}): all that was made is gone again`);
  process.exitCode = 128 + constants.signals[ending];
  // Node's own end aborts when its terminal is gone
  if (ending === 'SIGHUP') dieOf(ending);
}

function dieOf(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

type Ending = (typeof SIGNALS)[number] | 'SIGPIPE';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** From now on a signal, or a reader that goes away, ends nothing at once. The reason is its name. */
function listenForInterruption(): AbortSignal {
  const controller = new AbortController();
  const interrupt = (reason: Ending) => controller.abort(reason);
  for (const signal of SIGNALS) process.on(signal, () => interrupt(signal));
  process.stdout.on('error', () => interrupt('SIGPIPE'));
  return controller.signal;
}

const EXIT_CODES_HELP = `
Nothing of this host is touched; SIGINT, SIGTERM and SIGHUP end it, and it takes everything back.
Exit codes: 0 shown, 1 failed, 2 usage error, 128 and the signal's number when interrupted.`;
