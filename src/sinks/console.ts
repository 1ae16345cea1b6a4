import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { isErrnoException } from '../errors.ts';
import type { LineFormatter } from '../format/line.ts';
import type { Sink } from './sink.ts';

export interface ConsoleOptions {
  /** The descriptor of standard output, or of what stands in for it. */
  readonly fd: number;
  readonly format: LineFormatter;
  /** Called when lines could not be shown, with their number, as soon as others can. */
  readonly onDropped: (lines: number) => void;
}

/** What a terminal or a pipe may fall behind before lines are left out. */
const MAX_PENDING_CHARACTERS = 1 << 18;
const RETRY_MS = 50;

/**
 * Shows events on standard output, which may be a terminal that somebody stopped with Ctrl-S or a pipe that nobody
 * reads: it drops and counts lines rather than hold up the log file. A reader that goes away ends the sink quietly.
 * @returns undefined for a terminal that cannot be written to without waiting, as that of another user after su
 */
export function createConsole({ fd, format, onDropped }: ConsoleOptions): Sink | undefined {
  const opened = openWithoutWaiting(fd);
  if (opened === undefined) return undefined;
  const { output, ours } = opened;
  let pending = '';
  let dropped = 0;
  let gone = false;
  let retryTimer: NodeJS.Timeout | undefined;

  return {
    write(event) {
      if (gone) return;
      if (pending.length < MAX_PENDING_CHARACTERS) pending += `${format(event)}\n`;
      else dropped += 1;
    },
    flush,
    async close() {
      clearTimeout(retryTimer);
      flush();
      gone = true;
      clearTimeout(retryTimer);
      if (ours) closeSync(output);
    },
  };

  function flush(): void {
    if (gone || pending === '') return;
    try {
      // printable ASCII, so characters are bytes
      pending = pending.slice(writeSync(output, pending, null, 'latin1'));
    } catch (error) {
      if (!isErrnoException(error) || error.code !== 'EAGAIN') gone = true;
    }
    if (pending !== '' && !gone) retryLater();
    else if (dropped > 0) tellDropped();
  }

  function retryLater(): void {
    retryTimer ??= setTimeout(() => {
      retryTimer = undefined;
      flush();
    }, RETRY_MS).unref();
  }

  function tellDropped(): void {
    onDropped(dropped);
    dropped = 0;
  }
}

/**
 * The same file through a descriptor of our own that does not wait; setting it on the given one would change it for
 * the shell and every program that shares it. A socket cannot be opened again, but Node's does not wait.
 */
function openWithoutWaiting(fd: number): { output: number; ours: boolean } | undefined {
  try {
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY;
    return { output: openSync(`/proc/self/fd/${fd}`, flags), ours: true };
  } catch {
    return isatty(fd) ? undefined : { output: fd, ours: false };
  }
}
