import type { Configuration } from '../configuration/configuration.ts';
import { isDecoyPort } from '../configuration/decoy-ports.ts';
import { exceptedPorts } from '../nftables/excepted-ports.ts';
import { readListeningSockets } from '../system/listening-sockets.ts';
import type { Host } from './host.ts';

/** Low and high, as firewalls tell them apart. */
const STARTS = [7, 2000, 20_000, 62_000];
const LAST = 65_535;

/** Some ports that a decoy with `ports: unused` stands for at this moment; none without such a decoy. */
export function sampleUnusedPorts({ root }: Host, configuration: Configuration): number[] {
  const exceptions = configuration.decoys.find(({ unused }) => unused !== undefined)?.unused;
  if (exceptions === undefined) return [];
  const excepted = exceptedPorts(exceptions, `${root}/proc`);
  const taken = new Set([...configuration.decoys.flatMap(({ ports }) => ports), ...listeningPorts(root)]);
  const isUnused = (port: number) =>
    isDecoyPort(configuration, port) &&
    !taken.has(port) &&
    excepted.every(({ first, last }) => port < first || port > last);
  return [...new Set(STARTS.flatMap((start) => firstFrom(start, isUnused)))];
}

function firstFrom(start: number, wanted: (port: number) => boolean): number[] {
  for (let port = start; port <= LAST; port += 1) if (wanted(port)) return [port];
  return [];
}

function listeningPorts(root: string): number[] {
  try {
    return readListeningSockets(`${root}/proc`).map(({ port }) => port);
  } catch {
    return [];
  }
}
