import type { Native } from '../native/native.ts';
import type { Acceptor } from './acceptor.ts';
import { type Endpoint, ListenError, type Listener, openListener } from './listener.ts';

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
}

export function createListeners(native: Native, acceptor: Acceptor): Listeners {
  let open = new Map<string, Listener>();

  return { replace };

  function replace(endpoints: readonly Endpoint[]): void {
    const wanted = new Map(endpoints.map((endpoint) => [keyOf(endpoint), endpoint]));
    const leaving = [...open.values()].filter(({ endpoint }) => !wanted.has(keyOf(endpoint)));
    const leavingPorts = new Set(leaving.map(({ endpoint }) => endpoint.port));
    const missing = endpoints.filter((endpoint) => !open.has(keyOf(endpoint)));
    // a port that only changes its address is taken: its old listener has to go first, so it is done last
    const moved = missing.filter(({ port }) => leavingPorts.has(port));
    const opened = openAll(missing.filter(({ port }) => !leavingPorts.has(port)));
    const movedListeners = exchange(moved, leaving, opened);
    for (const listener of leaving) acceptor.remove(listener);
    commit(wanted, [...opened, ...movedListeners]);
  }

  function openAll(endpoints: readonly Endpoint[]): Listener[] {
    const opened: Listener[] = [];
    const errors: ListenError[] = [];
    for (const endpoint of endpoints) {
      try {
        opened.push(openListener(native, endpoint));
      } catch (error) {
        if (!(error instanceof ListenError)) throw error;
        errors.push(error);
        if (errors.length >= MAX_ERRORS) break;
      }
    }
    if (errors.length === 0) return opened;
    closeAll(opened);
    throw new ListenErrors(errors);
  }

  function exchange(
    moved: readonly Endpoint[],
    leaving: readonly Listener[],
    opened: readonly Listener[],
  ): Listener[] {
    if (moved.length === 0) return [];
    const ports = new Set(moved.map(({ port }) => port));
    const inTheWay = leaving.filter(({ endpoint }) => ports.has(endpoint.port));
    for (const listener of inTheWay) acceptor.remove(listener);
    try {
      return openAll(moved);
    } catch (error) {
      closeAll(opened);
      throw error instanceof ListenErrors ? new ListenErrors([...error.errors, ...restore(inTheWay)]) : error;
    }
  }

  /** Opens again what made way in vain. @returns the errors of those whose port somebody else has taken meanwhile */
  function restore(removed: readonly Listener[]): ListenError[] {
    const errors: ListenError[] = [];
    for (const { endpoint } of removed) {
      open.delete(keyOf(endpoint));
      try {
        adopt(openListener(native, endpoint));
      } catch (error) {
        if (!(error instanceof ListenError)) throw error;
        errors.push(error);
      }
    }
    return errors;
  }

  function commit(wanted: ReadonlyMap<string, Endpoint>, added: readonly Listener[]): void {
    const staying = [...open].filter(([key]) => wanted.has(key));
    for (const [key, listener] of staying) listener.endpoint = wanted.get(key)!;
    open = new Map(staying);
    for (const listener of added) adopt(listener);
  }

  function adopt(listener: Listener): void {
    open.set(keyOf(listener.endpoint), listener);
    acceptor.add(listener);
  }

  function closeAll(listeners: readonly Listener[]): void {
    for (const { fd } of listeners) native.close(fd);
  }
}

// who has the wrong address on 1,000 ports need not read it 1,000 times
const MAX_ERRORS = 10;

function keyOf({ address, port }: Endpoint): string {
  return `${address ?? '*'} ${port}`;
}
