import type { Command } from 'commander';
import {
  CONFIGURATION_OPTION,
  CONFIGURATION_OPTION_HELP,
  configurationSource,
} from './configuration-option.ts';
import type { CommandContext } from './context.ts';

interface DoctorOptions {
  readonly config?: string;
  readonly knock?: boolean;
  readonly json?: boolean;
}

export function addDoctorCommand(program: Command, { version, print }: CommandContext): void {
  program
    .command('doctor')
    .description(
      'Check everything between a knock and a ban, and say what to do about each finding. Changes nothing.',
    )
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .option(
      '--knock',
      'knock, as a peer of its own, and follow it to the ban and back; needs root, leaves lines in the logs',
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async ({ config, knock = false, json = false }: DoctorOptions) => {
      const { load } = configurationSource(config);
      // loaded when it is asked for: execa would take 15 MiB of the running listener
      const [{ diagnose }, { formatJson, formatText }] = await Promise.all([
        import('../doctor/doctor.ts'),
        import('../doctor/report.ts'),
      ]);
      const cancel = onSignals(['SIGINT', 'SIGTERM', 'SIGHUP']);
      const diagnosis = await diagnose({ version, load, knocks: knock, cancel });
      print((json ? formatJson : formatText)(diagnosis));
      const isWell = diagnosis.results.every(({ result }) => result !== 'finding');
      process.exitCode = isWell && !cancel.aborted ? 0 : 1;
    });
}

const EXIT_CODES_HELP = `
Run it as root: what only root may see is skipped otherwise.
Exit codes: 0 no findings, 1 findings, 2 usage error.`;

/** A network that was made for a knock is removed first. */
function onSignals(signals: readonly NodeJS.Signals[]): AbortSignal {
  const controller = new AbortController();
  for (const signal of signals) process.on(signal, () => controller.abort());
  return controller.signal;
}
