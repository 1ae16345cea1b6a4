import type { Command } from 'commander';
import type { CommandContext } from './context.ts';
import type { SetUpOptions } from './set-up.ts';

interface UninstallCommandOptions extends SetUpOptions {
  readonly purge?: true;
}

export function addUninstallCommand(program: Command, context: CommandContext): void {
  program
    .command('uninstall')
    .description(
      'Remove honeyport from this host: all that is its own, and nothing that is yours. Shows its plan first.',
    )
    .option('-y, --yes', 'do not ask')
    .option('--dry-run', 'only show the plan')
    .option('--root <dir>', 'remove it below a directory, such as an image: files only')
    .option('--purge', 'remove the logs, too, although something is in them')
    .addHelpText('after', HELP)
    .action((options: UninstallCommandOptions) => uninstall(options, context));
}

const HELP = `
The service and the jails are ended first, which takes their blocks back. Files that you edited or wrote stay, and are
named. If anything fails, or this program is killed, everything is as it was before.

Examples:
  honeyport uninstall --dry-run
  honeyport uninstall --yes --purge

Exit codes: 0 done, or nothing to do; 1 failed, and everything is as it was before; 2 usage or configuration error,
or refused, and nothing was changed.`;

async function uninstall(options: UninstallCommandOptions, context: CommandContext): Promise<void> {
  // loaded when they are asked for: they would take memory of the running listener
  const { planUninstall } = await import('../setup/plan-uninstall.ts');
  const { readRoot } = await import('../setup/setup.ts');
  const { runSetUp } = await import('./set-up.ts');
  const root = readRoot(options.root);
  const plan = () => planUninstall({ root, purge: options.purge === true });
  await runSetUp({ verb: 'uninstall', root, plan }, options, context);
}
