import type { AllowEntry } from '../configuration/allow-entry.ts';

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
export function expiryText({ file, line, source, until }: AllowEntry): string {
  return `${file}:${line}: allow entry ${source} ended with ${lastDay(until!)} and allows nobody`;
}

/** The last day on which an entry counts, as it was written. */
export function lastDay(until: number): string {
  return new Date(until - 1).toISOString().slice(0, 10);
}
