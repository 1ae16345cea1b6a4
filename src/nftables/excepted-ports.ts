import type { Exceptions } from '../configuration/configuration.ts';
import { mergeRanges, type PortRange } from '../configuration/ports.ts';
import { readRegularFile } from '../configuration/read.ts';

/** The ports that a decoy with `ports: unused` leaves alone on this host, those of outgoing connections among them. */
export function exceptedPorts({ ports, ephemeral }: Exceptions, proc = '/proc'): PortRange[] {
  return mergeRanges(ephemeral ? [...ports, readEphemeralPorts(proc)] : ports);
}

/** What the kernel has by itself. */
const DEFAULT: PortRange = { first: 32_768, last: 60_999 };

function readEphemeralPorts(proc: string): PortRange {
  const [first, last] = readNumbers(`${proc}/sys/net/ipv4/ip_local_port_range`);
  return first !== undefined && last !== undefined && first >= 1 && first <= last && last <= 65_535
    ? { first, last }
    : DEFAULT;
}

function readNumbers(path: string): number[] {
  try {
    return Buffer.from(readRegularFile(path, 64)).toString('latin1').trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}
