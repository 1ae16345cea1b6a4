import { messageOf, UserError } from '../errors.ts';
import { SECONDS_IN_USE } from '../nftables/unused-table.ts';
import { openStateFile, type StateFile } from '../system/state-file.ts';

/** What is remembered of ports that were in use. */
export interface Memory {
  /** Those that are not any more, with the seconds for which they still stay out, rising. */
  readonly remembered: ReadonlyMap<number, number>;
  /** Why less is remembered than should be. */
  readonly problems: readonly string[];
}

/** What stands in the file: when each port was in use last, in seconds since the epoch. */
interface Content {
  readonly version: 1;
  readonly ports: Readonly<Record<string, number>>;
}

/**
 * Notes in a file which ports are in use now, and tells which were within a day, also before a reboot. A file that
 * cannot be read is begun anew, and one that cannot be written is no reason to do without the rest.
 */
export function rememberPorts(path: string, inUse: readonly number[], nowMs: number): Memory {
  const now = Math.floor(nowMs / 1000);
  const file = openStateFile(path, { mode: 0o600 });
  const { before, problems } = readBefore(file);
  const seen = new Map([...stillRemembered(before, now), ...inUse.map((port) => [port, now] as const)]);
  const sorted = [...seen].sort(([one], [other]) => one - other);
  const current = new Set(inUse);
  const remembered = sorted.flatMap(([port, at]) =>
    current.has(port) ? [] : [[port, at + SECONDS_IN_USE - now] as const],
  );
  return { remembered: new Map(remembered), problems: [...problems, ...write(file, sorted)] };
}

function readBefore(file: StateFile): { before: Map<number, number>; problems: string[] } {
  try {
    return { before: timesOf(file), problems: [] };
  } catch (error) {
    return {
      before: new Map(),
      problems: [`ports that were in use are forgotten, the file is begun anew: ${messageOf(error)}`],
    };
  }
}

function timesOf(file: StateFile): Map<number, number> {
  const value = file.read();
  if (value === undefined) return new Map();
  const { version, ports } = (value ?? {}) as Partial<Content>;
  const entries = version === 1 && ports instanceof Object ? Object.entries(ports) : undefined;
  if (entries?.every(isPortWithTime) !== true)
    throw new UserError(`${file.path}: expected ports with the times of their last use`);
  return new Map(entries.map(([port, at]) => [Number(port), at]));
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

function write(file: StateFile, seen: readonly (readonly [number, number])[]): string[] {
  const content: Content = { version: 1, ports: Object.fromEntries(seen) };
  try {
    file.write(content);
    return [];
  } catch (error) {
    return [`ports that are in use now will not be remembered: ${messageOf(error)}`];
  }
}
