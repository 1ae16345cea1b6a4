import type { BrakeConfiguration } from '../configuration/configuration.ts';
import { addressKey, prefixKey } from '../network.ts';

/** Holds back what comes while more distinct sources than usual turn up at once. */
export interface Brake {
  /**
   * Whether a source may become bannable: it does unless, with it, more than `sources` distinct ones came within the
   * window. One that may stays so as long as it keeps coming; IPv6 counts per /64.
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
  let held = 0;
  let heldAt = 0;

  return { lets };

  function lets(source: string, now: number): boolean {
    if (held > 0 && now - heldAt > windowMs) {
      onRelease(held);
      held = 0;
    }
    const key = keyOf(source);
    const before = seen.get(key);
    const isKnown = before !== undefined && now - before.at <= windowMs;
    const passes = isKnown ? before.lets || !isCrowded(now) : !isCrowded(now);
    seen.delete(key);
    if (seen.size >= sources) seen.delete(seen.keys().next().value!);
    seen.set(key, { at: now, lets: passes });
    if (!passes) hold(now);
    return passes;
  }

  /** Whether as many as may pass have been seen within the window, so that one more is too many. */
  function isCrowded(now: number): boolean {
    if (seen.size < sources) return false;
    const [oldest] = seen.values();
    return oldest !== undefined && now - oldest.at <= windowMs;
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
