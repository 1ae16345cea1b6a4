import { type Network, parseNetwork } from '../network.ts';
import { decoyMappings } from './decoys.ts';
import { expectedGot, type Fault } from './problem.ts';
import { NETWORK_PATTERN } from './schema-nodes.ts';

/** `proxy_protocol` of a decoy as the schema has it. */
export type ProxyNetworks = 'off' | readonly string[];

/** What the schema cannot say of `proxy_protocol`. */
export function proxyFaults(root: unknown): Fault[] {
  return decoyMappings(root).flatMap(({ decoy, path }) => {
    const items = Array.isArray(decoy.proxy_protocol) ? (decoy.proxy_protocol as unknown[]) : [];
    return items.flatMap((item, index) => {
      const message = proxyProblem(item);
      return message === undefined
        ? []
        : [{ path: [...path, 'proxy_protocol', index], at: 'value', message }];
    });
  });
}

/** The networks of a list without faults. */
export function proxiesOf(items: ProxyNetworks = 'off'): Network[] {
  return items === 'off' ? [] : items.map(parseNetwork).filter(isNetwork);
}

/** Of what does not even look like a network the schema speaks. */
function proxyProblem(item: unknown): string | undefined {
  if (typeof item !== 'string' || !NETWORK.test(item)) return undefined;
  const network = parseNetwork(item);
  if (!isNetwork(network)) return expectedGot(network.expected, item);
  return network.length === 0 ? expectedGot(OWN_PROXIES, item) : undefined;
}

const OWN_PROXIES = 'a network of proxies, not of everybody: whoever is in it can name any source';

const NETWORK = new RegExp(NETWORK_PATTERN);

function isNetwork(read: ReturnType<typeof parseNetwork>): read is Network {
  return !('expected' in read);
}
