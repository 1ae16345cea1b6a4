const PAIR = / ([a-z_]+)=(?:([A-Za-z0-9._:,/+@-]+)|"((?:[^"\\]|\\["\\]|\\x[0-9a-f]{2})*)")(?= |$)/y;

/**
 * The keys and values of a line from `start` on, where its event has just ended. A value's characters are bytes (0 to
 * 255), as they were before they were escaped.
 * @returns undefined where anything else stands in it, or a key twice
 */
export function parsePairs(line: string, start: number): Map<string, string> | undefined {
  const pairs = new Map<string, string>();
  PAIR.lastIndex = start;
  for (let end = start; end < line.length; end = PAIR.lastIndex) {
    const pair = PAIR.exec(line);
    if (pair === null || pairs.has(pair[1]!)) return undefined;
    pairs.set(pair[1]!, pair[2] ?? unescapeText(pair[3]!));
  }
  return pairs;
}

function unescapeText(text: string): string {
  return text.replace(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex: string | undefined, character: string) =>
    hex === undefined ? character : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
