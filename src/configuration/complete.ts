import { hostname } from 'node:os';
import { parseAddress } from '../address.ts';
import type { AllowItem, ReadAllowList } from './allow.ts';
import type { BannerFiles } from './banners.ts';
import { type BehaviourKeys, behaviourOf } from './behaviour.ts';
import type {
  BrakeConfiguration,
  Configuration,
  ConsoleMode,
  Decoy,
  LogConfiguration,
} from './configuration.ts';
import { isUnused, NAME_OF_UNUSED, nameOfPorts } from './decoys.ts';
import { durationMs } from './duration.ts';
import { type LimitKeys, limitsOf } from './limits.ts';
import { portsOf, readPortRange } from './ports.ts';
import { type ProxyNetworks, proxiesOf } from './proxies.ts';
import { DEFAULTS } from './schema-nodes.ts';
import { receiverOf, type SyslogItem } from './syslog.ts';
import { type ExceptKey, exceptionsOf } from './unused.ts';

/** What a file says once it has passed the schema and the checks of decoys: the available keys. */
export interface ConfigurationFile {
  readonly sensor?: string;
  readonly decoys: readonly DecoyEntry[];
  readonly log?: {
    readonly file?: { readonly path?: string; readonly mode?: string };
    readonly console?: ConsoleMode;
    readonly syslog?: 'off' | readonly SyslogItem[];
  };
  readonly limits?: LimitKeys;
  readonly cookies?: Configuration['cookies'];
  readonly allow?: 'off' | readonly AllowItem[];
  readonly guard?: 'on' | 'off';
  readonly brake?: 'off' | { readonly sources: number; readonly window: string };
  readonly mark?: 'off' | number;
  readonly user?: string;
}

interface DecoyEntry extends BehaviourKeys {
  readonly name?: string;
  readonly ports: PortEntry | readonly PortEntry[];
  readonly address?: string;
  readonly proxy_protocol?: ProxyNetworks;
  readonly except?: ExceptKey;
}

type PortEntry = number | string;

/** What the files say that a configuration names. */
export interface ReadParts {
  readonly allowList: ReadAllowList;
  readonly bannerFiles: BannerFiles;
}

/** Fills in the defaults of the available keys. */
export function complete(
  entries: ConfigurationFile,
  file: string | undefined,
  { allowList, bannerFiles }: ReadParts,
): Configuration {
  const { sensor = safeHostName(hostname()), decoys, log, limits, cookies = DEFAULTS.cookies } = entries;
  return {
    file,
    sensor,
    decoys: decoys.map((decoy) => decoyOf(decoy, bannerFiles)),
    allow: allowList.entries,
    partFiles: [...allowList.files, ...bannerFiles.keys()],
    guard: (entries.guard ?? DEFAULTS.guard) === 'on',
    brake: brakeOf(entries.brake),
    log: logOf(log),
    limits: limitsOf(limits),
    cookies,
    mark: markOf(entries.mark, file),
    user: entries.user === 'off' ? undefined : entries.user,
  };
}

/** A host's name as the log's lines can bear it. */
export function safeHostName(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/gu, '-').slice(0, 255) || 'localhost';
}

/** Without a file nobody is banned, and nobody needs to be told that a right is missing. */
function markOf(
  mark: ConfigurationFile['mark'] = DEFAULTS.mark,
  file: string | undefined,
): number | undefined {
  return mark === 'off' || file === undefined ? undefined : mark;
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

function decoyOf(entry: DecoyEntry, bannerFiles: BannerFiles): Decoy {
  const { name, ports, address, proxy_protocol: proxies } = entry;
  const unused = isUnused(ports) ? exceptionsOf(entry.except) : undefined;
  const expanded = [ports].flat().flatMap(portsOfEntry);
  return {
    name: name ?? (unused === undefined ? nameOfPorts(expanded[0]!) : NAME_OF_UNUSED),
    ports: expanded,
    unused,
    address: address === undefined ? undefined : parseAddress(address)?.text,
    behaviour: behaviourOf(entry, bannerFiles),
    proxies: proxiesOf(proxies),
  };
}

function portsOfEntry(entry: PortEntry): number[] {
  const range = readPortRange(entry);
  return typeof range === 'string' ? [] : [...portsOf(range)];
}
