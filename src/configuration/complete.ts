import { hostname } from 'node:os';
import { parseAddress } from '../address.ts';
import type { AllowItem, ReadAllowList } from './allow.ts';
import type {
  BrakeConfiguration,
  Configuration,
  ConsoleMode,
  Decoy,
  LogConfiguration,
} from './configuration.ts';
import { nameOfPorts } from './decoys.ts';
import { durationMs } from './duration.ts';
import { portsOf, readPortRange } from './ports.ts';
import { DEFAULTS } from './schema-nodes.ts';
import { receiverOf, type SyslogItem } from './syslog.ts';

/** What a file says once it has passed the schema and the checks of decoys: the available keys. */
export interface ConfigurationFile {
  readonly sensor?: string;
  readonly decoys: readonly DecoyEntry[];
  readonly log?: {
    readonly file?: { readonly path?: string; readonly mode?: string };
    readonly console?: ConsoleMode;
    readonly syslog?: 'off' | readonly SyslogItem[];
  };
  readonly limits?: { readonly pending_lines?: number };
  readonly cookies?: Configuration['cookies'];
  readonly allow?: 'off' | readonly AllowItem[];
  readonly guard?: 'on' | 'off';
  readonly brake?: 'off' | { readonly sources: number; readonly window: string };
}

interface DecoyEntry {
  readonly name?: string;
  readonly ports: PortEntry | readonly PortEntry[];
  readonly address?: string;
}

type PortEntry = number | string;

/** Fills in the defaults of the available keys. */
export function complete(
  entries: ConfigurationFile,
  file: string | undefined,
  allowList: ReadAllowList,
): Configuration {
  const { sensor = safeHostName(hostname()), decoys, log, limits, cookies = DEFAULTS.cookies } = entries;
  return {
    file,
    sensor,
    decoys: decoys.map(decoyOf),
    allow: allowList.entries,
    allowFiles: allowList.files,
    guard: (entries.guard ?? DEFAULTS.guard) === 'on',
    brake: brakeOf(entries.brake),
    log: logOf(log),
    limits: { pendingLines: limits?.pending_lines ?? DEFAULTS.pendingLines },
    cookies,
  };
}

/** A host's name as the log's lines can bear it. */
export function safeHostName(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/gu, '-').slice(0, 255) || 'localhost';
}

function brakeOf(brake: ConfigurationFile['brake'] = 'off'): BrakeConfiguration | undefined {
  return brake === 'off' ? undefined : { sources: brake.sources, windowMs: durationMs(brake.window) };
}

function logOf({
  file,
  console = 'auto',
  syslog = 'off',
}: NonNullable<ConfigurationFile['log']> = {}): LogConfiguration {
  const { path = DEFAULTS.logPath, mode = DEFAULTS.logMode } = file ?? {};
  const receivers = syslog === 'off' ? [] : syslog.map(receiverOf);
  return { file: { path, mode: Number.parseInt(mode, 8) }, console, syslog: receivers };
}

function decoyOf({ name, ports, address }: DecoyEntry): Decoy {
  const expanded = [ports].flat().flatMap(portsOfEntry);
  return {
    name: name ?? nameOfPorts(expanded[0]!),
    ports: expanded,
    address: address === undefined ? undefined : parseAddress(address)?.text,
  };
}

function portsOfEntry(entry: PortEntry): number[] {
  const range = readPortRange(entry);
  return typeof range === 'string' ? [] : [...portsOf(range)];
}
