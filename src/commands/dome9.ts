import type { Command } from 'commander';
import {
  DEFAULT_DOME9_FILE,
  type Dome9Configuration,
  loadDome9Configuration,
} from '../configuration/dome9.ts';
import { briefText } from '../configuration/printable.ts';
import type { Dome9Service } from '../dome9/service.ts';
import { UserError } from '../errors.ts';
import { type FilesWatch, watchFiles } from '../system/watch-files.ts';
import type { CommandContext } from './context.ts';

interface Dome9Options {
  readonly config?: string;
  readonly copyOf?: string;
  readonly dryRun?: true;
}

export function addDome9Command(program: Command, context: CommandContext): void {
  const command = program
    .command('dome9')
    .description(
      "Keep a Dome9 (Check Point CloudGuard) account's IP list in step with fail2ban's bans, until SIGTERM or SIGINT.",
    )
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .option('--copy-of <file>', 'what the configuration file is a copy of: others must not read that either')
    .option('--dry-run', 'only tell what would be changed in the account')
    .addHelpText('after', HELP)
    .action(async ({ config, copyOf, dryRun }: Dome9Options, { args: [unknown] }: Command) => {
      if (unknown !== undefined) throw unknownSubcommand(unknown);
      await (dryRun === true ? preview : keep)(loader(config, copyOf), context);
    });
  command
    .command('status')
    .description('Tell what is wanted, what the account has, the last sync and the last error.')
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .addHelpText('after', STATUS_HELP)
    .action((_options: unknown, status: Command) =>
      tellStatus(loader(status.optsWithGlobals<Dome9Options>().config), context),
    );
  // refused above, where the subcommand can be named; said last, or it would hold for the subcommand, too
  command.allowExcessArguments();
}

const CONFIGURATION_OPTION = '-c, --config <file>';
const CONFIGURATION_OPTION_HELP = `configuration file (default: ${DEFAULT_DOME9_FILE})`;

const HELP = `
The key is read from the file, which nobody else may read, or from DOME9_ACCESS_ID and DOME9_SECRET_KEY.
Signals: SIGHUP reads the configuration again and tries within seconds; SIGTERM and SIGINT stop.
Exit codes: 0 stopped in order, 1 the account could not be asked (--dry-run), 2 usage or configuration error.`;

const STATUS_HELP = `
Exit codes: 0 all is well, 1 the service does not run, hangs or has an error, 2 usage or configuration error.`;

function unknownSubcommand(got: string): UserError {
  return new UserError(`expected status, or nothing, after dome9, got "${briefText(got)}"`, {
    hint: 'see honeyport dome9 --help',
  });
}

/** @throws UserError when an option is empty, as from a variable that is not set */
function loader(file: string | undefined, original?: string): () => Dome9Configuration {
  for (const [option, given] of Object.entries({ '--config': file, '--copy-of': original }))
    if (given === '') throw new UserError(`${option}: expected the name of a file, got ""`);
  return () => loadDome9Configuration(file, process.env, original);
}

async function keep(load: () => Dome9Configuration, { version, voice }: CommandContext): Promise<void> {
  let service: Dome9Service | undefined;
  const reload = () => service?.reload();
  const reloadIfChanged = () => service?.reload({ onlyIfChanged: true });
  // before the start, so that no signal finds Node's own answer, which is to end without a word
  process.on('SIGHUP', reload);
  const stopped = firstOf(['SIGTERM', 'SIGINT']);
  const { file, api, list, url, state } = load();
  // before the file is read for good, so that no change falls between
  const watch = file === undefined ? undefined : watchConfiguration(file, reloadIfChanged, voice);
  voice.say(`version ${version}, configuration: ${file ?? 'the environment'}`);
  voice.say(`${api === 'v2' ? `list ${list}` : 'the v1 blacklist'} at ${url} is kept in step with ${state}`);
  // loaded when it is asked for: the HTTP client would take memory of the running listener
  const { startDome9Service } = await import('../dome9/service.ts');
  service = await startDome9Service({ load, voice, version });
  await stopped;
  watch?.close();
  await service.stop();
  process.exit();
}

function watchConfiguration(file: string, reload: () => void, voice: CommandContext['voice']): FilesWatch {
  const watch = watchFiles({
    onChange: reload,
    onGone: () => voice.warning(`${file} is gone: the configuration read before runs on`),
  });
  watch.use([file], Date.now());
  return watch;
}

async function preview(
  load: () => Dome9Configuration,
  { version, voice, print }: CommandContext,
): Promise<void> {
  const { previewChanges } = await import('../dome9/preview.ts');
  print(await previewChanges({ configuration: load(), version, onNotice: voice.warning }));
}

async function tellStatus(load: () => Dome9Configuration, { print }: CommandContext): Promise<void> {
  const { describeStatus } = await import('../dome9/status.ts');
  const { text, isWell } = describeStatus(load(), Date.now());
  print(text);
  if (!isWell) process.exitCode = 1;
}

function firstOf(signals: readonly NodeJS.Signals[]): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of signals) process.on(signal, () => resolve(signal));
  });
}
