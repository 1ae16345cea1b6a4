import { networkInterfaces } from 'node:os';
import { addressFromBytes, parseAddress } from '../address.ts';
import { addressKey, maskBytes, parseNetwork, prefixKey } from '../network.ts';

/** Addresses of this host's interfaces, and those that its private networks' own routers would have. */
export interface OwnAddresses {
  readonly own: readonly string[];
  /**
   * The first address of each private network that this host is in: Docker's, podman's and libvirt's bridges have it in
   * theirs, and show it as the source of what they translate, also where they are not the default gateway.
   */
  readonly bridges: readonly string[];
}

/** In canonical text. Interfaces that are down have none. */
export function readOwnAddresses(interfaces = networkInterfaces()): OwnAddresses {
  const addresses = Object.values(interfaces).flatMap((list) => list ?? []);
  const own = addresses.flatMap(({ address }) => parseAddress(address.replace(/%.*$/, ''))?.text ?? []);
  const bridges = addresses.flatMap(({ cidr, internal }) =>
    cidr === null || internal ? [] : firstAddress(cidr),
  );
  return { own, bridges: bridges.filter((address) => !own.includes(address)) };
}

/** RFC 1918, RFC 6598 and RFC 4193. */
const PRIVATE_NETWORKS = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'].map(
  (text) => {
    const network = parseNetwork(text);
    if ('expected' in network) throw new Error(`Expected a network, got ${text}`);
    return network;
  },
);

/** Of a private network with room for more than two hosts. */
function firstAddress(cidr: string): string[] {
  const [text = '', length] = cidr.split('/');
  const address = parseAddress(text.replace(/%.*$/, ''));
  if (address === undefined || Number(length) > address.bytes.length * 8 - 2) return [];
  const key = addressKey(address.text);
  if (!PRIVATE_NETWORKS.some((network) => prefixKey(key, network.length) === network.key)) return [];
  const bytes = maskBytes(address.bytes, Number(length));
  bytes[bytes.length - 1]! |= 1;
  return [addressFromBytes(bytes, 0, address.family === 4 ? 4 : 16)];
}
