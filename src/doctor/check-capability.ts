import type { Configuration } from '../configuration/configuration.ts';
import { formatPorts } from '../format/ports.ts';
import { SOCKET_DROP_IN_FILE, SOCKET_UNIT_FILE } from '../installation/socket-unit.ts';
import type { ProcessStatus } from '../system/process-status.ts';
import { endpointsOf } from './check-listener.ts';
import { type Host, readNumber, readText } from './host.ts';
import { finding, note, ok, type Result, skipped } from './result.ts';

export interface CapabilitySubject {
  readonly host: Host;
  readonly configuration: Configuration;
  readonly listeners: readonly ProcessStatus[];
}

/** linux/capability.h */
const CAP_NET_BIND_SERVICE = 1n << 10n;

const UNITS = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map(
  (directory) => `${directory}/systemd/system`,
);
const GIVE_IT = 'give the service AmbientCapabilities=CAP_NET_BIND_SERVICE, or choose higher ports';

/** Whether the listener may open its low ports, now and at the next start, and has no more rights than that. */
export function checkCapability({ host, configuration, listeners }: CapabilitySubject): Result[] {
  const first = readNumber(host, '/proc/sys/net/ipv4/ip_unprivileged_port_start') ?? 1024;
  const low = endpointsOf(configuration).flatMap(({ port }) => (port < first ? [port] : []));
  const [listener] = listeners;
  if (low.length === 0 && listener?.uid !== 0)
    return [ok(`no port below ${first} is configured, none needs a capability`)];
  if (listener !== undefined && listener.uid === 0) return [runsAsRoot(listener)];
  if (readText(host, SOCKET_UNIT_FILE) !== undefined)
    return [ok('systemd opens the ports (honeyport.socket), so none needs a capability')];
  if (listener === undefined) return unitResults(host, low);
  if ((listener.capabilities & CAP_NET_BIND_SERVICE) !== 0n)
    return [
      ok(`the listener (uid ${listener.uid}) has CAP_NET_BIND_SERVICE for port ${formatPorts(new Set(low))}`),
    ];
  return [
    note(
      `the listener (uid ${listener.uid}) has no CAP_NET_BIND_SERVICE: it cannot open port ${formatPorts(new Set(low))} at a reload`,
      GIVE_IT,
    ),
  ];
}

function runsAsRoot({ pid }: ProcessStatus): Result {
  return note(
    `the listener[${pid}] runs as root, which it does not need`,
    'use the shipped honeyport.service, or set `user: honeyport`',
  );
}

/** What systemd would give it. */
function unitResults(host: Host, low: readonly number[]): Result[] {
  const ports = formatPorts(new Set(low));
  const unit = UNITS.map((directory) => `${directory}/honeyport.service`).find(
    (path) => readText(host, path) !== undefined,
  );
  if (unit === undefined)
    return [
      skipped(`the listener does not run, and there is no honeyport.service: who it runs as is not known`),
    ];
  const text = [unit, ...dropIns(host)].map((path) => readText(host, path) ?? '').join('\n');
  if (givesCapability(text)) return [ok(`${unit} gives CAP_NET_BIND_SERVICE for port ${ports}`)];
  const user = /^(?:User=(?!root$|0$)\S+|DynamicUser=(?:yes|true|on|1)$)/m.test(text);
  return user
    ? [finding(`${unit} gives no CAP_NET_BIND_SERVICE, which port ${ports} needs`, GIVE_IT)]
    : [
        note(
          `${unit} runs the listener as root, which it does not need`,
          'use the shipped honeyport.service',
        ),
      ];
}

/** An empty setting takes back what stands before it, systemd.exec(5). */
function givesCapability(text: string): boolean {
  const settings = [...text.matchAll(/^AmbientCapabilities=(.*)$/gm)].map((match) => match[1]!.trim());
  return settings
    .slice(settings.lastIndexOf('') + 1)
    .some((setting) => /^[^~]*\bCAP_NET_BIND_SERVICE\b/.test(setting));
}

/** Ours, and the one that `systemctl edit` makes, in systemd's order. */
function dropIns(host: Host): string[] {
  return [SOCKET_DROP_IN_FILE, '/etc/systemd/system/honeyport.service.d/override.conf'].filter(
    (path) => readText(host, path) !== undefined,
  );
}
