import TransportStream from 'winston-transport';
import type { AppendedFile } from './appended-file.ts';

/** The record that the log writer hands through winston. */
export interface LogRecord {
  readonly level: string;
  /** One line, without its line feed. */
  readonly message: string;
}

/**
 * A winston transport that appends to one file. winston's own goes on writing to a renamed file, hangs for ever after a
 * full disk, and loses what is pending at exit.
 */
export class FileTransport extends TransportStream {
  readonly #file: AppendedFile;

  constructor(file: AppendedFile) {
    super();
    this.#file = file;
  }

  /** Takes the line at once: nothing piles up in winston's streams, whose queues have no bound. */
  override log(record: LogRecord, next: () => void): void {
    this.#file.append(record.message);
    next();
  }
}
