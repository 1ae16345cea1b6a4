import { type Network, parseNetwork } from '../network.ts';
import type { PortRange } from './ports.ts';
import { expectedGot } from './problem.ts';

/** Addresses that are never bannable. */
export interface AllowedNetwork {
  /** What the log says as `by=`: an entry as it was written, or `guard:<what>`. */
  readonly source: string;
  readonly network: Network;
  /** The decoy ports that it is limited to; undefined for all. */
  readonly ports: readonly PortRange[] | undefined;
  /** From when on it counts no longer, in milliseconds since the epoch; undefined for never. */
  readonly until: number | undefined;
}

/** An entry of the allow list. */
export interface AllowEntry extends Omit<AllowedNetwork, 'network'> {
  /** What it covers; undefined for a host name, which is resolved while the listener runs. */
  readonly network: Network | undefined;
  readonly comment: string | undefined;
  /** The file and line where it stands. */
  readonly file: string;
  readonly line: number;
}

/** What a source is, a network or else a host name, or what is wrong with it as `expected ..., got ...`. */
export function readSource(text: string): { readonly network: Network | undefined } | string {
  if (isHostName(text)) return { network: undefined };
  const network = parseNetwork(text);
  if (!('expected' in network)) return { network };
  const numeric = /[:/]|^[0-9.]+$/.test(text);
  return expectedGot(numeric ? network.expected : 'an address, a network or a host name', text);
}

/** RFC 1123, and the underscore that is in use; 192.0.2.300 is not one, nor is 192.0.2.1-9. */
function isHostName(text: string): boolean {
  return text.length <= 253 && HOST_NAME.test(text);
}

const LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
const HOST_NAME = new RegExp(`^(?:${LABEL}\\.)*(?![0-9-]+$)${LABEL}$`);

/** In one entry. */
const MOST_RANGES = 100;

/** What is wrong with the number of ports and ranges in one entry. */
export function rangesProblem(count: number): string | undefined {
  return count > MOST_RANGES ? `expected at most ${MOST_RANGES} ports and ranges, got ${count}` : undefined;
}

const DAY_MS = 86_400_000;

/** The end of a day such as 2027-01-31, in UTC, or what is wrong with it as `expected ..., got ...`. */
export function readUntil(text: string): number | string {
  const start = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // 2027-02-30 is read as the second of March
  const isDay = !Number.isNaN(start) && new Date(start).toISOString().startsWith(text);
  return isDay ? start + DAY_MS : expectedGot('a day such as 2027-01-31', text);
}
