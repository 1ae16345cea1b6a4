import type { Address } from '../address.ts';
import { parseLine } from '../format/parse-line.ts';
import { readLogHistory } from '../system/log-history.ts';
import { covers } from './covers.ts';
import { createNeighbours, type Neighbours } from './neighbours.ts';
import { parseBanLine } from './parse-ban-line.ts';
import { createTally, type Tally } from './tally.ts';

/** What a log and its rotated siblings say of an address. */
export interface History extends Tally {
  readonly path: string;
  /** How many files were read. */
  readonly files: number;
}

export interface BanHistory extends History {
  readonly neighbours: Neighbours;
}

export interface HistoryOptions {
  readonly path: string;
  readonly address: Address;
  readonly onTrouble: (message: string) => void;
}

/** Lines of honeyport's log whose source is the address. */
export async function readEvents({ path, address, onTrouble }: HistoryOptions): Promise<History> {
  const tally = createTally();
  // A log of gigabytes has few such lines, and only they are worth parsing.
  const mark = ` src=${address.text} `;
  const onLine = (line: string) => {
    const event = line.includes(mark) ? parseLine(line)?.event : undefined;
    if (event !== undefined && 'src' in event && event.src === address.text) tally.add(line, event);
  };
  const files = await readLogHistory({ path, onLine, onTrouble });
  return { path, files: files.length, ...tally.result() };
}

/** Lines of bans of the address, or of a network that it is in. */
export async function readBans({ path, address, onTrouble }: HistoryOptions): Promise<BanHistory> {
  const tally = createTally();
  const neighbours = createNeighbours();
  const onLine = (line: string) => {
    // all that names a network has a slash
    const ban = line.includes(address.text) || line.includes('/') ? parseBanLine(line) : undefined;
    if (ban === undefined) return;
    const around = ban.net !== undefined && covers(ban.net, address);
    if (around) neighbours.add(ban);
    if (around || covers(ban.src, address)) tally.add(line, ban);
  };
  const files = await readLogHistory({ path, onLine, onTrouble });
  return { path, files: files.length, ...tally.result(), neighbours };
}
