import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import { createProxyHeaderReader, type ProxyHeader } from './proxy-header.ts';
import type { Readiness } from './readiness.ts';

export interface ProxiedConnectionsOptions<C extends { readonly fd: number }> {
  readonly native: Native;
  readonly readiness: Readiness;
  /** Headers that are waited for at a time. */
  readonly most: number;
  /** Called once for each connection; undefined: no header came, or there was no room to wait for it. */
  readonly onHeader: (connection: C, header: ProxyHeader | undefined) => void;
}

/** Connections of trusted proxies, of which a header has to tell whom they stand for. */
export interface ProxiedConnections<C> {
  /** Reads the header, and not a byte of what follows it. */
  await(connection: C): void;
  changeMost(most: number): void;
  /** No header is waited for any longer. */
  close(): void;
}

/** The specification wants at least three seconds: a lost segment is sent again after one, and then after two. */
const HEADER_DEADLINE_MS = 5000;
const MOST_PEEKED_BYTES = 4096;

/** What waits in a connection; read from it within one turn. */
const peekBuffer = Buffer.alloc(MOST_PEEKED_BYTES);

export function createProxiedConnections<C extends { readonly fd: number }>(
  options: ProxiedConnectionsOptions<C>,
): ProxiedConnections<C> {
  const { native, readiness, onHeader } = options;
  let { most } = options;
  const waiting = new Map<C, () => void>();
  let closing = false;

  return {
    await: awaitHeader,
    changeMost: (wanted) => {
      most = wanted;
    },
    close() {
      closing = true;
      for (const giveUp of [...waiting.values()]) giveUp();
    },
  };

  function awaitHeader(connection: C): void {
    if (closing || waiting.size >= most) onHeader(connection, undefined);
    else readHeader(connection);
  }

  function readHeader(connection: C): void {
    const { fd } = connection;
    const reader = createProxyHeaderReader();
    const timer = setTimeout(() => done(undefined), HEADER_DEADLINE_MS);
    waiting.set(connection, () => done(undefined));
    readiness.watch(fd, readOn);
    // most proxies send it with the first packet, so it is here as a rule
    readOn();

    function readOn(): void {
      const count = native.recv(fd, peekBuffer, MOST_PEEKED_BYTES, c.MSG_PEEK | c.MSG_DONTWAIT);
      if (count > 0) readSome(count);
      // the peer has ended its side, or reset the connection, before its header was whole
      else if (count === 0 || native.errno() !== c.ERRNO.EAGAIN) done(undefined);
    }

    function readSome(count: number): void {
      const { consumed, header } = reader.push(peekBuffer.subarray(0, count));
      if (consumed > 0) native.recv(fd, peekBuffer, consumed, c.MSG_DONTWAIT);
      if (header !== undefined) done(header);
    }

    function done(header: ProxyHeader | undefined): void {
      if (!waiting.delete(connection)) return;
      clearTimeout(timer);
      readiness.unwatch(fd);
      onHeader(connection, header);
    }
  }
}
