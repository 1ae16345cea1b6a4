import type { Socket } from 'node:net';
import type { Native } from '../native.ts';

/** What a stream to a receiver needs of the socket below it; also of that below TLS. */
export interface StreamOptions {
  readonly socket: Socket;
  /** For the two options that Node has no call for. */
  readonly setsockopt: Native['setsockopt'];
  readonly onBroken: (error: Error) => void;
}

const KEEP_ALIVE_MS = 30_000;
/** Shorter than what was sent is kept for, see syslog.ts. */
const UNACKNOWLEDGED_MS = 20_000;
/** The kernel doubles it. Less of what a dying receiver has not read, and room for a thousand messages. */
const SEND_BUFFER_BYTES = 131_072;
/** Beyond it, whoever answers is no syslog receiver, and reading on would cost us more than it. */
const MOST_ANSWER_BYTES = 65_536;

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;

/** Of a connected TCP socket: a receiver that vanishes without a word is noticed, however little is sent. */
export function noticeSilence({ socket, setsockopt }: Omit<StreamOptions, 'onBroken'>): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  const fd = descriptorOf(socket);
  if (fd === undefined) return;
  const set = (level: number, name: number, value: number) =>
    setsockopt(fd, level, name, new Uint8Array(Int32Array.of(value).buffer), 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS);
  set(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES);
}

/** Node has it, and no public name for it. */
function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}

/**
 * Reads away what a receiver answers, which RFC 5425 and RFC 6587 do not foresee: unread bytes would hide that it
 * closes, and would turn our own end into a reset.
 */
export function discardAnswers(socket: Socket, onBroken: (error: Error) => void): void {
  let bytes = 0;
  socket.on('data', (answer: Buffer) => {
    bytes += answer.length;
    if (bytes > MOST_ANSWER_BYTES) onBroken(new Error(`it answers as no syslog receiver does`));
  });
  socket.on('end', () => onBroken(new Error('it closed the connection')));
}

/** Ends a socket after what was written. @returns when both ends are done, or it is gone */
export function endSocket(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    if (socket.destroyed) resolve();
    else socket.end();
  });
}
