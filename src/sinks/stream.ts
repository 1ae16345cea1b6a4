import type { Socket } from 'node:net';
import { IPPROTO_TCP, SOL_SOCKET, TCP_INFO } from '../native/constants.ts';
import type { Native } from '../native/native.ts';

/** What Node has no call for. */
export type SocketOptions = Pick<Native, 'setsockopt' | 'getsockopt'>;

/** The receiver has ended the connection in order: whatever it had got by then, its program has read. */
export class ClosedByReceiver extends Error {
  constructor() {
    super('it closed the connection');
    this.name = 'ClosedByReceiver';
  }
}

const KEEP_ALIVE_MS = 30_000;
/** Shorter than what was sent is kept for, see syslog.ts. */
const SILENCE_MS = 20_000;
const LOOK_MS = 2000;
/** The kernel doubles it. Less of what a dying receiver has not read, and room for a thousand messages. */
const SEND_BUFFER_BYTES = 131_072;
/** Beyond it, whoever answers is no syslog receiver, and reading on would cost us more than it. */
const MOST_ANSWER_BYTES = 65_536;

const SO_SNDBUF = 7;
/** Offsets in struct tcp_info: packets that are not acknowledged, and milliseconds since the last acknowledgement. */
const UNACKNOWLEDGED_OFFSET = 24;
const LAST_ACKNOWLEDGEMENT_OFFSET = 56;
const TCP_INFO_BYTES = 60;

/**
 * Of a connected TCP socket: a receiver that vanishes without a word is noticed, however little is sent.
 * TCP_USER_TIMEOUT would also end the connection of one that lives and reads nothing for a while.
 */
export function noticeSilence(
  socket: Socket,
  options: SocketOptions,
  onBroken: (error: Error) => void,
): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  const fd = descriptorOf(socket);
  if (fd === undefined) return;
  options.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, new Uint8Array(Int32Array.of(SEND_BUFFER_BYTES).buffer), 4);
  const timer = setInterval(() => {
    // a number that was closed may be another socket's already
    if (descriptorOf(socket) === fd && isSilent(fd, options))
      onBroken(new Error('it does not answer any more'));
  }, LOOK_MS).unref();
  socket.once('close', () => clearInterval(timer));
}

function isSilent(fd: number, { getsockopt }: SocketOptions): boolean {
  const info = new Uint8Array(TCP_INFO_BYTES);
  const length = new Uint8Array(Uint32Array.of(TCP_INFO_BYTES).buffer);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) !== 0) return false;
  const [unacknowledged, sinceMs] = [UNACKNOWLEDGED_OFFSET, LAST_ACKNOWLEDGEMENT_OFFSET].map(
    (offset) => new Uint32Array(info.buffer, offset, 1)[0]!,
  );
  return unacknowledged! > 0 && sinceMs! > SILENCE_MS;
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
    if (bytes > MOST_ANSWER_BYTES) onBroken(new Error('it answers as no syslog receiver does'));
  });
  // before syslog-client, which makes an error like any other of it
  socket.prependListener('end', () => onBroken(new ClosedByReceiver()));
}

/** Ends a socket after what was written. @returns when both ends are done, or it is gone */
export function endSocket(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    if (socket.destroyed) resolve();
    else socket.end();
  });
}
