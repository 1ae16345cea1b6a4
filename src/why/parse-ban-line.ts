import { parsePairs } from '../format/parse-pairs.ts';

/** A line of bans.log: what fail2ban's action did to whom. */
export interface BanLine {
  /** `ban`, `prolong` or `unban`; with `would-` before it where the action only observes. */
  readonly kind: string;
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly jail: string;
  /** An address, or a network that was banned by hand. */
  readonly src: string;
  /** What is blocked, where that is more than `src`. */
  readonly net: string | undefined;
}

const HEAD =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00) [A-Za-z0-9._-]{1,255} honeyport\[\d+\]: ((?:would-)?(?:ban|prolong|unban))(?= )/;

/**
 * Reads a line of bans that concerns somebody; keys that a later action added are passed over.
 * @returns undefined when it is no such line
 */
export function parseBanLine(line: string): BanLine | undefined {
  const head = HEAD.exec(line);
  if (head === null) return undefined;
  const [whole, time, kind] = head as unknown as [string, string, string];
  const pairs = parsePairs(line, whole.length);
  const src = pairs?.get('src');
  const jail = pairs?.get('jail');
  if (src === undefined || jail === undefined) return undefined;
  return { kind, time: Date.parse(time), jail: fromUtf8(jail), src, net: pairs?.get('net') };
}

/** The action escapes the bytes of a name in UTF-8. */
function fromUtf8(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString();
}
