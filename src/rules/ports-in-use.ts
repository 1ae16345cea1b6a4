import type { Configuration } from '../configuration/configuration.ts';
import { handOverPort } from '../configuration/hand-over-port.ts';
import type { ListeningSocket } from '../system/listening-sockets.ts';

/**
 * The ports of services, rising: of sockets that listen and are not the listener's own. Not those of loopback
 * addresses alone, which nobody outside can contact.
 */
export function portsInUse(
  sockets: readonly Pick<ListeningSocket, 'address' | 'port'>[],
  configuration: Pick<Configuration, 'decoys'>,
): number[] {
  const own = ownEndpoints(configuration);
  const services = sockets.filter(
    ({ address, port }) => !isLoopback(address) && !own.has(`${port} ${nameOf(address)}`),
  );
  return [...new Set(services.map(({ port }) => port))].sort((a, b) => a - b);
}

/** By port and address: a service may have the port of a decoy that has one address. */
function ownEndpoints(configuration: Pick<Configuration, 'decoys'>): Set<string> {
  const decoys = configuration.decoys.flatMap(({ ports, address = ALL }) =>
    ports.map((port) => `${port} ${nameOf(address)}`),
  );
  const port = handOverPort(configuration);
  return new Set(port === undefined ? decoys : [...decoys, `${port} ${ALL}`]);
}

const ALL = '*';

/** A decoy on all addresses may have a socket for each family. */
function nameOf(address: string): string {
  return address === '::' || address === '0.0.0.0' ? ALL : address;
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}
