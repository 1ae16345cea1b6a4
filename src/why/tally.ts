/** The lines that concern an address, in numbers, and the last of them. */
export interface Tally {
  /** By kind, in the order in which they came first. */
  readonly counts: ReadonlyMap<string, number>;
  readonly total: number;
  /** Milliseconds since the epoch; undefined where there is no line. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Verbatim, oldest first; at most `MOST_SHOWN`. */
  readonly lines: readonly string[];
}

/** What fits a screen beside everything else. */
export const MOST_SHOWN = 10;

/** Counts lines, of which it keeps the last ones only. */
export function createTally() {
  const counts = new Map<string, number>();
  const lines: string[] = [];
  let total = 0;
  let first: number | undefined;
  let last: number | undefined;
  return { add, result: (): Tally => ({ counts, total, first, last, lines }) };

  function add(line: string, { kind, time }: { kind: string; time: number }): void {
    total++;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if (lines.push(line) > MOST_SHOWN) lines.shift();
    // a clock that was set back makes a later line an earlier one
    first = Math.min(first ?? time, time);
    last = Math.max(last ?? time, time);
  }
}
