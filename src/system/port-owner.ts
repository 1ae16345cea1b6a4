import { findSocketHolders, readListeningSockets } from './listening-sockets.ts';
import { readProcessStatus } from './process-status.ts';

/** A program that listens on a port. */
export interface PortOwner {
  readonly name: string;
  readonly pid: number;
}

/**
 * The program that listens on a TCP port of this network namespace, on whatever address.
 * @returns undefined when there is none, or when it belongs to another user and only root may look
 */
export function findPortOwner(port: number): PortOwner | undefined {
  const sockets = listeningOn(port);
  if (sockets.size === 0) return undefined;
  const [pid] = [...findSocketHolders(sockets).values()].flat();
  return pid === undefined ? undefined : { pid, name: readProcessStatus(pid)?.name || 'a program' };
}

function listeningOn(port: number): Set<string> {
  try {
    return new Set(readListeningSockets().flatMap((one) => (one.port === port ? [one.socket] : [])));
  } catch {
    // without /proc nobody can tell
    return new Set();
  }
}
