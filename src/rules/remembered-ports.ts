import { messageOf, UserError } from '../errors.ts';
import { SECONDS_IN_USE } from '../nftables/unused-table.ts';
import { openStateFile, type StateFile } from '../system/state-file.ts';

/** What is remembered of ports that were in use. */
export interface Memory {
  /** Those that are not any more, with the seconds for which they still stay out, rising. */
  readonly remembered: ReadonlyMap<number, number>;
  /** Whether this host tracks connections, or did within a day: one without traffic just now seems not to. */
  readonly tracksConnections: boolean;
  /** Why less is remembered than should be. */
  readonly problems: readonly string[];
}

/** What stands in the file: when each port was in use last, in seconds since the epoch. */
interface Content {
  readonly version: 1;
  readonly ports: Readonly<Record<string, number>>;
  /** When connections were tracked last; missing where they never were. */
  readonly tracked?: number;
}

/** What is in use at this moment. */
export interface InUse {
  readonly ports: readonly number[];
  readonly tracksConnections: boolean;
}

/**
 * Notes in a file what is in use now, and tells what was within a day, also before a reboot. A file that cannot be read
 * is begun anew, and one that cannot be written is no reason to do without the rest.
 */
export function rememberPorts(path: string, { ports, tracksConnections }: InUse, nowMs: number): Memory {
  const now = Math.floor(nowMs / 1000);
  const file = openStateFile(path, { mode: 0o600 });
  const { before, problems } = readBefore(file);
  const seen = new Map([...stillRemembered(before.ports, now), ...ports.map((port) => [port, now] as const)]);
  const sorted = [...seen].sort(([one], [other]) => one - other);
  const current = new Set(ports);
  const tracked = tracksConnections ? now : trackedBefore(before, now);
  const remembered = sorted.flatMap(([port, at]) =>
    current.has(port) ? [] : [[port, at + SECONDS_IN_USE - now] as const],
  );
  return {
    remembered: new Map(remembered),
    tracksConnections: tracked !== undefined,
    problems: [...problems, ...write(file, sorted, tracked)],
  };
}

interface Before {
  readonly ports: ReadonlyMap<number, number>;
  readonly tracked: number | undefined;
}

function readBefore(file: StateFile): { before: Before; problems: string[] } {
  try {
    return { before: timesOf(file), problems: [] };
  } catch (error) {
    return {
      before: NOTHING,
      problems: [`ports that were in use are forgotten, the file is begun anew: ${messageOf(error)}`],
    };
  }
}

const NOTHING: Before = { ports: new Map(), tracked: undefined };

function timesOf(file: StateFile): Before {
  const value = file.read();
  if (value === undefined) return NOTHING;
  const { version, ports, tracked } = (value ?? {}) as Partial<Content>;
  const entries = version === 1 && ports instanceof Object ? Object.entries(ports) : undefined;
  if (entries?.every(isPortWithTime) !== true || !(tracked === undefined || Number.isSafeInteger(tracked)))
    throw new UserError(`${file.path}: expected ports with the times of their last use`);
  return { ports: new Map(entries.map(([port, at]) => [Number(port), at])), tracked };
}

function trackedBefore({ tracked }: Before, now: number): number | undefined {
  if (tracked === undefined) return undefined;
  const at = Math.min(tracked, now);
  return now - at < SECONDS_IN_USE ? at : undefined;
}

function isPortWithTime([port, at]: [string, unknown]): boolean {
  return /^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65_535 && Number.isSafeInteger(at);
}

/** A time that is still to come is of a clock that was wrong: how long ago it was is not known. */
function stillRemembered(before: ReadonlyMap<number, number>, now: number): (readonly [number, number])[] {
  return [...before]
    .map(([port, at]) => [port, Math.min(at, now)] as const)
    .filter(([, at]) => now - at < SECONDS_IN_USE);
}

function write(
  file: StateFile,
  seen: readonly (readonly [number, number])[],
  tracked: number | undefined,
): string[] {
  const times = { version: 1, ports: Object.fromEntries(seen) } as const;
  const content: Content = tracked === undefined ? times : { ...times, tracked };
  try {
    file.write(content);
    return [];
  } catch (error) {
    return [`ports that are in use now will not be remembered: ${messageOf(error)}`];
  }
}
