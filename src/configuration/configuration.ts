import type { Facility, SyslogFormat } from '../format/syslog.ts';
import type { AllowEntry } from './allow-entry.ts';

/** The configuration in force: validated, every default filled in. What is not built yet has no place here. */
export interface Configuration {
  /** The file it came from; undefined for the built-in default. */
  readonly file: string | undefined;
  readonly sensor: string;
  readonly decoys: readonly Decoy[];
  /** In the order of the file, those of a list file in its place. */
  readonly allow: readonly AllowEntry[];
  /** Absolute paths of the list files. */
  readonly allowFiles: readonly string[];
  /** Whether own addresses, gateways, resolvers and logged-in administrators are allowed, too. */
  readonly guard: boolean;
  /** Undefined: off. */
  readonly brake: BrakeConfiguration | undefined;
  readonly log: LogConfiguration;
  readonly limits: { readonly pendingLines: number };
  /** What a connection accepted from a SYN cookie becomes: `withheld`, or a `connect` like any other. */
  readonly cookies: 'withhold' | 'count';
}

/** A group of ports that share a behaviour. */
export interface Decoy {
  /** `[a-z0-9._-]{1,32}`; without a configured one `port-<first port>`. */
  readonly name: string;
  /** Sorted as configured, no port twice. */
  readonly ports: readonly number[];
  /** Canonical text of one local address; undefined for all addresses of both families. */
  readonly address: string | undefined;
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
