import type { BanLine } from './parse-ban-line.ts';

/**
 * Banned addresses beside ours: with `prefix6`, the action blocks the whole network around a banned address, of which
 * fail2ban itself knows nothing.
 */
export interface Neighbours {
  /** The network that is blocked as long as a jail bans `what`; undefined where ours is not in one. */
  netOf(jail: string, what: string): string | undefined;
}

/** More banned addresses of one network than an administrator reads. */
const MOST_NEIGHBOURS = 10_000;

export function createNeighbours() {
  const nets = new Map<string, string>();
  return { add, netOf: (jail: string, what: string) => nets.get(keyOf(jail, what)) };

  /** @param ban of which `net` is a network with our address in it */
  function add({ kind, jail, src, net }: BanLine): void {
    // what was only observed is blocked by nobody; an unban says nothing that fail2ban does not
    if (net === undefined || !/^(ban|prolong)$/.test(kind)) return;
    nets.delete(keyOf(jail, src));
    nets.set(keyOf(jail, src), net);
    if (nets.size > MOST_NEIGHBOURS) nets.delete(nets.keys().next().value!);
  }
}

function keyOf(jail: string, what: string): string {
  return JSON.stringify([jail, what]);
}
