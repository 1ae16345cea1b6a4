import type { Limits } from '../configuration/configuration.ts';
import type { SuppressedEvent, Unrecorded } from '../event.ts';
import { formatRanges } from '../format/ports.ts';
import { createThrottle, type Summary, type Throttle } from '../throttle/throttle.ts';

/** 3 MB of windows: more sources than that within the default window of ten seconds come at over 1,600 a second. */
const MOST_SOURCES = 16_384;

type RateLimits = Pick<Limits, 'linesPerSource' | 'lines'>;

/** Limits the lines of the log, and tells in time how many were left out. */
export interface Throttling {
  /** As the throttle's own. @param now by the monotonic clock */
  readonly admit: Throttle['admit'];
  /** Takes over limits; what the old ones left out is told. */
  use(limits: RateLimits): void;
  /** Tells what is left out and not yet told. */
  close(): void;
}

/** @param tell gets each summary when it is due, and writes them together */
export function createThrottling(
  initial: RateLimits,
  tell: (summaries: readonly Unrecorded<SuppressedEvent>[]) => void,
): Throttling {
  let limits = initial;
  let throttle = createThrottle(limits, { mostSources: MOST_SOURCES });
  let timer: NodeJS.Timeout | undefined;
  let timerDue = Number.POSITIVE_INFINITY;

  return {
    admit(connection, kind, moreLines, now) {
      const answer = throttle.admit(connection, kind, moreLines, now);
      const due = throttle.nextDue;
      if (due !== undefined && due < timerDue) wait(due);
      return answer;
    },
    use(wanted) {
      if (JSON.stringify(pick(wanted)) === JSON.stringify(pick(limits))) return;
      tellAll();
      limits = wanted;
      throttle = createThrottle(limits, { mostSources: MOST_SOURCES });
    },
    close: tellAll,
  };

  function wait(due: number): void {
    clearTimeout(timer);
    timerDue = due;
    timer = setTimeout(tellDue, Math.max(0, due - performance.now()));
  }

  function tellDue(): void {
    timerDue = Number.POSITIVE_INFINITY;
    tellSome(throttle.due(performance.now()));
    if (throttle.nextDue !== undefined) wait(throttle.nextDue);
  }

  function tellAll(): void {
    clearTimeout(timer);
    timerDue = Number.POSITIVE_INFINITY;
    tellSome(throttle.drain());
  }

  function tellSome(summaries: readonly Summary[]): void {
    if (summaries.length > 0) tell(summaries.map(eventOf));
  }
}

function pick({ linesPerSource, lines }: RateLimits): RateLimits {
  return { linesPerSource, lines };
}

function eventOf({ src, count, dpt, reason }: Summary): Unrecorded<SuppressedEvent> {
  return {
    kind: 'suppressed',
    time: Date.now(),
    ...(src === undefined ? {} : { src }),
    count,
    ...(dpt === undefined ? {} : { dpt: formatRanges(dpt) }),
    reason,
  };
}
