import { closestMatch } from 'leven';

/** `did you mean ports?`, or, where nothing known is near, `expected one of address, name, ports`. */
export function suggestKey(unknown: string, known: readonly string[]): string {
  // A third of the letters may be wrong, and one always; beyond that a guess misleads.
  const near = closestMatch(unknown, known, { maxDistance: Math.max(1, Math.ceil(unknown.length / 3)) });
  return near === undefined ? `expected one of ${known.toSorted().join(', ')}` : `did you mean ${near}?`;
}
