import type { Endpoints, SynFingerprint } from '../event.ts';

/** An accepted connection, as the kernel handed it over, or as a proxy speaks of the one behind it. */
export interface Connection extends Endpoints {
  /** Milliseconds since the epoch, when it was accepted. */
  readonly time: number;
  /** The kernel has no SYN of it, so it was accepted from a SYN cookie: no proof that its source is real. */
  readonly fromCookie: boolean;
  /** Undefined when it came from a cookie or through a proxy, or when its headers are not understood. */
  readonly fingerprint: SynFingerprint | undefined;
  /** Its descriptor, which does not wait, for whoever gets the connection; `NOT_KEPT` when it ends by itself. */
  readonly fd: number;
  /** The proxy that named `src` and `spt` in its header; undefined: they are those of the kernel. */
  readonly proxy: ProxyEnd | undefined;
}

/** The end of a proxy's own connection. */
export interface ProxyEnd {
  readonly address: string;
  readonly port: number;
}

/** In place of a descriptor: the connection ends as soon as its batch is handled. */
export const NOT_KEPT = -1;
