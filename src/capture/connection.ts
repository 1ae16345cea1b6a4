import type { Endpoints, SynFingerprint } from '../event.ts';

/** An accepted connection, as the kernel handed it over. */
export interface Connection extends Endpoints {
  /** Milliseconds since the epoch, when it was accepted. */
  readonly time: number;
  /** The kernel has no SYN of it, so it was accepted from a SYN cookie: no proof that its source is real. */
  readonly fromCookie: boolean;
  /** Undefined when it came from a cookie, or when its headers are not understood. */
  readonly fingerprint: SynFingerprint | undefined;
}
