import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { getSystemErrorName } from 'node:util';
import type { Configuration, ConsoleMode, SyslogReceiver } from '../configuration/configuration.ts';
import { isErrnoException, messageOf, UserError } from '../errors.ts';
import { createJournalFormatter, withoutLongLines } from '../format/journal.ts';
import { createJsonFormatter } from '../format/json.ts';
import { createLineFormatter, type LineFormatter, type Origin } from '../format/line.ts';
import { createPrettyFormatter } from '../format/pretty.ts';
import { createConsole } from '../sinks/console.ts';
import { type LogWriter, type LogWriterSettings, openLogWriter } from '../sinks/log-writer.ts';
import type { RecorderSinks } from '../sinks/recorder.ts';
import type { Sink } from '../sinks/sink.ts';
import type { SocketOptions } from '../sinks/stream.ts';
import { openSyslog, type SyslogSettings, type SyslogSink } from '../sinks/syslog.ts';
import type { Voice } from '../voice.ts';

export interface OpenSinksOptions {
  readonly configuration: Configuration;
  readonly version: string;
  /** What is open already: a log whose path stays, and receivers that stay, keep what waits for them. */
  readonly open?: OpenedSinks | undefined;
  readonly socketOptions: SocketOptions;
  readonly voice: Voice;
  readonly stdout: StandardOutput;
  /** Called when there is room again for what waited. */
  readonly onRecovery: () => void;
  /** Called when the log is closed, with the number of lines it could not take. */
  readonly onLogClosed: (lostLines: number) => void;
  /** Called when a receiver lacks events, which the log has. */
  readonly onReceiverLost: (receiver: string, events: number) => void;
}

/** Standard output, and where it leads. */
export interface StandardOutput {
  readonly fd: number;
  readonly isTerminal: boolean;
  readonly isJournal: boolean;
}

/** The sinks of a configuration. */
export interface OpenedSinks extends RecorderSinks {
  readonly path: string;
  readonly file: LogWriter;
  readonly receivers: readonly OpenedReceiver[];
}

export interface OpenedReceiver {
  /** All of its configuration as text: a receiver with another one is another receiver. */
  readonly key: string;
  readonly sink: SyslogSink;
}

/**
 * Opens everything that the configuration wants events written to, but for what is open already and stays.
 * @throws UserError when the log file cannot be written or a receiver's certificates cannot be read
 */
export function openSinks(options: OpenSinksOptions): OpenedSinks {
  const { origin } = logSettings(options.configuration);
  const { path } = options.configuration.log.file;
  // first, as they touch nothing but the certificates before somebody else can fail
  const receivers = openReceivers(options);
  const file = openLogOrRelease(options, receivers);
  const others = [...openConsole(options, origin), ...receivers.map(({ sink }) => sink)];
  return { path, file, receivers, others };
}

/** Hands over what may change while log and receivers stay. */
export function changeSinks(
  { file, receivers }: OpenedSinks,
  configuration: Configuration,
  version: string,
): void {
  file.change(logSettings(configuration));
  for (const { sink } of receivers) sink.change(receiverSettings(configuration, version));
}

/** What of a configuration an open log can take over. */
function logSettings({ sensor, log, limits }: Configuration): LogWriterSettings {
  return { origin: { sensor, pid: process.pid }, mode: log.file.mode, maxPendingLines: limits.pendingLines };
}

function receiverSettings({ sensor, limits }: Configuration, version: string): SyslogSettings {
  return { origin: { sensor, pid: process.pid, version }, maxWaiting: limits.pendingLines };
}

function openReceivers(options: OpenSinksOptions): OpenedReceiver[] {
  const opened: OpenedReceiver[] = [];
  try {
    for (const receiver of options.configuration.log.syslog) opened.push(keepOrOpen(receiver, options));
    return opened;
  } catch (error) {
    releaseNew(opened, options);
    throw error;
  }
}

function keepOrOpen(receiver: SyslogReceiver, options: OpenSinksOptions): OpenedReceiver {
  const key = JSON.stringify(receiver);
  return (
    options.open?.receivers.find((open) => open.key === key) ?? { key, sink: openReceiver(receiver, options) }
  );
}

function openReceiver(receiver: SyslogReceiver, options: OpenSinksOptions): SyslogSink {
  const { configuration, version, socketOptions, voice, onReceiverLost } = options;
  const { address } = receiver;
  return openSyslog({
    receiver,
    ...receiverSettings(configuration, version),
    socketOptions,
    onTrouble: (reason) => voice.warning(`cannot send to ${address}: ${reason}; events wait in memory`),
    onRecovery: () => voice.say(`${address} takes events again`),
    onLost: tellLoss,
    onClosed: (events) => {
      if (events > 0) tellLoss(events);
    },
  });

  function tellLoss(events: number): void {
    voice.warning(lossOf(address, events));
    onReceiverLost(address, events);
  }
}

function lossOf(address: string, events: number): string {
  return `${address} lacks ${events} ${events === 1 ? 'event' : 'events'}; the log has them`;
}

/** What was opened for a configuration that is refused. */
function releaseNew(receivers: readonly OpenedReceiver[], { open }: OpenSinksOptions): void {
  for (const receiver of receivers) if (!open?.receivers.includes(receiver)) void receiver.sink.close();
}

function openLogOrRelease(options: OpenSinksOptions, receivers: readonly OpenedReceiver[]): LogWriter {
  const { open, configuration } = options;
  if (open?.path === configuration.log.file.path) return open.file;
  try {
    return openLog(options);
  } catch (error) {
    releaseNew(receivers, options);
    throw error;
  }
}

function openLog({ configuration, voice, onRecovery, onLogClosed }: OpenSinksOptions): LogWriter {
  const { path } = configuration.log.file;
  try {
    return openLogWriter({
      path,
      ...logSettings(configuration),
      onTrouble: (error) =>
        voice.warning(`cannot write the log ${path}: ${reason(error, path)}; lines wait in memory`),
      onRecovery: () => {
        voice.say(`the log ${path} can be written again`);
        onRecovery();
      },
      onTornLine: () =>
        voice.warning(`the log ${path} ended inside a line, as after a crash; the line was ended`),
      onClosed: onLogClosed,
    });
  } catch (error) {
    throw new UserError(`cannot write the log ${path}: ${reason(error, path)}`, {
      hint: hintFor(error, path),
    });
  }
}

function reason(error: unknown, path: string): string {
  if (!isErrnoException(error)) return messageOf(error);
  switch (error.code) {
    case 'ENOENT':
      return `the directory ${dirname(path)} does not exist`;
    case 'EACCES':
    case 'EPERM':
      return `user ${process.geteuid?.()} has no right to`;
    case 'EISDIR':
      return 'it is a directory';
    case 'ENOTDIR':
      return 'a part of its path is not a directory';
    case 'EEXIST':
      return 'it is a symbolic link to nothing';
    case 'ELOOP':
      return 'too many symbolic links';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOSPC':
      return 'no space left on the device';
    case 'ENXIO':
      return 'it is not a regular file';
    default:
      return error.errno === undefined ? error.code : `${getSystemErrorName(error.errno)}`;
  }
}

function hintFor(error: unknown, path: string): string | undefined {
  if (!isErrnoException(error)) return undefined;
  const directory = dirname(path);
  if (error.code === 'ENOENT') return `mkdir -p ${directory}, owned by the user that honeyport runs as`;
  if (error.code !== 'EACCES') return undefined;
  return `chown ${existsSync(path) ? path : directory} to the user that honeyport runs as, or set log.file.path`;
}

function openConsole({ configuration, voice, stdout }: OpenSinksOptions, origin: Origin): Sink[] {
  const format = consoleFormat(configuration.log.console, stdout, origin);
  if (format === undefined) return [];
  const onDropped = (lines: number) =>
    voice.warning(`${lines} lines not shown, the terminal was too slow; the log has them`);
  const sink = createConsole({ fd: stdout.fd, format, onDropped });
  if (sink === undefined)
    voice.warning("the terminal is another user's: events are not shown; the log has them");
  return sink === undefined ? [] : [sink];
}

function consoleFormat(
  mode: ConsoleMode,
  { isTerminal, isJournal }: StandardOutput,
  origin: Origin,
): LineFormatter | undefined {
  if (mode === 'line' && isJournal) return withoutLongLines(createJournalFormatter());
  const format = formatOf(mode, isTerminal, origin);
  return format !== undefined && isJournal ? withoutLongLines(format) : format;
}

function formatOf(mode: ConsoleMode, isTerminal: boolean, origin: Origin): LineFormatter | undefined {
  switch (mode) {
    case 'auto':
      return isTerminal ? createPrettyFormatter() : undefined;
    case 'pretty':
      return createPrettyFormatter();
    case 'line':
      return createLineFormatter(origin);
    case 'json':
      return createJsonFormatter(origin);
    case 'off':
      return undefined;
  }
}
