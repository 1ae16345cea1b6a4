import { setFlagsFromString } from 'node:v8';
import type { Command } from 'commander';
import type { Behaviour, Configuration, Decoy } from '../configuration/configuration.ts';
import { parsePortArguments } from '../configuration/load.ts';
import { type Daemon, startDaemon } from '../daemon/daemon.ts';
import { isErrnoException, UserError } from '../errors.ts';
import { formatPorts, formatRanges } from '../format/ports.ts';
import { loadNative } from '../native/native.ts';
import { isJournalStream } from '../system/journal-stream.ts';
import {
  createServiceManager,
  type ServiceManager,
  takeServiceEnvironment,
} from '../system/service-manager.ts';
import { watchFile } from '../system/watch-file.ts';
import { type FilesWatch, watchFiles } from '../system/watch-files.ts';
import type { Voice } from '../voice.ts';
import {
  builtInSource,
  CONFIGURATION_OPTION,
  CONFIGURATION_OPTION_HELP,
  type ConfigurationSource,
  configurationSource,
} from './configuration-option.ts';
import type { CommandContext } from './context.ts';

interface RunOptions {
  readonly config?: string;
  readonly port?: readonly string[];
  readonly default?: true;
}

export function addRunCommand(program: Command, context: CommandContext): void {
  program
    .command('run')
    .description('Listen on the decoy ports and log every connection, until SIGTERM or SIGINT.')
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .option(
      '-p, --port <ports...>',
      'without a file: listen on these ports, each a number, a range or a list (22,80-90)',
    )
    .option('--default', 'the built-in default, whatever files there are')
    .addHelpText('after', SIGNALS_HELP)
    .action((options: RunOptions) => run(sourceOf(options), context));
}

const SIGNALS_HELP = `
Signals: SIGHUP reloads the configuration and reopens the log; SIGTERM and SIGINT stop.
Exit codes: 0 stopped in order, 1 lines were lost, 2 usage or configuration error.`;

function sourceOf({ config, port, default: builtIn }: RunOptions): ConfigurationSource {
  const given = [
    config !== undefined && '--config',
    port !== undefined && '--port',
    builtIn && '--default',
  ].filter(Boolean);
  if (given.length > 1) throw new UserError(`${given.join(' and ')}: expected one of them`);
  if (port !== undefined) return builtInSource(parsePortArguments(port));
  return builtIn ? builtInSource() : configurationSource(config);
}

async function run(source: ConfigurationSource, { version, voice }: CommandContext): Promise<void> {
  keepHeapSmall();
  // first, so that no program can inherit it
  const service = takeServiceEnvironment(process.env);
  const native = loadNative();
  const manager = createServiceManager(native, service);
  let daemon: Daemon | undefined;
  let readAt = 0;
  const load = () => {
    readAt = Date.now();
    return source.load();
  };
  const reload = () => {
    if (daemon !== undefined) reloadService(daemon, manager);
    watchParts();
  };
  const partFiles = watchPartFiles(reload, voice);
  const watchParts = () => partFiles.use(daemon?.configuration.partFiles ?? [], readAt);
  // before the start, so that no signal finds Node's own answer, which is to end without a word
  process.on('SIGHUP', oncePerTurn(reload));
  const signal = firstOf(['SIGTERM', 'SIGINT']);
  // before the file is read, so that no change falls between
  const { file } = source;
  const isRunning = () => daemon !== undefined;
  const watch = file === undefined ? undefined : await watchConfiguration(file, { reload, isRunning, voice });
  try {
    const stdout = {
      fd: 1,
      isTerminal: process.stdout.isTTY === true,
      isJournal: isJournalStream(1, process.env.JOURNAL_STREAM),
    };
    const { socketFds } = service;
    daemon = startDaemon({ load, version, voice, native, socketFds, stdout });
    watchParts();
    greet(daemon.configuration, version, voice);
    manager.ready(daemon.summary);
    const received = await signal;
    manager.stopping();
    process.exitCode = await daemon.stop(received);
  } finally {
    partFiles.close();
    await watch?.close();
    manager.close();
  }
  process.exit();
}

function reloadService(daemon: Daemon, manager: ServiceManager): void {
  manager.reloading();
  const isApplied = daemon.reload();
  manager.ready(isApplied ? daemon.summary : `${daemon.summary}; the last reload was refused`);
}

/** A connection leaves only garbage behind: V8's heap gains nothing from growing as it does for programs that keep things. */
function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--heap-growing-percent=20');
}

function watchConfiguration(
  file: string,
  { reload, isRunning, voice }: { reload: () => void; isRunning: () => boolean; voice: Voice },
) {
  return watchFile({
    path: file,
    onChange: reload,
    onGone: () => voice.warning(`${file} is gone: the configuration read before runs on`),
    onTrouble: (error) => {
      // who may not watch it may not read it: the start is about to say so
      if (!isRunning() && isErrnoException(error) && error.code === 'EACCES') return;
      voice.warning(notWatched(file, error));
    },
  });
}

/** A changed list or banner is a reload like any other: all or nothing, and said in the log. */
function watchPartFiles(reload: () => void, voice: Voice): FilesWatch {
  return watchFiles({
    onChange: reload,
    onGone: (file) => voice.warning(`${file} is gone: what was read of it before stays in force`),
  });
}

function notWatched(file: string, error: Error): string {
  return `${file} is not watched (${error.message}): send SIGHUP after a change`;
}

function greet(configuration: Configuration, version: string, voice: Voice): void {
  const { file, decoys, log } = configuration;
  voice.say(`version ${version}, configuration: ${file ?? 'the built-in default'}`);
  for (const decoy of decoys) {
    voice.say([`decoy ${decoy.name} ${placeOf(decoy)}`, ...deedsOf(decoy)].join('; '));
  }
  voice.say(allowText(configuration));
  voice.say(`log: ${log.file.path}`);
  for (const { address, format } of log.syslog) voice.say(`events are sent to ${address} as ${format}`);
  voice.hint(knockHint(configuration));
}

function placeOf({ ports, address, unused }: Decoy): string {
  if (unused === undefined) return `listens on ${address ?? 'all addresses'}, port ${formatPorts(ports)}`;
  const ephemeral = unused.ephemeral ? ['those of outgoing connections'] : [];
  const named = unused.ports.length > 0 ? [formatRanges(unused.ports)] : [];
  const exceptions = [...named, ...ephemeral].join(' and ');
  return `is every port that no service uses${exceptions === '' ? '' : `, but for ${exceptions}`}`;
}

/** What a decoy does beside listening. */
function deedsOf({ behaviour, proxies }: Decoy): string[] {
  const trust = proxies.length > 0 ? ['expects a PROXY protocol header from its proxies'] : [];
  return behaviour === undefined ? trust : [...trust, deedOf(behaviour)];
}

function deedOf(behaviour: Behaviour): string {
  if (behaviour.kind === 'response') return `answers with ${behaviour.command[0]}`;
  const captures = behaviour.capturedBytes > 0 ? [`captures ${behaviour.capturedBytes} bytes`] : [];
  if (behaviour.kind === 'tarpit') return ['keeps peers waiting', ...captures].join(', ');
  const sends = behaviour.banner.length > 0 ? ['sends a banner'] : [];
  const waits = behaviour.staysOpen || behaviour.capturedBytes > 0;
  const holds = waits ? [`holds peers for at most ${behaviour.holdMs / 1000} s`] : [];
  return [...sends, ...captures, ...holds].join(', ');
}

function allowText({ allow, guard }: Configuration): string {
  const entries = `${allow.length} ${allow.length === 1 ? 'entry' : 'entries'}`;
  return `allowed: ${entries}, ${guard ? 'and by the guard this host, its gateways and resolvers, and who is logged in' : 'and no guard'}`;
}

function knockHint({ decoys, guard }: Configuration): string {
  const decoy = decoys.find(({ unused }) => unused === undefined);
  if (decoy === undefined) return UNUSED_KNOCK_HINT;
  const { address, ports } = decoy;
  const command = `knock with: nc -z ${address ?? '127.0.0.1'} ${ports[0]}`;
  return guard
    ? `${command}, which is recorded as allowed; from another host it is bannable`
    : `${command}, here or from a host that can reach this one`;
}

/** The rules leave alone what comes from this host. */
const UNUSED_KNOCK_HINT = 'knock with: nc -z <this host> <a port that no service uses>, from another host';

/** libuv hands over all signals that wait in one go: a storm of them must not keep the listener from its connections. */
function oncePerTurn(action: () => void): () => void {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      action();
    });
  };
}

function firstOf(signals: readonly NodeJS.Signals[]): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of signals) process.on(signal, () => resolve(signal));
  });
}
