import winston from 'winston';
import { createLineFormatter, type Origin } from '../format/line.ts';
import { type AppendedFile, type AppendedFileOptions, openAppendedFile } from './appended-file.ts';
import { FileTransport, type LogRecord } from './file-transport.ts';
import type { BoundedSink } from './sink.ts';

/** What may change while the log stays open. */
export interface LogWriterSettings {
  readonly origin: Origin;
  /** Permission bits of a file that is made anew. */
  readonly mode: number;
  /** Lines that may wait for a file that cannot be written. */
  readonly maxPendingLines: number;
}

export interface LogWriterOptions extends AppendedFileOptions, LogWriterSettings {
  /** Called once at the end, with the number of lines that could not be written; also with 0. */
  readonly onClosed: (lostLines: number) => void;
}

/** Several times what a line has without captured bytes, of which a line may have a hundred thousand characters. */
const BYTES_OF_PENDING_LINE = 1024;
// longer than a disk takes to come back from a short fault, shorter than a service manager's patience
const CLOSE_DEADLINE_MS = 2000;

export interface LogWriter extends BoundedSink {
  /** Changes the settings of a log whose path stays: two writers of one file would cut each other's lines. */
  change(settings: LogWriterSettings): void;
}

/**
 * The sink that fail2ban reads: each event a line of a file, written by winston.
 * @throws what openAppendedFile throws
 */
export function openLogWriter(options: LogWriterOptions): LogWriter {
  let format = createLineFormatter(options.origin);
  let { maxPendingLines } = options;
  const file = openAppendedFile(options);
  const logger = createLogger(file);
  return {
    hasRoom: () =>
      file.pendingLines < maxPendingLines && file.pendingBytes < maxPendingLines * BYTES_OF_PENDING_LINE,
    write: (event) => void logger.write(toRecord(format(event))),
    change(settings) {
      format = createLineFormatter(settings.origin);
      maxPendingLines = settings.maxPendingLines;
      file.changeMode(settings.mode);
    },
    flush: () => file.flush(),
    close: async () => options.onClosed(await file.close(CLOSE_DEADLINE_MS)),
  };
}

// winston would add its own mark of the level to each record; a record that is born with it keeps one shape
const LEVEL = Symbol.for('level');

function toRecord(line: string): LogRecord & { [LEVEL]: string } {
  return { level: 'info', message: line, [LEVEL]: 'info' };
}

function createLogger(file: AppendedFile): winston.Logger {
  return winston.createLogger({
    // the line is the whole format
    format: winston.format((record) => record)(),
    transports: [new FileTransport(file)],
  });
}
