import { closeSync, openSync } from 'node:fs';
import * as c from '../native/constants.ts';
import { endConnection } from '../native/end-connection.ts';
import { EPOLL_EVENT_BYTES, encodeEpollEvent, epollEventFd } from '../native/epoll-event.ts';
import type { Native, Poll } from '../native/native.ts';
import { type Connection, NOT_KEPT } from './connection.ts';
import type { Listener } from './listener.ts';
import { parseSavedSyn } from './saved-syn.ts';
import { SOCKET_ADDRESS_LENGTH, socketAddressPort, socketAddressText } from './socket-address.ts';

export interface AcceptorOptions {
  readonly native: Native;
  /**
   * Called with each batch; the connections end when it returns, so whatever must be written first is written in it.
   * Those of a listener that keeps them stay open, and their descriptors are the callee's then.
   */
  readonly onConnections: (batch: readonly Connection[]) => void;
  /** Called when accepting has to wait for `retryMs`, with the errno, once until it works again. */
  readonly onTrouble: (errno: number) => void;
}

/** Accepts on any number of listeners. */
export interface Acceptor {
  add(listener: Listener): void;
  /** Accepts what is still queued on the listener, then closes it; an inherited socket stays open. */
  remove(listener: Listener): void;
  /** Removes every listener and ends the waiting. */
  close(): void;
}

const MAX_READY = 512;
/** Connections in a batch: one write, and as many descriptors open at the most, beside those that are kept. */
const MAX_BATCH = 256;
/** Calls of accept4 per listener and turn, so that a flooded port leaves the others their turn. */
const MAX_ACCEPTS = 128;
const MAX_FAILURES_IN_A_ROW = 64;
const PAUSE_MS = 100;
/** More headers than this fit into no packet of an Ethernet; longer ones go unread, but count as a SYN. */
const SAVED_SYN_LENGTH = 2048;

type Outcome = 'empty' | 'more' | 'wait';

/**
 * Waits for all listeners with one epoll descriptor, which Node's own event loop polls, and accepts in batches.
 * accept4 gives the peer's address in the same call, so a peer that resets at once keeps its name.
 */
export function createAcceptor({ native, onConnections, onTrouble }: AcceptorOptions): Acceptor {
  const listeners = new Map<number, Listener>();
  const epollFd = native.epollCreate(c.EPOLL_CLOEXEC);
  if (epollFd < 0) throw new Error(`epoll_create1 failed with errno ${native.errno()}`);
  const events = Buffer.alloc(EPOLL_EVENT_BYTES * MAX_READY);
  const read = createConnectionReader(native);
  const poll: Poll = native.pollReadable(epollFd, turn);
  let spareFd = openSync('/dev/null', 'r');
  let batch: Connection[] = [];
  let fds: number[] = [];
  let failuresInARow = 0;
  let inTrouble = false;
  let pauseTimer: NodeJS.Timeout | undefined;
  let closed = false;

  return { add, remove, close };

  function add(listener: Listener): void {
    const event = encodeEpollEvent(listener.fd, c.EPOLLIN);
    if (native.epollCtl(epollFd, c.EPOLL_CTL_ADD, listener.fd, event) < 0) {
      throw new Error(`epoll_ctl failed with errno ${native.errno()}`);
    }
    listeners.set(listener.fd, listener);
  }

  function remove(listener: Listener): void {
    if (!listeners.delete(listener.fd)) return;
    native.epollCtl(epollFd, c.EPOLL_CTL_DEL, listener.fd, null);
    drain(listener);
    // before the batch is written: what completes a handshake meanwhile would be reset without a line
    if (listener.inherited === undefined) native.close(listener.fd);
    deliver();
  }

  function close(): void {
    if (closed) return;
    for (const listener of [...listeners.values()]) remove(listener);
    closed = true;
    clearTimeout(pauseTimer);
    poll.close();
    native.close(epollFd);
    if (spareFd >= 0) closeSync(spareFd);
  }

  /** One turn: every listener that has connections gets its share. */
  function turn(): void {
    if (closed || pauseTimer !== undefined) return;
    const ready = native.epollWait(epollFd, events, MAX_READY, 0);
    for (let i = 0; i < ready; i++) {
      const listener = listeners.get(epollEventFd(events, i));
      if (listener !== undefined && acceptFrom(listener) === 'wait') {
        pause();
        break;
      }
    }
    deliver();
  }

  /** Empties a queue that is about to go. Bounded: what a flood adds meanwhile is the kernel's to refuse. */
  function drain(listener: Listener): void {
    for (let shares = 0; shares < BACKLOG_SHARES && acceptFrom(listener) === 'more'; shares++);
  }

  function acceptFrom(listener: Listener): Outcome {
    for (let accepts = 0; accepts < MAX_ACCEPTS; accepts++) {
      const fd = native.accept4(listener.fd, read.peer, read.peerLength(), ACCEPT_FLAGS);
      if (fd >= 0) {
        accepted(fd, listener);
        continue;
      }
      const outcome = failed(native.errno(), listener);
      if (outcome !== 'more') return outcome;
    }
    return 'more';
  }

  function accepted(fd: number, listener: Listener, keeps = listener.endpoint.keepsOpen === true): void {
    failuresInARow = 0;
    inTrouble = false;
    batch.push(read.connection(fd, listener, keeps));
    if (!keeps) fds.push(fd);
    if (batch.length >= MAX_BATCH) deliver();
  }

  /** What an errno of accept(2) asks for. */
  function failed(errno: number, listener: Listener): Outcome {
    if (errno === c.ERRNO.EAGAIN) return 'empty';
    if (errno === c.ERRNO.EMFILE || errno === c.ERRNO.ENFILE) return outOfDescriptors(errno, listener);
    if (errno === c.ERRNO.ENOBUFS || errno === c.ERRNO.ENOMEM) return trouble(errno);
    // all others concern the connection that was to be accepted: accept(2) says to go on with the next one
    failuresInARow += 1;
    return failuresInARow < MAX_FAILURES_IN_A_ROW ? 'more' : trouble(errno);
  }

  /** A batch that ends gives its descriptors back, but for what is kept; without one, the spare descriptor lets one connection in. */
  function outOfDescriptors(errno: number, listener: Listener): Outcome {
    if (batch.length > 0) {
      deliver();
      return 'more';
    }
    if (spareFd < 0) return trouble(errno);
    closeSync(spareFd);
    spareFd = -1;
    const fd = native.accept4(listener.fd, read.peer, read.peerLength(), ACCEPT_FLAGS);
    if (fd >= 0) {
      // without a descriptor to spare, nothing can be kept open
      accepted(fd, listener, false);
      deliver();
    }
    return reopenSpare() && fd >= 0 ? 'more' : trouble(errno);
  }

  function reopenSpare(): boolean {
    try {
      spareFd = openSync('/dev/null', 'r');
      return true;
    } catch {
      return false;
    }
  }

  function trouble(errno: number): Outcome {
    if (!inTrouble) onTrouble(errno);
    inTrouble = true;
    return 'wait';
  }

  /** Leaves the connections in the kernel's queue for a moment instead of spinning on an error that lasts. */
  function pause(): void {
    failuresInARow = 0;
    poll.pause();
    pauseTimer = setTimeout(() => {
      pauseTimer = undefined;
      if (spareFd < 0) reopenSpare();
      poll.resume();
    }, PAUSE_MS);
  }

  function deliver(): void {
    if (batch.length === 0) return;
    const ending = fds;
    const connections = batch;
    fds = [];
    batch = [];
    try {
      onConnections(connections);
    } finally {
      for (const fd of ending) endConnection(native, fd);
    }
  }
}

const ACCEPT_FLAGS = c.SOCK_NONBLOCK | c.SOCK_CLOEXEC;
const BACKLOG_SHARES = Math.ceil(65_535 / MAX_ACCEPTS);

/** Reads what the kernel knows of an accepted connection, with buffers that are made once. */
function createConnectionReader(native: Native) {
  const peer = Buffer.alloc(SOCKET_ADDRESS_LENGTH);
  const local = Buffer.alloc(SOCKET_ADDRESS_LENGTH);
  const savedSyn = Buffer.alloc(SAVED_SYN_LENGTH);
  const length = new Int32Array(1);
  const lengthBytes = new Uint8Array(length.buffer);

  return { peer, peerLength: () => lengthOf(SOCKET_ADDRESS_LENGTH), connection };

  function connection(fd: number, { endpoint }: Listener, keeps: boolean): Connection {
    const time = Date.now();
    const src = socketAddressText(peer);
    const spt = socketAddressPort(peer);
    native.getsockname(fd, local, lengthOf(SOCKET_ADDRESS_LENGTH));
    const dst = socketAddressText(local);
    const synLength = savedSynLength(fd);
    const fingerprint = synLength > 0 ? parseSavedSyn(savedSyn, synLength) : undefined;
    return {
      time,
      src,
      spt,
      dst,
      // a transparent listener's own port is not the one that the peer contacted
      dpt: endpoint.isTransparent === true ? socketAddressPort(local) : endpoint.port,
      decoy: endpoint.decoy,
      fromCookie: synLength === 0,
      fingerprint,
      fd: keeps ? fd : NOT_KEPT,
      proxy: undefined,
    };
  }

  /** 0 without a saved SYN, -1 when it is longer than the buffer. */
  function savedSynLength(fd: number): number {
    const result = native.getsockopt(
      fd,
      c.IPPROTO_TCP,
      c.TCP_SAVED_SYN,
      savedSyn,
      lengthOf(SAVED_SYN_LENGTH),
    );
    if (result === 0) return length[0]!;
    return native.errno() === c.ERRNO.EINVAL ? -1 : 0;
  }

  function lengthOf(bytes: number): Uint8Array {
    length[0] = bytes;
    return lengthBytes;
  }
}
