import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';

/** The end of a log. */
export interface LogTail {
  readonly stats: Stats;
  /** Whole lines, one character for each byte, oldest first. */
  readonly lines: readonly string[];
  /** Whether what follows the last line feed was never ended. */
  readonly isTorn: boolean;
}

/**
 * The last lines of a log, of at most `mostBytes`. Never waits, as for a FIFO.
 * @throws Error of the system; or where it is no regular file
 */
export function readLogTail(path: string, mostBytes = 1024 * 1024): LogTail {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error('it is no regular file');
    const start = Math.max(0, stats.size - mostBytes);
    const lines = readFrom(fd, start, stats.size - start)
      .toString('latin1')
      .split('\n');
    const rest = lines.pop();
    // of the first one only the end was read
    return { stats, lines: start > 0 ? lines.slice(1) : lines, isTorn: rest !== '' };
  } finally {
    closeSync(fd);
  }
}

function readFrom(fd: number, start: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  let done = 0;
  for (let read = -1; read !== 0 && done < length; done += read) {
    read = readSync(fd, buffer, done, length - done, start + done);
  }
  return buffer.subarray(0, done);
}
