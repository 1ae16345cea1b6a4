import type { Command } from 'commander';
import type { CommandContext } from './context.ts';
import type { SetUpOptions } from './set-up.ts';

interface InstallCommandOptions extends SetUpOptions {
  readonly observe?: true;
  readonly sockets?: true;
  readonly rsyslog?: readonly string[];
}

export function addInstallCommand(program: Command, context: CommandContext): void {
  program
    .command('install')
    .description(
      'Install honeyport on this host, or upgrade it: files for fail2ban, logrotate and systemd, the user, the log. Shows its plan first.',
    )
    .option('-y, --yes', 'do not ask')
    .option('--dry-run', 'only show the plan')
    .option('--root <dir>', 'install below a directory, such as an image: files only')
    .option('--observe', 'begin with a jail that counts and logs, and blocks nobody')
    .option(
      '--sockets',
      'have systemd open the ports of the configuration, so that the service needs no capability',
    )
    .option(
      '--rsyslog <kind=host:port>',
      'have rsyslog send events to a receiver; kind is siem-tcp, siem-tls, elasticsearch or socket; may be repeated, once for each kind',
      (one: string, before: readonly string[] = []) => [...before, one],
    )
    .addHelpText('after', HELP)
    .action((options: InstallCommandOptions) => install(options, context));
  program
    .command('guard-installation', { hidden: true })
    .option('--root <dir>')
    .action(({ root }: { root?: string }) => guard(root, context));
}

const HELP = `
In the plan, + is new, ~ is replaced, = stays, - is removed, ! is kept since it is yours, and > is run.
Files of honeyport's own are replaced by the next release; what ends in .local, and any other file, is never touched.
If anything fails, or this program is killed, everything is as it was before.

Examples:
  honeyport install                     shows the plan, offers to begin in observe mode, and asks
  honeyport install --yes --observe     without a question; later remove the line banaction from jail.d/honeyport.local
  honeyport install --dry-run
  honeyport install --yes --root /mnt/image
  honeyport install --sockets           again after each change of the ports
  honeyport install --rsyslog siem-tcp=siem.example.net:514

Exit codes: 0 done, or nothing to do; 1 failed, and everything is as it was before; 2 usage or configuration error,
or refused, and nothing was changed.`;

async function install(options: InstallCommandOptions, context: CommandContext): Promise<void> {
  // loaded when they are asked for: they would take memory of the running listener
  const { planInstall, isFirstJail } = await import('../setup/plan-install.ts');
  const { parseSender } = await import('../setup/generated-files.ts');
  const { readRoot } = await import('../setup/setup.ts');
  const { ask, isInteractive, runSetUp } = await import('./set-up.ts');
  const root = readRoot(options.root);
  const senders = (options.rsyslog ?? []).map(parseSender);
  const isAsked = options.yes !== true && options.dryRun !== true && options.observe !== true;
  const isOffered = isAsked && isInteractive() && isFirstJail(root);
  const observe = isOffered ? await ask(OBSERVE_QUESTION) : options.observe === true;
  const sockets = options.sockets === true;
  const plan = () => planInstall({ root, version: context.version, observe, sockets, senders });
  await runSetUp({ verb: 'install', root, plan }, options, context);
}

const OBSERVE_QUESTION = 'Begin in observe mode, which counts and logs, and blocks nobody yet?';

/** Waits for the installer's end, and brings back what it left half done. */
async function guard(option: string | undefined, { print, voice }: CommandContext): Promise<void> {
  const { guardInstallation } = await import('../setup/guard-installation.ts');
  const { readRoot } = await import('../setup/setup.ts');
  const { recoveryText } = await import('./set-up.ts');
  const recovery = await guardInstallation(readRoot(option), () => print('ready\n'));
  if (recovery === undefined) return;
  voice.warning(recoveryText(recovery));
  for (const problem of recovery.problems) voice.warning(problem);
}
