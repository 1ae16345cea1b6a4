import type { Native } from '../native/native.ts';
import type { Acceptor } from './acceptor.ts';
import {
  changeEndpoint,
  type Endpoint,
  ListenError,
  type Listener,
  openListener,
  openOtherFamily,
  useInheritedSocket,
} from './listener.ts';
import { NO_MARK, setMark } from './socket-mark.ts';
import type { SocketPool } from './socket-pool.ts';

/** Some endpoints could not be listened on; those that could be are closed again. */
export class ListenErrors extends Error {
  readonly errors: readonly ListenError[];

  constructor(errors: readonly ListenError[]) {
    super(`cannot listen on ${errors.length} endpoints`);
    this.name = 'ListenErrors';
    this.errors = errors;
  }
}

/** The listeners that are open. */
export interface Listeners {
  /**
   * Makes the open listeners those of `endpoints`. One that stays is not touched, so its queue loses nothing.
   * @throws ListenErrors, and then everything is as before, but for ports that somebody else took in that moment
   */
  replace(endpoints: readonly Endpoint[]): void;
  /** Whether a listener bears no mark that should. */
  readonly lacksMark: boolean;
  /** Whether an inherited socket bears a mark that it should not, from an earlier time. */
  readonly keepsMark: boolean;
  /** Whoever opened the inherited sockets keeps them open: at the end they are nobody's decoys. */
  unmarkInherited(): void;
}

/** @param pool sockets that an endpoint is listened on with, before one is opened for it */
export function createListeners(native: Native, acceptor: Acceptor, pool: SocketPool = NO_POOL): Listeners {
  let open = new Map<string, readonly Listener[]>();

  return {
    replace,
    get lacksMark() {
      return [...open.values()]
        .flat()
        .some(({ endpoint, isMarked }) => !isMarked && endpoint.mark !== undefined);
    },
    get keepsMark() {
      const isKept = ({ endpoint, isMarked }: Listener) => !isMarked && endpoint.mark === undefined;
      return pool.keepsMark || [...open.values()].flat().some(isKept);
    },
    unmarkInherited() {
      for (const { fd, inherited } of [...open.values()].flat())
        if (inherited !== undefined) setMark(native, fd, NO_MARK);
    },
  };

  function replace(endpoints: readonly Endpoint[]): void {
    const wanted = new Map(endpoints.map((endpoint) => [keyOf(endpoint), endpoint]));
    const leaving = [...open].flatMap(([key, listeners]) => (wanted.has(key) ? [] : listeners));
    const leavingPorts = new Set(leaving.map(({ endpoint }) => endpoint.port));
    const missing = endpoints.filter((endpoint) => !open.has(keyOf(endpoint)));
    // a port that only changes its address is taken: its old listener has to go first, so it is done last
    const moved = missing.filter(({ port }) => leavingPorts.has(port));
    const opened = openAll(missing.filter(({ port }) => !leavingPorts.has(port)));
    const movedListeners = exchange(moved, leaving, opened);
    const movedPorts = new Set(moved.map(({ port }) => port));
    for (const listener of leaving) if (!movedPorts.has(listener.endpoint.port)) remove(listener);
    commit(wanted, [...opened, ...movedListeners]);
    pool.quiet();
  }

  function openAll(endpoints: readonly Endpoint[]): Listener[] {
    const opened: Listener[] = [];
    const errors: ListenError[] = [];
    for (const endpoint of endpoints) {
      try {
        opened.push(...openEndpoint(endpoint));
      } catch (error) {
        if (!(error instanceof ListenError)) throw error;
        errors.push(error);
        if (errors.length >= MAX_ERRORS) break;
      }
    }
    if (errors.length === 0) return opened;
    releaseAll(opened);
    throw new ListenErrors(errors);
  }

  function openEndpoint(endpoint: Endpoint): Listener[] {
    const inherited = pool.take(endpoint);
    if (inherited.length === 0) return [openListener(native, endpoint)];
    try {
      const listeners = inherited.map((socket) => useInheritedSocket(native, endpoint, socket));
      return [...listeners, ...openOtherFamily(native, endpoint, inherited)];
    } catch (error) {
      for (const socket of inherited) pool.giveBack(socket);
      throw error;
    }
  }

  function exchange(
    moved: readonly Endpoint[],
    leaving: readonly Listener[],
    opened: readonly Listener[],
  ): Listener[] {
    if (moved.length === 0) return [];
    const ports = new Set(moved.map(({ port }) => port));
    const inTheWay = leaving.filter(({ endpoint }) => ports.has(endpoint.port));
    for (const listener of inTheWay) remove(listener);
    try {
      return openAll(moved);
    } catch (error) {
      releaseAll(opened);
      throw error instanceof ListenErrors ? new ListenErrors([...error.errors, ...restore(inTheWay)]) : error;
    }
  }

  /** Opens again what made way in vain. @returns the errors of those whose port somebody else has taken meanwhile */
  function restore(removed: readonly Listener[]): ListenError[] {
    const errors: ListenError[] = [];
    const endpoints = new Map(removed.map(({ endpoint }) => [keyOf(endpoint), endpoint]));
    for (const [key, endpoint] of endpoints) {
      open.delete(key);
      try {
        adopt(openEndpoint(endpoint));
      } catch (error) {
        if (!(error instanceof ListenError)) throw error;
        errors.push(error);
      }
    }
    return errors;
  }

  function commit(wanted: ReadonlyMap<string, Endpoint>, added: readonly Listener[]): void {
    const staying = [...open].filter(([key]) => wanted.has(key));
    for (const [key, listeners] of staying)
      for (const listener of listeners) changeEndpoint(native, listener, wanted.get(key)!);
    open = new Map(staying);
    adopt(added);
  }

  function adopt(listeners: readonly Listener[]): void {
    for (const listener of listeners) {
      const key = keyOf(listener.endpoint);
      open.set(key, [...(open.get(key) ?? []), listener]);
      acceptor.add(listener);
    }
  }

  function remove(listener: Listener): void {
    acceptor.remove(listener);
    if (listener.inherited !== undefined) pool.giveBack(listener.inherited);
  }

  function releaseAll(listeners: readonly Listener[]): void {
    for (const { fd, inherited } of listeners) {
      if (inherited === undefined) native.close(fd);
      else pool.giveBack(inherited);
    }
  }
}

const NO_POOL: SocketPool = { take: () => [], giveBack: () => {}, quiet: () => {}, keepsMark: false };

// who has the wrong address on 1,000 ports need not read it 1,000 times
const MAX_ERRORS = 10;

/** A socket cannot become transparent, or cease to be, while rules know it as the other. */
function keyOf({ address, port, isTransparent }: Endpoint): string {
  return `${address ?? '*'} ${port}${isTransparent === true ? ' transparent' : ''}`;
}
