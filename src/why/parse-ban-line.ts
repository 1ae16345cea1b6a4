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
const PAIR = / ([a-z_]+)=(?:([A-Za-z0-9._:,/+@-]+)|"((?:[^"\\]|\\["\\]|\\x[0-9a-f]{2})*)")(?= |$)/y;

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
  return { kind, time: Date.parse(time), jail, src, net: pairs?.get('net') };
}

function parsePairs(line: string, start: number): Map<string, string> | undefined {
  const pairs = new Map<string, string>();
  PAIR.lastIndex = start;
  for (let end = start; end < line.length; end = PAIR.lastIndex) {
    const pair = PAIR.exec(line);
    if (pair === null || pairs.has(pair[1]!)) return undefined;
    pairs.set(pair[1]!, pair[3] === undefined ? pair[2]! : unescapeText(pair[3]));
  }
  return pairs;
}

/** The action escapes the bytes of a name in UTF-8. */
function unescapeText(text: string): string {
  const bytes = text.replace(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex: string | undefined, character: string) =>
    hex === undefined ? character : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString();
}
