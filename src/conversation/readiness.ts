import * as c from '../native/constants.ts';
import { EPOLL_EVENT_BYTES, encodeEpollEvent, epollEventFd } from '../native/epoll-event.ts';
import type { Native, Poll } from '../native/native.ts';

/** What a descriptor is watched for; that the other end is gone is told in any case. */
export type Interest = 'read' | 'read and write';

/** Tells when descriptors can be read or written. */
export interface Readiness {
  /** Calls `onReady` in a turn of the event loop for as long as there is something, so it has to be read or unwatched. */
  watch(fd: number, onReady: () => void): void;
  change(fd: number, interest: Interest): void;
  /** Before the descriptor is closed. */
  unwatch(fd: number): void;
  close(): void;
}

/** Descriptors in a turn, so that those who talk much leave the accepting its turn. */
const MOST_READY = 64;

const EVENTS: Readonly<Record<Interest, number>> = {
  read: c.EPOLLIN | c.EPOLLRDHUP,
  'read and write': c.EPOLLIN | c.EPOLLRDHUP | c.EPOLLOUT,
};

/**
 * Waits for all of them with one epoll descriptor, which Node's own event loop polls. Node's sockets would read as much as
 * there is, and a program that takes over a connection, or a header of which not a byte too much may be taken, needs
 * the rest to stay where it is.
 */
export function createReadiness(native: Native): Readiness {
  const epollFd = native.epollCreate(c.EPOLL_CLOEXEC);
  if (epollFd < 0) throw new Error(`epoll_create1 failed with errno ${native.errno()}`);
  const handlers = new Map<number, () => void>();
  const events = Buffer.alloc(EPOLL_EVENT_BYTES * MOST_READY);
  const poll: Poll = native.pollReadable(epollFd, turn);
  let closed = false;

  return { watch, change: (fd, interest) => control(c.EPOLL_CTL_MOD, fd, interest), unwatch, close };

  function watch(fd: number, onReady: () => void): void {
    control(c.EPOLL_CTL_ADD, fd, 'read');
    handlers.set(fd, onReady);
  }

  function unwatch(fd: number): void {
    if (handlers.delete(fd)) native.epollCtl(epollFd, c.EPOLL_CTL_DEL, fd, null);
  }

  function control(operation: number, fd: number, interest: Interest): void {
    if (native.epollCtl(epollFd, operation, fd, encodeEpollEvent(fd, EVENTS[interest])) < 0) {
      throw new Error(`epoll_ctl failed with errno ${native.errno()}`);
    }
  }

  function turn(): void {
    if (closed) return;
    const ready = native.epollWait(epollFd, events, MOST_READY, 0);
    // one that was unwatched by a handler before it has none any more, and its number is not watched anew in this turn
    const fds = Array.from({ length: Math.max(0, ready) }, (_, i) => epollEventFd(events, i));
    for (const fd of fds) handlers.get(fd)?.();
  }

  function close(): void {
    if (closed) return;
    closed = true;
    poll.close();
    native.close(epollFd);
  }
}
