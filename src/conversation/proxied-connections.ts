import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import { createProxyHeaderReader, type ProxyHeader, type ProxyHeaderReader } from './proxy-header.ts';
import type { Readiness } from './readiness.ts';

export interface ProxiedConnectionsOptions<C extends { readonly fd: number }> {
  readonly native: Native;
  readonly readiness: Readiness;
  /** Headers that are waited for at a time; one that is there already needs no place. */
  readonly most: number;
  /** Called once for each connection; undefined: no header came, or there was no room to wait for it. */
  readonly onHeader: (connection: C, header: ProxyHeader | undefined) => void;
}

/** Connections of trusted proxies, of which a header has to tell whom they stand for. */
export interface ProxiedConnections<C> {
  /** Reads the header, and not a byte of what follows it. */
  readHeader(connection: C): void;
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
    readHeader,
    changeMost: (wanted) => {
      most = wanted;
    },
    close() {
      closing = true;
      for (const giveUp of [...waiting.values()]) giveUp();
    },
  };

  function readHeader(connection: C): void {
    const reader = createProxyHeaderReader();
    // most proxies send it with the first packet, so it is here as a rule, and takes no place
    const first = readSome(connection.fd, reader);
    if (first === 'more' && !closing && waiting.size < most) wait(connection, reader);
    else onHeader(connection, first === 'more' ? undefined : first);
  }

  function wait(connection: C, reader: ProxyHeaderReader): void {
    const { fd } = connection;
    const timer = setTimeout(() => done(undefined), HEADER_DEADLINE_MS);
    waiting.set(connection, () => done(undefined));
    readiness.watch(fd, () => {
      const header = readSome(fd, reader);
      if (header !== 'more') done(header);
    });

    function done(header: ProxyHeader | undefined): void {
      if (!waiting.delete(connection)) return;
      clearTimeout(timer);
      readiness.unwatch(fd);
      onHeader(connection, header);
    }
  }

  /** @returns undefined when the peer has ended its side, or reset the connection, before its header was whole */
  function readSome(fd: number, reader: ProxyHeaderReader): ProxyHeader | 'more' | undefined {
    const count = native.recv(fd, peekBuffer, MOST_PEEKED_BYTES, c.MSG_PEEK | c.MSG_DONTWAIT);
    if (count <= 0) return count < 0 && native.errno() === c.ERRNO.EAGAIN ? 'more' : undefined;
    const { consumed, header } = reader.push(peekBuffer.subarray(0, count));
    if (consumed > 0) native.recv(fd, peekBuffer, consumed, c.MSG_DONTWAIT);
    return header ?? 'more';
  }
}
