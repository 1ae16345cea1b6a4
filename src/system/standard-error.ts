import { constants, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { isErrnoException } from '../errors.ts';

const FD = 2;
/** What a terminal may fall behind before messages are left out. */
const MAX_PENDING_BYTES = 1 << 16;
const RETRY_MS = 50;

/**
 * A writer to standard error that never waits for its reader. Node waits for a terminal, even one that somebody stopped
 * with Ctrl-S: a message at a reload would keep the listener from its connections. Pipes and sockets do not make it
 * wait, but would let messages pile up without a bound.
 */
export function createErrorWriter(): (text: string) => void {
  const terminal = isatty(FD) ? openWithoutWaiting() : undefined;
  return terminal === undefined ? writeWithinBound : createPatientWriter(terminal);
}

function writeWithinBound(text: string): void {
  if (process.stderr.writableLength < MAX_PENDING_BYTES) process.stderr.write(text);
}

/** The terminal through a descriptor of our own: the given one is shared with the shell, which relies on waiting. */
function openWithoutWaiting(): number | undefined {
  try {
    return openSync(`/proc/self/fd/${FD}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // the terminal of another user, as after su
    return undefined;
  }
}

function createPatientWriter(terminal: number): (text: string) => void {
  let pending = Buffer.alloc(0);
  let retryTimer: NodeJS.Timeout | undefined;
  return (text) => {
    if (pending.length < MAX_PENDING_BYTES) pending = Buffer.concat([pending, Buffer.from(text)]);
    flush();
  };

  function flush(): void {
    try {
      if (pending.length > 0) pending = pending.subarray(writeSync(terminal, pending));
    } catch (error) {
      // a terminal that was hung up takes nothing more
      if (!isErrnoException(error) || error.code !== 'EAGAIN') pending = Buffer.alloc(0);
    }
    if (pending.length > 0) retryLater();
  }

  function retryLater(): void {
    if (retryTimer !== undefined) return;
    retryTimer = setTimeout(() => {
      retryTimer = undefined;
      flush();
    }, RETRY_MS).unref();
  }
}
