import type { Endpoint } from '../capture/listener.ts';
import type { Configuration, Decoy } from '../configuration/configuration.ts';
import { handOverPort } from '../configuration/hand-over-port.ts';
import { keepsOpen } from './reception.ts';

/** What the decoys of a configuration listen on. */
export function endpointsOf(configuration: Configuration): Endpoint[] {
  const port = handOverPort(configuration);
  return configuration.decoys.flatMap((decoy) => {
    const { name, ports, address, unused } = decoy;
    const mark = isMarkable(decoy) ? configuration.mark : undefined;
    const about = { decoy: name, address, keepsOpen: keepsOpen(decoy), mark };
    if (unused !== undefined) return [{ ...about, port: port!, isTransparent: true }];
    return ports.map((port) => ({ ...about, port }));
  });
}

/** Who knocks behind a proxy is not who the kernel sees. */
function isMarkable({ address, proxies }: Decoy): boolean {
  return proxies.length === 0 && (address === undefined || ['0.0.0.0', '::'].includes(address));
}
