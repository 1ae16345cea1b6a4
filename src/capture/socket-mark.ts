import { release } from 'node:os';
import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';

export const NO_MARK = 0;

/** The capability that a mark needs: since Linux 5.17 CAP_NET_RAW is enough. */
export function markCapability(linux = release()): 'CAP_NET_RAW' | 'CAP_NET_ADMIN' {
  const [major = 0, minor = 0] = linux.split('.').map((part) => Number.parseInt(part, 10));
  return major > 5 || (major === 5 && minor >= 17) ? 'CAP_NET_RAW' : 'CAP_NET_ADMIN';
}

// of all calls: thousands of sockets in a row would leave as many buffers behind
const value = new Uint32Array(1);
const length = new Uint32Array(1);
const [valueBytes, lengthBytes] = [new Uint8Array(value.buffer), new Uint8Array(length.buffer)];

/**
 * Gives a socket the mark by which nftables knows it, and what it accepts from now on; 0 takes it away.
 * @returns whether it has it: without the capability it keeps what it had
 */
export function setMark(native: Native, fd: number, mark: number): boolean {
  if (markOf(native, fd) === mark) return true;
  value[0] = mark;
  return native.setsockopt(fd, c.SOL_SOCKET, c.SO_MARK, valueBytes, valueBytes.length) === 0;
}

function markOf(native: Native, fd: number): number | undefined {
  length[0] = valueBytes.length;
  const result = native.getsockopt(fd, c.SOL_SOCKET, c.SO_MARK, valueBytes, lengthBytes);
  return result < 0 ? undefined : value[0];
}
