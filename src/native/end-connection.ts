import * as c from './constants.ts';
import type { Native } from './native.ts';

/** What a peer may have queued before its connection ends; the kernel's own bound is tcp_rmem. */
const DISCARD_LENGTH = 0x4000_0000;

/** Throws away what waits to be read. @returns its bytes, 0 when the peer has ended its side, -1 for an errno */
export function discard(native: Native, fd: number): number {
  return native.recv(fd, null, DISCARD_LENGTH, c.MSG_DONTWAIT | c.MSG_TRUNC);
}

/** Ends a connection with FIN and closes it: unread bytes would turn the close into a reset. */
export function endConnection(native: Native, fd: number): void {
  native.shutdown(fd, c.SHUT_WR);
  discard(native, fd);
  native.close(fd);
}
