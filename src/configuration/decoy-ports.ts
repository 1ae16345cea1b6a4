import type { Configuration } from './configuration.ts';
import { mergeRanges, type PortRange } from './ports.ts';

type WithDecoys = Pick<Configuration, 'decoys'>;

const ALL_PORTS = 65_535;

/**
 * How many ports decoys have, each once per address. `ports: unused` counts as every port that no other decoy has and
 * that is not excepted by its number: which ones are ephemeral, and which a service takes, the host alone knows.
 */
export function portCount({ decoys }: WithDecoys): number {
  const listed = decoys.reduce((sum, { ports }) => sum + ports.length, 0);
  const exceptions = exceptedPorts({ decoys });
  if (exceptions === undefined) return listed;
  const ranges = decoys.flatMap(({ ports }) => ports.map((port) => ({ first: port, last: port })));
  return listed + ALL_PORTS - sizeOf(mergeRanges([...ranges, ...exceptions]));
}

/** Whether a decoy has a port, or may have it unless a service or an outgoing connection takes it. */
export function isDecoyPort({ decoys }: WithDecoys, port: number): boolean {
  if (decoys.some(({ ports }) => ports.includes(port))) return true;
  return exceptedPorts({ decoys })?.every(({ first, last }) => port < first || port > last) ?? false;
}

/** Undefined where no decoy has `ports: unused`. */
function exceptedPorts({ decoys }: WithDecoys): readonly PortRange[] | undefined {
  return decoys.find(({ unused }) => unused !== undefined)?.unused?.ports;
}

function sizeOf(ranges: readonly PortRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}
