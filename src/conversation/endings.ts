import * as c from '../native/constants.ts';
import { discard } from '../native/end-connection.ts';
import type { Native } from '../native/native.ts';
import type { Readiness } from './readiness.ts';

/** A conversation that is over: what is still to be logged of it, and then its end. */
export interface Ending {
  readonly fd: number;
  /** How much `record` has to format; the captured bytes, in the main. */
  readonly bytes: number;
  /** Hands over the last events. */
  readonly record: () => void;
}

export interface EndingsOptions {
  readonly native: Native;
  readonly readiness: Readiness;
  /** Writes what was recorded. */
  readonly flush: () => void;
}

/** Ends connections: the log first, then FIN, then the peer's own end. */
export interface Endings {
  add(ending: Ending): void;
  /** Connections that are over and still have a descriptor. */
  readonly size: number;
  /** Lets go the one that has waited longest for its peer, if there is one. */
  letOneGo(): void;
  /** Ends all of them now. */
  close(): void;
}

/** How long a peer may take to end its side after we have ended ours: what it still sends must not become a reset. */
const LINGER_MS = 2000;
/** Of a turn: many captures that end together must neither hold up the accepting nor fill what waits for the file. */
const MOST_BYTES = 131_072;
const MOST_ENDINGS = 64;

interface Lingering {
  readonly fd: number;
  readonly timer: NodeJS.Timeout;
}

export function createEndings({ native, readiness, flush }: EndingsOptions): Endings {
  const waiting: Ending[] = [];
  /** In the order in which they began to wait. */
  const lingering = new Set<Lingering>();
  let scheduled = false;
  let closing = false;

  return {
    add(ending) {
      waiting.push(ending);
      schedule();
    },
    get size() {
      return waiting.length + lingering.size;
    },
    letOneGo() {
      const [oldest] = lingering;
      if (oldest !== undefined) letGo(oldest);
    },
    close() {
      closing = true;
      for (const one of [...lingering]) letGo(one);
      while (waiting.length > 0) endSome();
    },
  };

  function schedule(): void {
    if (scheduled || closing) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      endSome();
      if (waiting.length > 0) schedule();
    });
  }

  /** A turn's share, with one write. */
  function endSome(): void {
    const share = waiting.splice(0, shareOf(waiting));
    for (const { record } of share) record();
    if (share.length > 0) flush();
    for (const { fd } of share) end(fd);
  }

  /** Ends our side, and waits for the peer to end its own. */
  function end(fd: number): void {
    const isGone = native.shutdown(fd, c.SHUT_WR) < 0;
    const isOver = isPeerOver(fd);
    if (isGone || isOver || closing) native.close(fd);
    else linger(fd);
  }

  function linger(fd: number): void {
    const one: Lingering = { fd, timer: setTimeout(() => letGo(one), LINGER_MS) };
    lingering.add(one);
    readiness.watch(fd, () => {
      if (isPeerOver(fd)) letGo(one);
    });
  }

  function letGo(one: Lingering): void {
    if (!lingering.delete(one)) return;
    clearTimeout(one.timer);
    readiness.unwatch(one.fd);
    discard(native, one.fd);
    native.close(one.fd);
  }

  /** Throws away what the peer sent, since unread bytes would turn the close into a reset. */
  function isPeerOver(fd: number): boolean {
    const discarded = discard(native, fd);
    return discarded === 0 || (discarded < 0 && native.errno() !== c.ERRNO.EAGAIN);
  }
}

/** How many of the first ones are done at once: one in any case. */
function shareOf(waiting: readonly Ending[]): number {
  let bytes = 0;
  let count = 0;
  for (const ending of waiting) {
    bytes += ending.bytes;
    if (count > 0 && (bytes > MOST_BYTES || count >= MOST_ENDINGS)) break;
    count += 1;
  }
  return count;
}
