import type { Address } from '../address.ts';
import { addressKey, parseNetwork, prefixKey } from '../network.ts';

/** Whether a text is the address, in whatever spelling, or a network that it is in. */
export function covers(text: string, address: Address): boolean {
  const network = parseNetwork(text);
  if ('expected' in network || network.family !== address.family) return false;
  return network.key === prefixKey(addressKey(address.text), network.length);
}
