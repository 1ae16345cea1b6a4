import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { getSystemErrorName } from 'node:util';
import type { Configuration, ConsoleMode } from '../configuration/configuration.ts';
import { isErrnoException, messageOf, UserError } from '../errors.ts';
import { createJsonFormatter } from '../format/json.ts';
import { createLineFormatter, type LineFormatter, type Origin } from '../format/line.ts';
import { createPrettyFormatter } from '../format/pretty.ts';
import { createConsole } from '../sinks/console.ts';
import { type LogWriter, type LogWriterSettings, openLogWriter } from '../sinks/log-writer.ts';
import type { RecorderSinks } from '../sinks/recorder.ts';
import type { Sink } from '../sinks/sink.ts';
import type { Voice } from '../voice.ts';

export interface OpenSinksOptions {
  readonly configuration: Configuration;
  /** The log that is open already, where its path stays. */
  readonly file?: LogWriter | undefined;
  readonly voice: Voice;
  /** Standard output, and whether it is a terminal. */
  readonly stdout: { readonly fd: number; readonly isTerminal: boolean };
  /** Called when there is room again for what waited. */
  readonly onRecovery: () => void;
  /** Called when the log is closed, with the number of lines it could not take. */
  readonly onLogClosed: (lostLines: number) => void;
}

/** The sinks of a configuration. */
export interface OpenedSinks extends RecorderSinks {
  readonly file: LogWriter;
}

/**
 * Opens everything that the configuration wants events written to.
 * @throws UserError when the log file cannot be written
 */
export function openSinks(options: OpenSinksOptions): OpenedSinks {
  const { origin } = logSettings(options.configuration);
  return { file: options.file ?? openLog(options), others: openConsole(options, origin) };
}

/** What of a configuration an open log can take over. */
export function logSettings({ sensor, log, limits }: Configuration): LogWriterSettings {
  return { origin: { sensor, pid: process.pid }, mode: log.file.mode, maxPendingLines: limits.pendingLines };
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
  const format = consoleFormat(configuration.log.console, stdout.isTerminal, origin);
  if (format === undefined) return [];
  const onDropped = (lines: number) =>
    voice.warning(`${lines} lines not shown, the terminal was too slow; the log has them`);
  const sink = createConsole({ fd: stdout.fd, format, onDropped });
  if (sink === undefined)
    voice.warning("the terminal is another user's: events are not shown; the log has them");
  return sink === undefined ? [] : [sink];
}

function consoleFormat(mode: ConsoleMode, isTerminal: boolean, origin: Origin): LineFormatter | undefined {
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
