import winston from 'winston';
import { createLineFormatter, type Origin } from '../format/line.ts';
import { type AppendedFile, type AppendedFileOptions, openAppendedFile } from './appended-file.ts';
import { FileTransport, type LogRecord } from './file-transport.ts';
import type { BoundedSink } from './sink.ts';

export interface LogWriterOptions extends AppendedFileOptions {
  readonly origin: Origin;
  /** Lines that may wait for a file that cannot be written. */
  readonly maxPendingLines: number;
  /** Called once at the end, with the number of lines that could not be written; also with 0. */
  readonly onClosed: (lostLines: number) => void;
}

// longer than a disk takes to come back from a short fault, shorter than a service manager's patience
const CLOSE_DEADLINE_MS = 2000;

/**
 * The sink that fail2ban reads: each event a line of a file, written by winston.
 * @throws what openAppendedFile throws
 */
export function openLogWriter(options: LogWriterOptions): BoundedSink {
  const format = createLineFormatter(options.origin);
  const file = openAppendedFile(options);
  const logger = createLogger(file);
  return {
    hasRoom: () => file.pendingLines < options.maxPendingLines,
    write: (event) => void logger.write(toRecord(format(event))),
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
