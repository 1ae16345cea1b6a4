import type { AllowEntry } from '../configuration/allow-entry.ts';

const MOST_WARNINGS = 10;

/** A line for each entry that has ended, and beyond ten how many more have. */
export function expiryWarnings(expired: readonly AllowEntry[]): string[] {
  const left = expired.length - MOST_WARNINGS;
  const lines = expired.slice(0, MOST_WARNINGS).map(expiryText);
  return left > 0 ? [...lines, `${left} more allow entries have ended`] : lines;
}

/** Entries whose end is past. */
export function expiredEntries(entries: readonly AllowEntry[], now: number): AllowEntry[] {
  return entries.filter(({ until }) => until !== undefined && until <= now);
}

/** When the next entry ends, in milliseconds since the epoch; undefined: none will. */
export function nextExpiry(entries: readonly AllowEntry[], now: number): number | undefined {
  const ends = entries.flatMap(({ until }) => (until !== undefined && until > now ? [until] : []));
  return ends.reduce<number | undefined>((least, end) => Math.min(least ?? end, end), undefined);
}

/** `/etc/honeyport/allow.list:7: allow entry 192.0.2.7 ended with 2026-01-31 and allows nobody`. */
function expiryText({ file, line, source, until }: AllowEntry): string {
  return `${file}:${line}: allow entry ${source} ended with ${lastDay(until!)} and allows nobody`;
}

/** The last day on which an entry counts, as it was written. */
export function lastDay(until: number): string {
  return new Date(until - 1).toISOString().slice(0, 10);
}
