import { addressKey, type Network, prefixKey } from '../network.ts';

/** Whether an address, in canonical text, is in one of the networks: a look-up for each length of prefix among them. */
export function createTrustedProxies(networks: readonly Network[]): (source: string) => boolean {
  const byPrefix = new Map<string, { family: 4 | 6; length: number; keys: Set<number | string> }>();
  for (const { family, length, key } of networks) {
    const prefix = `${family}/${length}`;
    const group = byPrefix.get(prefix) ?? { family, length, keys: new Set() };
    byPrefix.set(prefix, group);
    group.keys.add(key);
  }
  const groups = [...byPrefix.values()];
  return (source) => {
    if (groups.length === 0) return false;
    const key = addressKey(source);
    const family = typeof key === 'number' ? 4 : 6;
    return groups.some((group) => group.family === family && group.keys.has(prefixKey(key, group.length)));
  };
}
