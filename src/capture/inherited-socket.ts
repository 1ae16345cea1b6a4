import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import {
  SOCKET_ADDRESS_LENGTH,
  socketAddressFamily,
  socketAddressPort,
  socketAddressText,
} from './socket-address.ts';

/** A listening TCP socket that this process was started with; whoever opened it, systemd, has it open, too. */
export interface InheritedSocket {
  readonly fd: number;
  /** Canonical text, of all addresses `0.0.0.0` or `::`. */
  readonly address: string;
  readonly port: number;
  /** Whether it takes IPv4 beside IPv6. */
  readonly isDual: boolean;
}

/**
 * Looks at a descriptor that this process was started with, and keeps it from programs.
 * @returns undefined for anything but a listening TCP socket
 */
export function readInheritedSocket(native: Native, fd: number): InheritedSocket | undefined {
  if (native.fcntl(fd, c.F_SETFD, c.FD_CLOEXEC) < 0) return undefined;
  if (option(c.SOL_SOCKET, c.SO_TYPE) !== c.SOCK_STREAM) return undefined;
  if (option(c.SOL_SOCKET, c.SO_ACCEPTCONN) !== 1) return undefined;
  const name = Buffer.alloc(SOCKET_ADDRESS_LENGTH);
  if (native.getsockname(fd, name, int(name.length)) < 0) return undefined;
  const family = socketAddressFamily(name);
  if (family === undefined) return undefined;
  const address = socketAddressText(name);
  const isDual = address === '::' && option(c.IPPROTO_IPV6, c.IPV6_V6ONLY) === 0;
  return { fd, address, port: socketAddressPort(name), isDual };

  function option(level: number, name: number): number | undefined {
    const value = new Int32Array(1);
    const result = native.getsockopt(fd, level, name, new Uint8Array(value.buffer), int(4));
    return result < 0 ? undefined : value[0];
  }
}

/** @returns -1 for an errno */
export function setNonBlocking(native: Native, fd: number): number {
  return native.fcntl(fd, c.F_SETFL, native.fcntl(fd, c.F_GETFL, 0) | c.O_NONBLOCK);
}

function int(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}
