/**
 * What an answer, or its absence, asks for:
 * - `credentials`: the key is refused; trying again changes nothing
 * - `read-only`: the key is refused for a change, and was taken for a look just before
 * - `refused`: what was sent is not taken
 * - `unexpected`: an answer, but not of this API
 * - `missing`: what was asked for does not exist
 * - `limited`: too many calls
 * - `unavailable`: no answer, or one that the other side is to blame for; the call may have been carried out
 */
export type ApiFailure =
  | 'credentials'
  | 'read-only'
  | 'refused'
  | 'unexpected'
  | 'missing'
  | 'limited'
  | 'unavailable';

/** A call to the API that failed. The message says which one and why, and nothing of the key. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly failure: ApiFailure;
  /** How long the API wants to be left alone. */
  readonly retryAfterMs: number | undefined;

  constructor(failure: ApiFailure, message: string, retryAfterMs?: number) {
    super(message);
    this.failure = failure;
    this.retryAfterMs = retryAfterMs;
  }
}

const LONGEST_RETRY_AFTER_MS = 60 * 60_000;

/** Retry-After of RFC 9110: seconds, or a date; within an hour. Undefined for anything else. */
export function retryAfterMs(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^[0-9]{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? undefined : Math.min(LONGEST_RETRY_AFTER_MS, Math.max(0, ms));
}

export function failureOf(status: number): ApiFailure {
  if (status === 401 || status === 403) return 'credentials';
  if (status === 404) return 'missing';
  if (status === 429) return 'limited';
  return status === 408 || status >= 500 ? 'unavailable' : 'refused';
}
