import type { Facility, SyslogFormat } from '../format/syslog.ts';
import type { Network } from '../network.ts';
import type { AllowEntry } from './allow-entry.ts';
import type { PortRange } from './ports.ts';

/** The configuration in force: validated, every default filled in. What is not built yet has no place here. */
export interface Configuration {
  /** The file it came from; undefined for the built-in default. */
  readonly file: string | undefined;
  readonly sensor: string;
  readonly decoys: readonly Decoy[];
  /** In the order of the file, those of a list file in its place. */
  readonly allow: readonly AllowEntry[];
  /** Absolute paths of the files that it names and was read with: list files, banners. */
  readonly partFiles: readonly string[];
  /** Whether own addresses, gateways, resolvers and logged-in administrators are allowed, too. */
  readonly guard: boolean;
  /** Undefined: off. */
  readonly brake: BrakeConfiguration | undefined;
  readonly log: LogConfiguration;
  readonly limits: Limits;
  /** What a connection accepted from a SYN cookie becomes: `withheld`, or a `connect` like any other. */
  readonly cookies: 'withhold' | 'count';
  /** What the sockets of decoys are marked with for the kernel's rules; undefined: with nothing. */
  readonly mark: number | undefined;
  /** Name of the user to become, when started as root; undefined: it stays root. */
  readonly user: string | undefined;
}

/** A group of ports that share a behaviour. */
export interface Decoy {
  /** `[a-z0-9._-]{1,32}`; without a configured one `port-<first port>`, or `unused`. */
  readonly name: string;
  /** Sorted as configured, no port twice; none for `ports: unused`. */
  readonly ports: readonly number[];
  /**
   * Of `ports: unused`, what it leaves alone: it stands for every other port that no local service and no other decoy
   * has. At most one decoy does, on all addresses and without proxies. Undefined for a decoy with ports.
   */
  readonly unused: Exceptions | undefined;
  /** Canonical text of one local address; undefined for all addresses of both families. */
  readonly address: string | undefined;
  /** How a connection goes on once it is logged; undefined: it is closed. */
  readonly behaviour: Behaviour | undefined;
  /** Proxies that name the true peer in a PROXY protocol header. */
  readonly proxies: readonly Network[];
}

/** Ports that `ports: unused` leaves alone. */
export interface Exceptions {
  /** Rising, none touching another. */
  readonly ports: readonly PortRange[];
  /** Whether those that this host's outgoing connections take are left alone, too. */
  readonly ephemeral: boolean;
}

/** What a decoy does with a connection that it has logged. */
export type Behaviour = Talk | Tarpit | Response;

/** Says something, listens, or both, and then ends the conversation. */
export interface Talk {
  readonly kind: 'talk';
  /** Sent at once; empty for none. */
  readonly banner: Uint8Array;
  /** Bytes of what the peer sends that are recorded; they end the conversation. 0 for none. */
  readonly capturedBytes: number;
  /** The longest that a conversation lasts. */
  readonly holdMs: number;
  /** Whether it lasts so long, or until the peer ends it, although the banner is sent and nothing is captured. */
  readonly staysOpen: boolean;
}

/** Sends an endless, slow banner. */
export interface Tarpit {
  readonly kind: 'tarpit';
  readonly capturedBytes: number;
  readonly holdMs: number;
}

/** A program talks. */
export interface Response {
  readonly kind: 'response';
  /** Absolute path of the program, and its arguments. */
  readonly command: readonly [string, ...string[]];
  readonly timeoutMs: number;
}

/** Bounds; what goes beyond them is counted in the log. */
export interface Limits {
  readonly pendingLines: number;
  /** Conversations at a time. */
  readonly conversations: number;
  /** Programs that answer, at a time. */
  readonly responses: number;
  /** Undefined: no limit. */
  readonly linesPerSource: Rate | undefined;
  readonly lines: Rate | undefined;
}

/** So many lines within so long. */
export interface Rate {
  readonly lines: number;
  readonly windowMs: number;
}

/** How many distinct sources within a time may become bannable. */
export interface BrakeConfiguration {
  readonly sources: number;
  readonly windowMs: number;
}

export interface LogConfiguration {
  readonly file: { readonly path: string /** Permission bits, as in 0o640. */; readonly mode: number };
  readonly console: ConsoleMode;
  readonly syslog: readonly SyslogReceiver[];
}

/** Where events are sent over syslog, and in what shape. */
export interface SyslogReceiver {
  /** As it was written: its name in messages and in the log. */
  readonly address: string;
  readonly target: SyslogTarget;
  readonly format: SyslogFormat;
  readonly facility: Facility;
  /** Of streams: how messages are told apart. */
  readonly framing: 'octet-counting' | 'lf';
  readonly enterprise: number;
  readonly tls: TlsFiles;
}

/** `host` is a name or an address without brackets; `path` that of a stream socket. */
export type SyslogTarget =
  | { readonly wire: 'udp' | 'tcp' | 'tls'; readonly host: string; readonly port: number }
  | { readonly wire: 'unix'; readonly path: string };

/** Absolute paths of PEM files, and the name that the receiver's certificate must bear. */
export interface TlsFiles {
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly name?: string;
}

/** `auto` is pretty on a terminal, else off. */
export type ConsoleMode = 'auto' | 'pretty' | 'line' | 'json' | 'off';
