import { type Address, parseAddress } from '../address.ts';
import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import { encodeSocketAddress } from './socket-address.ts';

/** One address and port to listen on, and the decoy it belongs to. */
export interface Endpoint {
  readonly decoy: string;
  readonly port: number;
  /** Canonical text; undefined for all addresses of both families. */
  readonly address: string | undefined;
  /** Whether its connections stay open when they are handed over; without it they end. */
  readonly keepsOpen?: boolean;
}

/** The running object that accepts on one port of a decoy. */
export interface Listener {
  /** A reload may give the port to another decoy while it stays open. */
  endpoint: Endpoint;
  readonly fd: number;
}

/** A listening socket that the kernel refused, with the errno that says why. */
export class ListenError extends Error {
  readonly endpoint: Endpoint;
  readonly errno: number;

  constructor(endpoint: Endpoint, errno: number, call: string) {
    super(`${call} failed with errno ${errno}`);
    this.name = 'ListenError';
    this.endpoint = endpoint;
    this.errno = errno;
  }
}

// the kernel lowers it to net.core.somaxconn, so that is where an admin sets the bound
const BACKLOG = 65_535;

/**
 * Opens a listening socket. Without an address one socket takes both families; where the host has no IPv6 it takes
 * IPv4 alone.
 * @throws ListenError
 */
export function openListener(native: Native, endpoint: Endpoint): Listener {
  const address = endpoint.address === undefined ? undefined : parseAddress(endpoint.address);
  if (address !== undefined) return listenOn(native, endpoint, address.family, address);
  try {
    return listenOn(native, endpoint, 6, undefined);
  } catch (error) {
    if (error instanceof ListenError && lacksIpv6(error.errno))
      return listenOn(native, endpoint, 4, undefined);
    throw error;
  }
}

function lacksIpv6(errno: number): boolean {
  return errno === c.ERRNO.EAFNOSUPPORT || errno === c.ERRNO.EADDRNOTAVAIL;
}

function listenOn(native: Native, endpoint: Endpoint, family: 4 | 6, address: Address | undefined): Listener {
  const type = c.SOCK_STREAM | c.SOCK_NONBLOCK | c.SOCK_CLOEXEC;
  const fd = native.socket(family === 4 ? c.AF_INET : c.AF_INET6, type, 0);
  if (fd < 0) throw new ListenError(endpoint, native.errno(), 'socket');
  try {
    // a decoy must come back at once after a restart, while its last connections are still in TIME_WAIT
    set(c.SOL_SOCKET, c.SO_REUSEADDR, 1);
    if (family === 6) set(c.IPPROTO_IPV6, c.IPV6_V6ONLY, address === undefined ? 0 : 1);
    saveSyn();
    const name = encodeSocketAddress(family, endpoint.port, address);
    orThrow('bind', native.bind(fd, name, name.length));
    orThrow('listen', native.listen(fd, BACKLOG));
    refuseFastOpen();
    return { endpoint, fd };
  } catch (error) {
    native.close(fd);
    throw error;
  }

  function set(level: number, name: number, value: number): void {
    orThrow('setsockopt', native.setsockopt(fd, level, name, int(value), 4));
  }

  function saveSyn(): void {
    const result = native.setsockopt(fd, c.IPPROTO_TCP, c.TCP_SAVE_SYN, int(1), 4);
    // a kernel that cannot save SYNs leaves every connection without proof, which is what the event then says
    if (result < 0 && native.errno() !== c.ERRNO.ENOPROTOOPT) orThrow('setsockopt', result);
  }

  /**
   * Where net.ipv4.tcp_fastopen opens every listener (0x400), a SYN with data is accepted before its handshake is
   * complete, without a cookie (0x200) from a forged address. listen(2) sets it, so it is taken back afterwards.
   */
  function refuseFastOpen(): void {
    const result = native.setsockopt(fd, c.IPPROTO_TCP, c.TCP_FASTOPEN, int(0), 4);
    if (result < 0 && native.errno() !== c.ERRNO.ENOPROTOOPT) orThrow('setsockopt', result);
  }

  function orThrow(call: string, result: number): void {
    if (result < 0) throw new ListenError(endpoint, native.errno(), call);
  }
}

function int(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}
