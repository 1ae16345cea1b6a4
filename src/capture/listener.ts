import { type Address, parseAddress } from '../address.ts';
import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import { type InheritedSocket, setNonBlocking } from './inherited-socket.ts';
import { encodeSocketAddress } from './socket-address.ts';
import { NO_MARK, setMark } from './socket-mark.ts';
import { makeTransparent } from './transparency.ts';

/** One address and port to listen on, and the decoy it belongs to. */
export interface Endpoint {
  readonly decoy: string;
  readonly port: number;
  /** Canonical text; undefined for all addresses of both families. */
  readonly address: string | undefined;
  /** Whether its connections stay open when they are handed over; without it they end. */
  readonly keepsOpen?: boolean;
  /**
   * The mark that its sockets bear. Never of one address: the kernel's rules could not tell its listener from what it
   * accepted, and a SYN from a forged address would do.
   */
  readonly mark?: number | undefined;
  /** Whether it takes what the kernel's rules hand over, whatever address and port the peer contacted. */
  readonly isTransparent?: boolean;
}

/** The running object that accepts on one port of a decoy. */
export interface Listener {
  /** A reload may give the port to another decoy while it stays open. */
  endpoint: Endpoint;
  readonly fd: number;
  /** The socket is not ours alone: it is given back instead of closed. */
  readonly inherited?: InheritedSocket;
  /** Whether it bears the endpoint's mark. */
  isMarked: boolean;
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

/** A reload may give another decoy's behaviour and mark to a listener that stays. */
export function changeEndpoint(native: Native, listener: Listener, endpoint: Endpoint): void {
  listener.endpoint = endpoint;
  listener.isMarked = setMark(native, listener.fd, endpoint.mark ?? NO_MARK);
}

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

/**
 * Opens what inherited sockets of an endpoint leave to be opened: where it has all addresses, the other family, if the
 * host has it.
 * @throws ListenError
 */
export function openOtherFamily(
  native: Native,
  endpoint: Endpoint,
  inherited: readonly InheritedSocket[],
): Listener[] {
  const [only, second] = inherited;
  if (only === undefined || second !== undefined || only.isDual || endpoint.address !== undefined) return [];
  try {
    return [listenOn(native, endpoint, only.address === '::' ? 4 : 6, undefined, { isDual: false })];
  } catch (error) {
    if (error instanceof ListenError && lacksIpv6(error.errno)) return [];
    throw error;
  }
}

/**
 * Listens on a socket that somebody else has opened. What it accepted before has no saved SYN.
 * @throws ListenError
 */
export function useInheritedSocket(native: Native, endpoint: Endpoint, inherited: InheritedSocket): Listener {
  const { fd } = inherited;
  const set = createSetter(native, endpoint, fd);
  set.call('fcntl', setNonBlocking(native, fd));
  // who sends nothing has knocked, too
  set.option(c.IPPROTO_TCP, c.TCP_DEFER_ACCEPT, 0);
  listenWithProof(native, fd, set);
  return { endpoint, fd, inherited, isMarked: setMark(native, fd, endpoint.mark ?? NO_MARK) };
}

function listenOn(
  native: Native,
  endpoint: Endpoint,
  family: 4 | 6,
  address: Address | undefined,
  { isDual = address === undefined } = {},
): Listener {
  const type = c.SOCK_STREAM | c.SOCK_NONBLOCK | c.SOCK_CLOEXEC;
  const fd = native.socket(family === 4 ? c.AF_INET : c.AF_INET6, type, 0);
  if (fd < 0) throw new ListenError(endpoint, native.errno(), 'socket');
  const set = createSetter(native, endpoint, fd);
  try {
    // a decoy must come back at once after a restart, while its last connections are still in TIME_WAIT
    set.option(c.SOL_SOCKET, c.SO_REUSEADDR, 1);
    if (family === 6) set.option(c.IPPROTO_IPV6, c.IPV6_V6ONLY, isDual ? 0 : 1);
    if (endpoint.isTransparent === true) set.call('setsockopt', makeTransparent(native, fd, family));
    const name = encodeSocketAddress(family, endpoint.port, address);
    set.call('bind', native.bind(fd, name, name.length));
    const isMarked = setMark(native, fd, endpoint.mark ?? NO_MARK);
    listenWithProof(native, fd, set);
    return { endpoint, fd, isMarked };
  } catch (error) {
    native.close(fd);
    throw error;
  }
}

/** Listens such that the kernel hands over what has completed a handshake, with the SYN that proves it. */
function listenWithProof(native: Native, fd: number, set: Setter): void {
  // a kernel that cannot save SYNs leaves every connection without proof, which is what the event then says
  set.optionIfKnown(c.IPPROTO_TCP, c.TCP_SAVE_SYN, 1);
  set.call('listen', native.listen(fd, BACKLOG));
  // Where net.ipv4.tcp_fastopen opens every listener (0x400), a SYN with data is accepted before its handshake is
  // complete, without a cookie (0x200) from a forged address. listen(2) sets it, so it is taken back afterwards.
  set.optionIfKnown(c.IPPROTO_TCP, c.TCP_FASTOPEN, 0);
}

type Setter = ReturnType<typeof createSetter>;

/** Each of them throws ListenError. */
function createSetter(native: Native, endpoint: Endpoint, fd: number) {
  return { call, option, optionIfKnown };

  function call(name: string, result: number): void {
    if (result < 0) throw new ListenError(endpoint, native.errno(), name);
  }

  function option(level: number, name: number, value: number): void {
    call('setsockopt', native.setsockopt(fd, level, name, int(value), 4));
  }

  function optionIfKnown(level: number, name: number, value: number): void {
    const result = native.setsockopt(fd, level, name, int(value), 4);
    if (result < 0 && native.errno() !== c.ERRNO.ENOPROTOOPT) call('setsockopt', result);
  }
}

function int(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}
