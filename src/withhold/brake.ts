import type { BrakeConfiguration } from '../configuration/configuration.ts';
import { addressKey, prefixKey } from '../network.ts';

/** Holds back what comes while more distinct sources than usual turn up at once. */
export interface Brake {
  /**
   * Whether a source may become bannable: it does unless, with it, more than `sources` distinct ones came within the
   * window. One that may stays so while it is among the last `sources` that came; IPv6 counts per /64.
   * @param source canonical text
   * @param now milliseconds since the epoch
   */
  lets(source: string, now: number): boolean;
}

export interface BrakeOptions extends BrakeConfiguration {
  /** Called when the brake takes hold. */
  readonly onHold: () => void;
  /** Called at the first connection that comes a whole window after the last one that was held back. */
  readonly onRelease: (heldConnections: number) => void;
}

interface Seen {
  at: number;
  lets: boolean;
}

/** Keeps as many sources as the brake lets pass, and no more: the latest ones tell whether the crowd is still there. */
export function createBrake({ sources, windowMs, onHold, onRelease }: BrakeOptions): Brake {
  // in the order in which they were last seen
  const seen = new Map<number | string, Seen>();
  let lastNow = 0;
  let held = 0;
  let heldAt = 0;
  /** When the one that was forgotten last had been seen. */
  let forgottenAt = Number.NEGATIVE_INFINITY;

  return { lets };

  function lets(source: string, now: number): boolean {
    if (now < lastNow - windowMs) forgetAll();
    lastNow = now;
    if (held > 0 && Math.abs(now - heldAt) > windowMs) {
      onRelease(held);
      held = 0;
    }
    const key = keyOf(source);
    const before = seen.get(key);
    seen.delete(key);
    const isKnown = before !== undefined && now - before.at <= windowMs;
    const passes = (isKnown && before.lets) || !isCrowded(now);
    if (seen.size >= sources) forgetOldest();
    seen.set(key, { at: now, lets: passes });
    if (!passes) hold(now);
    return passes;
  }

  /** Whether, without the one that comes, as many as may pass were seen within the window. */
  function isCrowded(now: number): boolean {
    const [oldest] = seen.values();
    const oldestAt = seen.size < sources ? forgottenAt : oldest!.at;
    return now - oldestAt <= windowMs;
  }

  /** A clock that was set back would keep everything within the window. */
  function forgetAll(): void {
    seen.clear();
    forgottenAt = Number.NEGATIVE_INFINITY;
  }

  function forgetOldest(): void {
    const [oldest] = seen;
    if (oldest === undefined) return;
    seen.delete(oldest[0]);
    forgottenAt = oldest[1].at;
  }

  function hold(now: number): void {
    if (held === 0) onHold();
    held += 1;
    heldAt = now;
  }
}

function keyOf(source: string): number | string {
  const key = addressKey(source);
  return typeof key === 'number' ? key : prefixKey(key, 64);
}
