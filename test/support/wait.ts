import { setTimeout as delay } from 'node:timers/promises';

/** What to wait for and how long; `what` completes "waited N ms for ...". */
export interface WaitOptions {
  readonly deadlineMs: number;
  readonly what: string | (() => string);
  /** Pause between two looks. */
  readonly everyMs?: number;
}

/**
 * Looks until `condition` gives something truthy, and returns it. The condition is asked at least once.
 *
 * @throws when the deadline has passed, naming `what` and the condition's last error, if it threw
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions,
): Promise<NonNullable<T>> {
  const { deadlineMs, what, everyMs = 25 } = options;
  const end = performance.now() + deadlineMs;
  for (;;) {
    const { value, error } = await attempt(condition);
    if (value) return value;
    if (performance.now() >= end) {
      const awaited = typeof what === 'function' ? what() : what;
      throw new Error(`waited ${deadlineMs} ms for ${awaited}`, { cause: error });
    }
    await delay(everyMs);
  }
}

async function attempt<T>(condition: () => T | Promise<T>): Promise<{ value?: T; error?: unknown }> {
  try {
    return { value: await condition() };
  } catch (error) {
    return { error };
  }
}
