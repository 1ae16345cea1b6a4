/** What a listener can know of the SYN that opened a connection; absent where the kernel has no saved SYN. */
export interface SynFingerprint {
  /** IPv4 time to live or IPv6 hop limit, as it arrived. */
  readonly ttl: number;
  /** TCP window of the SYN, unscaled. */
  readonly win: number;
  /** TCP options in order, in p0f's vocabulary: digits and option names only. */
  readonly syn: string;
}

/** What every event has: when it happened, and a name that no other line bears. */
export interface Recorded {
  /** Milliseconds since the epoch, UTC. */
  readonly time: number;
  /** `<instance>.<n>`; n rises by one for each line written. */
  readonly id: string;
}

/** The two ends of a connection and the decoy it reached. Addresses are canonical text. */
export interface Endpoints {
  readonly src: string;
  readonly spt: number;
  readonly dst: string;
  readonly dpt: number;
  readonly decoy: string;
}

/** What stands in the events of a connection of which a trusted proxy named the source. */
export interface Proxied {
  /** The proxy's own address. */
  readonly proxy?: string;
  /** The port that the proxy's connection came from. */
  readonly proxy_spt?: number;
}

/** A completed handshake: the one bannable event. */
export interface ConnectEvent extends Recorded, Endpoints, Partial<SynFingerprint>, Proxied {
  readonly kind: 'connect';
}

/** A connection from a source on the allow list. */
export interface AllowedEvent extends Recorded, Endpoints, Proxied {
  readonly kind: 'allowed';
  /** The entry that covers the source, or `guard:<what>`. */
  readonly by: string;
}

/** A connection that would be bannable but for a doubt. */
export interface WithheldEvent extends Recorded, Endpoints, Proxied {
  readonly kind: 'withheld';
  readonly reason: 'cookie' | 'brake' | 'proxy' | 'nat';
}

/** What a peer sent in a conversation. */
export interface DataEvent extends Recorded, Endpoints {
  readonly kind: 'data';
  readonly bytes: number;
  readonly guess: string;
  /** The bytes, one character (0 to 255) each. */
  readonly text: string;
}

/** The end of a conversation. */
export interface CloseEvent extends Recorded, Endpoints {
  readonly kind: 'close';
  readonly duration_ms: number;
  readonly rx: number;
  readonly tx: number;
  readonly by: 'peer' | 'honeyport' | 'limit';
}

/** Connections that have no line of their own, counted. Without `src` where the loss has no single source. */
export interface SuppressedEvent extends Recorded {
  readonly kind: 'suppressed';
  readonly src?: string;
  readonly count: number;
  /** Ports and ranges, as in `22,80-90`. */
  readonly dpt?: string;
  readonly reason: 'rate' | 'queue' | 'lines';
  /** The syslog receiver that lacks the events; the log has them. */
  readonly receiver?: string;
}

export interface StartEvent extends Recorded {
  readonly kind: 'start';
  readonly version: string;
  readonly schema: number;
  readonly decoys: number;
  readonly ports: number;
}

export interface ReloadEvent extends Recorded {
  readonly kind: 'reload';
  readonly result: 'applied' | 'refused';
  readonly decoys: number;
  readonly ports: number;
}

export interface StopEvent extends Recorded {
  readonly kind: 'stop';
  readonly signal: string;
}

/** The immutable record of something that happened. */
export type Event =
  | ConnectEvent
  | AllowedEvent
  | WithheldEvent
  | DataEvent
  | CloseEvent
  | SuppressedEvent
  | StartEvent
  | ReloadEvent
  | StopEvent;

/** An event before it has its name; the recorder adds the id. */
export type Unrecorded<E extends Event = Event> = E extends Event ? Omit<E, 'id'> : never;

/** Version of the log line's keys and their order; stands in every `start` line. */
export const SCHEMA_VERSION = 1;
