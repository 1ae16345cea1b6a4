/** Notices when a translator's address stands for everybody, as behind Docker's or other NAT. */
export interface Nat {
  /** Counts a connection; whether its source is one that hides the others. */
  hides(source: string, isTranslator: boolean): boolean;
}

/** Fewer say nothing: a gateway may knock for reasons of its own, as for monitoring. */
const LEAST_CONNECTIONS = 10;
/** At this many all counts are halved, so that the latest weigh most. */
const MOST_CONNECTIONS = 256;

/** @param onNat called once for each such address */
export function createNat(onNat: (source: string, connections: number, ofAll: number) => void): Nat {
  const counts = new Map<string, number>();
  const told = new Set<string>();
  let total = 0;

  return { hides };

  function hides(source: string, isTranslator: boolean): boolean {
    total += 1;
    if (total >= MOST_CONNECTIONS) halve();
    if (!isTranslator) return false;
    const count = (counts.get(source) ?? 0) + 1;
    counts.set(source, count);
    if (count < LEAST_CONNECTIONS || count * 2 <= total) return false;
    if (!told.has(source)) onNat(source, count, total);
    told.add(source);
    return true;
  }

  function halve(): void {
    total >>= 1;
    for (const [source, count] of counts) {
      if (count < 2) counts.delete(source);
      else counts.set(source, count >> 1);
    }
  }
}
