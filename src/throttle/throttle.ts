import type { Limits } from '../configuration/configuration.ts';
import type { PortRange } from '../configuration/ports.ts';
import type { Endpoints } from '../event.ts';
import { type CoveringRanges, createCoveringRanges } from './covering-ranges.ts';
import { createSerialQueue } from './serial-queue.ts';

/**
 * Decides which connections get lines of their own, and counts the others: each connection has its line or is in the
 * count of exactly one summary.
 *
 * A source's lines are limited within a window that begins with its first connection, those of all sources within one
 * that begins with the first connection after the one before; the source's limit is asked first. The first line of a
 * kind within a source's window is never held back, and counts like any other: a `connect` must not hide behind what
 * the same source is allowed, nor behind the flood of another. Without a limit for sources their windows, which then
 * only tell what is first, last as long as those of all.
 *
 * Every `now` is milliseconds of one clock that nobody sets, as of performance.now(); one that goes back is taken to
 * stand still.
 */
export interface Throttle {
  /**
   * Asked once for each connection.
   * @param moreLines those that its conversation will write; they are paid for now
   * @returns `line and more` when they all fit; `line` when its own does, or has to be written; `none` when it was
   * counted. With no more lines to come it is never `line`.
   */
  admit(
    connection: Pick<Endpoints, 'src' | 'dpt'>,
    kind: 'connect' | 'allowed' | 'withheld',
    moreLines: number,
    now: number,
  ): 'line' | 'line and more' | 'none';
  /** Takes the summaries that are due: one for each window that is over and in which something was counted. */
  due(now: number): Summary[];
  /** Takes the summaries of all that is counted, also in windows that are not over: at the end, or for other limits. */
  drain(): Summary[];
  /** When the next summary is due, the latest `now` for one that waits; undefined while nothing is counted. */
  readonly nextDue: number | undefined;
}

/** Connections without a line. */
export interface Summary {
  /** Canonical text; undefined for connections of several sources. */
  readonly src: string | undefined;
  readonly count: number;
  /** Covers the ports they came to; undefined where `src` is. */
  readonly dpt: PortRange[] | undefined;
  /** `rate`: beyond the lines of one source; `lines`: beyond those of all. */
  readonly reason: 'rate' | 'lines';
}

export interface ThrottleOptions {
  /**
   * Bounds the windows of sources that are kept, and the summaries of sources that wait. The window that began first is
   * forgotten for a new one, and what it counted is due at once; while nobody takes them, the summary that waits
   * longest becomes part of one without a source.
   *
   * A window takes 200 bytes (V8 11.3, with the text of an IPv6 address), so that 65,536 take 13 MB, and 500 more once
   * it counts: 46 MB in all if every one does, which takes more connections within a window than the listener accepts
   * unless `lines_per_source` is much stricter than its default.
   */
  readonly mostSources?: number;
}

type LineLimits = Pick<Limits, 'linesPerSource' | 'lines'>;

const KIND_BITS = { connect: 1, allowed: 2, withheld: 4 } as const;

export function createThrottle(limits: LineLimits, { mostSources = 65_536 }: ThrottleOptions = {}): Throttle {
  const windowMs = (limits.linesPerSource ?? limits.lines)?.windowMs;
  if (windowMs === undefined) return createOpenThrottle();
  const linesPerSource = limits.linesPerSource?.lines ?? Number.POSITIVE_INFINITY;
  const sources = createSourceWindows(windowMs, mostSources);
  const overall = createOverallWindow(limits.lines);
  let clock = Number.NEGATIVE_INFINITY;

  return {
    admit,
    due: (now) => {
      setClock(now);
      return [...sources.takeDue(clock), ...overall.takeDue(clock)];
    },
    drain: () => [...sources.takeAll(), ...overall.takeAll()],
    get nextDue() {
      const next = Math.min(sources.nextDue, overall.nextDue);
      return next === Number.POSITIVE_INFINITY ? undefined : Math.max(next, clock);
    },
  };

  function admit(
    { src, dpt }: Parameters<Throttle['admit']>[0],
    kind: keyof typeof KIND_BITS,
    moreLines: number,
    now: number,
  ): ReturnType<Throttle['admit']> {
    setClock(now);
    const window = sources.windowAt(src, clock);
    const roomOfSource = linesPerSource - window.lines;
    const room = Math.min(roomOfSource, overall.roomAt(clock));
    const isFirst = (window.kinds & KIND_BITS[kind]) === 0;
    if (room < 1 && !isFirst) {
      if (roomOfSource < 1) sources.count(window, dpt);
      else overall.count();
      return 'none';
    }
    const taken = room > moreLines ? 1 + moreLines : 1;
    window.kinds |= KIND_BITS[kind];
    window.lines += taken;
    overall.take(taken);
    return taken > moreLines ? 'line and more' : 'line';
  }

  function setClock(now: number): void {
    if (now > clock) clock = now;
  }
}

function createOpenThrottle(): Throttle {
  return { admit: () => 'line and more', due: () => [], drain: () => [], nextDue: undefined };
}

/** The window of all sources together. */
function createOverallWindow(limit: Limits['lines']) {
  const { lines: most, windowMs } = limit ?? { lines: Number.POSITIVE_INFINITY, windowMs: 0 };
  let end = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let counted = 0;
  /** Counted in windows that are over. */
  let ripe = 0;

  return {
    roomAt,
    take: (taken: number) => {
      lines += taken;
    },
    count: () => {
      counted += 1;
    },
    takeDue,
    takeAll: () => takeDue(Number.POSITIVE_INFINITY),
    get nextDue() {
      if (ripe > 0) return Number.NEGATIVE_INFINITY;
      return counted > 0 ? end : Number.POSITIVE_INFINITY;
    },
  };

  /** How many lines fit, in a new window when the one before is over. */
  function roomAt(clock: number): number {
    if (clock >= end) {
      ripen();
      lines = 0;
      end = clock + windowMs;
    }
    return most - lines;
  }

  function takeDue(clock: number): Summary[] {
    if (clock >= end) ripen();
    const count = ripe;
    ripe = 0;
    return count > 0 ? [{ src: undefined, count, dpt: undefined, reason: 'lines' }] : [];
  }

  function ripen(): void {
    ripe += counted;
    counted = 0;
  }
}

/** The window of one source. */
interface SourceWindow {
  readonly src: string;
  /** Rises from window to window: tells which of two began first. */
  readonly serial: number;
  readonly end: number;
  lines: number;
  /** Which kinds have had a line: KIND_BITS. */
  kinds: number;
  counted: number;
  /** Those of what was counted; undefined while nothing is. */
  ports: CoveringRanges | undefined;
}

/** How many windows that are over are let go for a new one: more than one, so that they get fewer. */
const DROPPED_AT_ONCE = 2;

function createSourceWindows(windowMs: number, most: number) {
  const bySource = new Map<string, SourceWindow>();
  // A ring of those that are kept, by serial: of a Map, the oldest is found only by passing all that were deleted.
  const ring: (SourceWindow | undefined)[] = [];
  let oldestSerial = 0;
  let nextSerial = 0;
  const counting = createSerialQueue<SourceWindow>();
  /** Of sources that nothing more is known of. */
  let nameless = 0;

  return {
    windowAt,
    count,
    takeDue,
    takeAll: () => takeDue(Number.POSITIVE_INFINITY),
    get nextDue() {
      const first = counting.first();
      if (nameless > 0 || (first !== undefined && !isKept(first))) return Number.NEGATIVE_INFINITY;
      return first === undefined ? Number.POSITIVE_INFINITY : first.end;
    },
  };

  function windowAt(src: string, clock: number): SourceWindow {
    const window = bySource.get(src);
    return window === undefined || clock >= window.end ? begin(src, clock) : window;
  }

  function begin(src: string, clock: number): SourceWindow {
    for (let n = 0; n < DROPPED_AT_ONCE && isOldestOver(clock); n++) dropOldest();
    if (nextSerial - oldestSerial === most) dropOldest();
    const serial = nextSerial;
    const window = { src, serial, end: clock + windowMs, lines: 0, kinds: 0, counted: 0, ports: undefined };
    bySource.set(src, window);
    ring[serial % most] = window;
    nextSerial += 1;
    return window;
  }

  function isOldestOver(clock: number): boolean {
    const oldest = ring[oldestSerial % most];
    return oldest !== undefined && clock >= oldest.end;
  }

  function dropOldest(): void {
    const { src } = ring[oldestSerial % most]!;
    // the source may have a newer one
    if (bySource.get(src)?.serial === oldestSerial) bySource.delete(src);
    ring[oldestSerial % most] = undefined;
    oldestSerial += 1;
  }

  function isKept({ serial }: SourceWindow): boolean {
    return serial >= oldestSerial;
  }

  function count(window: SourceWindow, port: number): void {
    if (window.ports === undefined) {
      // Then one of them is no longer kept, or its source has a newer one; the first began no later, and so is due.
      if (counting.size() === most) nameless += tell(counting.take()).count;
      window.ports = createCoveringRanges();
      counting.add(window);
    }
    window.ports.add(port);
    window.counted += 1;
  }

  function takeDue(clock: number): Summary[] {
    const summaries: Summary[] = [];
    let first = counting.first();
    while (first !== undefined && (clock >= first.end || !isKept(first))) {
      summaries.push(tell(counting.take()));
      first = counting.first();
    }
    if (nameless > 0) summaries.push({ src: undefined, count: nameless, dpt: undefined, reason: 'rate' });
    nameless = 0;
    return summaries;
  }
}

/** What a window has counted; it begins to count anew. */
function tell(window: SourceWindow): Summary {
  const { src, counted: count, ports } = window;
  window.counted = 0;
  window.ports = undefined;
  return { src, count, dpt: ports?.ranges, reason: 'rate' };
}
