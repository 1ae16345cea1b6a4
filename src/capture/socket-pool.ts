import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import { type InheritedSocket, readInheritedSocket, setNonBlocking } from './inherited-socket.ts';
import type { Endpoint } from './listener.ts';
import { SOCKET_ADDRESS_LENGTH } from './socket-address.ts';
import { NO_MARK, setMark } from './socket-mark.ts';

/** Inherited sockets that no listener uses. */
export interface SocketPool {
  /** Takes out those that an endpoint can listen on: none, one, or of all addresses one for each family. */
  take(endpoint: Endpoint): InheritedSocket[];
  giveBack(socket: InheritedSocket): void;
  /** Keeps peers from those that are here now, as far as it can be done: whoever opened them has them open still. */
  quiet(): void;
  /** Whether one that is here now bears a mark, which could not be taken from it. */
  readonly keepsMark: boolean;
}

export interface SocketPoolOptions {
  readonly native: Native;
  /** Descriptors that this process was started with. */
  readonly fds: readonly number[];
  /** Called with descriptors that are no listening TCP sockets. */
  readonly onUnusable: (fds: readonly number[]) => void;
  /** Called with the ports of sockets that no endpoint needs, once until one does. */
  readonly onIdle: (ports: readonly number[]) => void;
  /** Called with the number of connections that came to a port while no endpoint needed it. */
  readonly onDiscarded: (port: number, connections: number) => void;
}

const MOST_QUEUED = 65_536;

export function createSocketPool(options: SocketPoolOptions): SocketPool {
  const { native, fds, onUnusable, onIdle, onDiscarded } = options;
  const sockets = fds.map((fd) => readInheritedSocket(native, fd));
  const pool = new Map<number, InheritedSocket[]>();
  const quieted = new Set<InheritedSocket>();
  const marked = new Set<InheritedSocket>();
  for (const socket of sockets) if (socket !== undefined) giveBack(socket);
  const unusable = fds.filter((_, index) => sockets[index] === undefined);
  if (unusable.length > 0) onUnusable(unusable);

  return {
    take,
    giveBack,
    quiet,
    get keepsMark() {
      return marked.size > 0;
    },
  };

  function take({ port, address, isTransparent }: Endpoint): InheritedSocket[] {
    // systemd's sockets are taken for ordinary ones
    if (isTransparent === true) return [];
    const idle = pool.get(port);
    if (idle === undefined) return [];
    const taken = fitting(idle, address);
    pool.set(
      port,
      idle.filter((socket) => !taken.includes(socket)),
    );
    for (const socket of taken) marked.delete(socket);
    for (const socket of taken) if (quieted.delete(socket)) discardQueue(socket);
    return taken;
  }

  function giveBack(socket: InheritedSocket): void {
    // who comes to a port that is no decoy has done nothing wrong
    if (!setMark(native, socket.fd, NO_MARK)) marked.add(socket);
    pool.set(socket.port, [...(pool.get(socket.port) ?? []), socket]);
  }

  /** It cannot be closed for peers, but nobody gets in beyond the one that a queue of length 0 has room for. */
  function quiet(): void {
    const idle = [...pool.values()].flat().filter((socket) => !quieted.has(socket));
    for (const socket of idle) {
      native.listen(socket.fd, 0);
      quieted.add(socket);
    }
    if (idle.length > 0) onIdle(idle.map(({ port }) => port));
  }

  /** Who came when the port was no decoy has done nothing that could be held against him. */
  function discardQueue({ fd, port }: InheritedSocket): void {
    setNonBlocking(native, fd);
    let discarded = 0;
    while (discarded < MOST_QUEUED && discardOne(fd)) discarded += 1;
    if (discarded > 0) onDiscarded(port, discarded);
  }

  function discardOne(fd: number): boolean {
    const peer = new Uint8Array(SOCKET_ADDRESS_LENGTH);
    const length = new Uint8Array(Int32Array.of(peer.length).buffer);
    const connection = native.accept4(fd, peer, length, c.SOCK_CLOEXEC);
    return connection >= 0 && native.close(connection) === 0;
  }
}

/** Of sockets of one port those that an address asks for; without one, all addresses of both families. */
function fitting(sockets: readonly InheritedSocket[], address: string | undefined): InheritedSocket[] {
  const first = (wanted: string, isDual: boolean) =>
    sockets.filter((socket) => socket.address === wanted && socket.isDual === isDual).slice(0, 1);
  if (address !== undefined) return first(address, false);
  const dual = first('::', true);
  return dual.length > 0 ? dual : [...first('::', false), ...first('0.0.0.0', false)];
}
