import type { BackOff } from '../back-off.ts';
import { ApiError } from './api-error.ts';

/** Nobody mends a key or a list within minutes, and an account can be locked by those who try on. */
const CREDENTIALS_PAUSE_MS = 60 * 60_000;
const REFUSAL_PAUSE_MS = 10 * 60_000;

/** Milliseconds from a failed attempt to the next one, never the same for two hosts. */
export function pauseAfter(error: unknown, backOff: BackOff, random: () => number = Math.random): number {
  const jitter = 1 + random() / 10;
  if (!(error instanceof ApiError)) return backOff.next();
  switch (error.failure) {
    case 'credentials':
    case 'read-only':
      return CREDENTIALS_PAUSE_MS * jitter;
    case 'refused':
    case 'unexpected':
    case 'missing':
      return REFUSAL_PAUSE_MS * jitter;
    default:
      // not earlier than asked for, and not all hosts of an account at once
      return Math.max(backOff.next(), (error.retryAfterMs ?? 0) * jitter);
  }
}

/** What to do where trying again does not help. */
export function hintOf(error: unknown): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  switch (error.failure) {
    case 'credentials':
      return 'the key is not accepted: correct it in the configuration, which is read again then; else the next try is in an hour';
    case 'read-only':
      return 'the key may read and seems to lack the right to write: give its user the one to manage IP lists, then send SIGHUP; else the next try is in an hour';
    case 'refused':
    case 'unexpected':
    case 'missing':
      return 'see docs/dome9.md on what an account must allow; the next try is in ten minutes, or when the configuration changes';
    default:
      return undefined;
  }
}
