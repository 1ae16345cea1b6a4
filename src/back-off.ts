/** How long to wait before the next attempt. */
export interface BackOff {
  /** Milliseconds: each time about twice as long, and never the same for two hosts that lost one receiver. */
  next(): number;
  /** An attempt has come to something: the next wait is short again. */
  reset(): void;
}

export interface BackOffOptions {
  readonly firstMs: number;
  readonly longestMs: number;
  /** From 0 to 1. */
  readonly random?: () => number;
}

export function createBackOff({ firstMs, longestMs, random = Math.random }: BackOffOptions): BackOff {
  let waitMs = firstMs;
  return {
    next() {
      const wait = waitMs;
      waitMs = Math.min(waitMs * 2, longestMs);
      return wait * (0.5 + random() / 2);
    },
    reset() {
      waitMs = firstMs;
    },
  };
}
