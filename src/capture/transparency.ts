import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';

/**
 * Lets a socket take connections to addresses and ports that it is not bound to, as the kernel's rules hand them over. What
 * it accepts has the address and the port that the peer contacted as its own.
 * @returns -1 for an errno: without CAP_NET_RAW or CAP_NET_ADMIN, or where the kernel does not know the option
 */
export function makeTransparent(native: Pick<Native, 'setsockopt'>, fd: number, family: 4 | 6): number {
  const [on, length] = [new Uint8Array(Int32Array.of(1).buffer), 4];
  const result = family === 6 ? native.setsockopt(fd, c.IPPROTO_IPV6, c.IPV6_TRANSPARENT, on, length) : 0;
  return result < 0 ? result : native.setsockopt(fd, c.SOL_IP, c.IP_TRANSPARENT, on, length);
}

/** Why this process may not make sockets transparent, as an errno; undefined: it may, or there is no socket to try it with. */
export function transparencyErrno(
  native: Pick<Native, 'socket' | 'setsockopt' | 'close' | 'errno'>,
): number | undefined {
  const fd = native.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_CLOEXEC, 0);
  if (fd < 0) return undefined;
  const errno = makeTransparent(native, fd, 4) < 0 ? native.errno() : undefined;
  native.close(fd);
  return errno;
}
