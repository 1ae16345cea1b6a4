/** An address or network that fail2ban has banned, and that the account is to block. */
export interface Want {
  /** Canonical: an address, or a network with its length. */
  readonly ip: string;
  /** When it was banned, in seconds since the epoch. */
  readonly since: number;
  /** When the ban ends, in seconds since the epoch; null: never. */
  readonly until: number | null;
  readonly jail: string;
  /** Of the decoy that led to the ban; undefined for bans by hand and of other jails. */
  readonly decoyPort?: number | undefined;
  readonly decoy?: string | undefined;
  /** The event that led to it. */
  readonly eventId?: string | undefined;
}

/** Whether a ban still holds at `now`, in seconds since the epoch. */
export function isRunning({ until }: Want, now: number): boolean {
  return until === null || until > now;
}

/** The one that lasts longer; of two that end together the newer one. */
export function longerWant(one: Want, other: Want): Want {
  const [end, otherEnd] = [one.until ?? Number.POSITIVE_INFINITY, other.until ?? Number.POSITIVE_INFINITY];
  if (end !== otherEnd) return end > otherEnd ? one : other;
  return one.since >= other.since ? one : other;
}

/** Those that there is room for, the newest first; always the same ones, whatever order they come in. */
export function newestWants(wants: Iterable<Want>, room: number): Want[] {
  return [...wants]
    .sort((one, other) => other.since - one.since || (one.ip < other.ip ? -1 : 1))
    .slice(0, Math.max(0, room));
}

/** When the first of them ends, in seconds since the epoch; undefined where none does. */
export function firstEnd(wants: readonly Want[]): number | undefined {
  const ends = wants.flatMap(({ until }) => until ?? []);
  return ends.length === 0 ? undefined : ends.reduce((first, end) => Math.min(first, end));
}
