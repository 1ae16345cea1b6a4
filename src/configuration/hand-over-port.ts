import type { Configuration } from './configuration.ts';
import type { PortRange } from './ports.ts';

const HIGHEST_PORT = 65_535;

/**
 * The port at which the listener takes what the kernel's rules hand over to a decoy with `ports: unused`: the highest one
 * that is no decoy's and is not excepted by its number. Which ports are ephemeral does not matter, so that a sysctl
 * does not move it away from rules that are loaded.
 *
 * @returns undefined where no decoy has `ports: unused`
 */
export function handOverPort({ decoys }: Pick<Configuration, 'decoys'>): number | undefined {
  const exceptions = decoys.find(({ unused }) => unused !== undefined)?.unused;
  if (exceptions === undefined) return undefined;
  const ports = decoys.flatMap((decoy) => decoy.ports.map((port) => ({ first: port, last: port })));
  return highestPortBeside([...ports, ...exceptions.ports]);
}

/** The highest port that is in none of the ranges; undefined when they leave none. */
export function highestPortBeside(ranges: readonly PortRange[]): number | undefined {
  let highest = HIGHEST_PORT;
  for (const { first, last } of ranges.toSorted((one, other) => other.last - one.last)) {
    if (last < highest) break;
    highest = Math.min(highest, first - 1);
  }
  return highest > 0 ? highest : undefined;
}
