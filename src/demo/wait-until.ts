import { setTimeout as delay } from 'node:timers/promises';
import { UserError } from '../errors.ts';

const LOOK_EVERY_MS = 25;

export interface WaitOptions {
  /** Completes "waited 20 s for ...". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly interruption: AbortSignal;
  /** Why there is no more reason to wait. */
  readonly problem?: () => string | undefined;
}

/**
 * Looks until there is something.
 * @throws UserError when the time is over or there is a problem; another error when it is interrupted
 */
export async function waitUntil<T>(look: () => T | undefined, options: WaitOptions): Promise<T> {
  const { what, timeoutMs, interruption, problem } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    const trouble = problem?.();
    if (trouble !== undefined) throw new UserError(`${what}: ${trouble}`, { exitCode: 1 });
    if (performance.now() > deadline)
      throw new UserError(`waited ${timeoutMs / 1000} s for ${what}`, { exitCode: 1 });
    await delay(LOOK_EVERY_MS, undefined, { signal: interruption });
  }
}
