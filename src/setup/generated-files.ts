import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { UserError } from '../errors.ts';
import { formatPorts } from '../format/ports.ts';
import { senderTemplate } from '../installation/package-files.ts';

/** A file that install writes where there is none, and never touches again: it is the administrator's. */
export interface GeneratedFile {
  readonly path: string;
  readonly text: string;
}

export const DEFAULT_LOG = '/var/log/honeyport/honeyport.log';
export const JAIL_FILE = '/etc/fail2ban/jail.d/honeyport.local';

/** Decoys to begin with, of which those are left out on whose ports something listens. */
const DECOYS = [
  { name: 'telnet', ports: [23, 2323] },
  { name: 'vnc', ports: Array.from({ length: 11 }, (_, i) => 5900 + i) },
  { name: 'back-door', ports: [31_337] },
];

/** @param ownerOf the name of who listens on a port; undefined for nobody */
export function sampleConfiguration(ownerOf: (port: number) => string | undefined): string {
  const busy = DECOYS.flatMap(({ ports }) => ports).flatMap((port) => {
    const owner = ownerOf(port);
    return owner === undefined ? [] : [{ port, owner }];
  });
  const free = DECOYS.map(({ name, ports }) => ({
    name,
    ports: ports.filter((port) => !busy.some((taken) => taken.port === port)),
  })).filter(({ ports }) => ports.length > 0);
  const decoys = free.map(({ name, ports }) => `  - name: ${name}\n    ports: [${portList(ports)}]`);
  const leftOut = busy.map(({ port, owner }) => `# Left out, since ${owner} listens on it: ${port}`);
  return `${[HEAD, ...decoys, ...leftOut, REST].join('\n')}\n`;
}

const HEAD = `# honeyport's configuration, as honeyport install wrote it; from now on it is yours.
# docs/honeyport.yaml in the package is a longer sample, docs/configuration.md explains every key.
# After a change: honeyport check. The running service takes it by itself.

# Ports that nobody has a reason to contact. Take none that a service of yours uses.
decoys:`;

const REST = `
# Never bannable, besides what the guard finds: this host, its gateways and name servers, and who is logged in.
# allow:
#   - 192.0.2.0/24
guard: on

log:
  file: { path: ${DEFAULT_LOG} } # the file that fail2ban reads`;

function portList(ports: readonly number[]): string {
  return formatPorts(ports).replaceAll(',', ', ');
}

/**
 * Turns the jail on.
 * @param log the configured one; the shipped jail names the default
 */
export function jailSettings(log: string, observe: boolean): string {
  const logpath = log === DEFAULT_LOG ? [] : [`logpath = ${log}`];
  const banaction = observe
    ? [
        '# Counts and logs, and lets everybody through. Without this line honeyport blocks.',
        'banaction = honeyport_nftables.py[log="/var/log/honeyport/bans.log", mode=observe]',
      ]
    : [];
  return `${['[honeyport]', 'enabled = true', ...logpath, ...banaction].join('\n')}\n`;
}

export const SENDER_KINDS = ['siem-tcp', 'siem-tls', 'elasticsearch', 'socket'] as const;

/** One of rsyslog's files that send, and the receiver that it is to send to. */
export interface Sender {
  readonly kind: (typeof SENDER_KINDS)[number];
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `siem-tcp=siem.example.net:514`.
 * @throws UserError when it is anything else
 */
export function parseSender(text: string): Sender {
  const [, kind, address, name, port] =
    /^([a-z-]+)=(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text) ?? [];
  const known = SENDER_KINDS.find((one) => one === kind);
  const host = address ?? name;
  const isHost = address === undefined || isIP(address) === 6;
  if (known !== undefined && host !== undefined && isHost && isPort(Number(port)))
    return { kind: known, host, port: Number(port) };
  throw new UserError(`--rsyslog: expected KIND=HOST:PORT, got ${JSON.stringify(text)}`, {
    hint: `KIND is ${SENDER_KINDS.join(', ')}; an IPv6 address stands in brackets`,
  });
}

function isPort(port: number): boolean {
  return port >= 1 && port <= 65_535;
}

/** The template with the receiver in it. */
export function senderFile({ kind, host, port }: Sender): GeneratedFile {
  const { source, target } = senderTemplate(kind);
  const text = readFileSync(source, 'utf8')
    .replaceAll(/"(?:siem|elasticsearch)\.example"/g, () => `"${host}"`)
    .replace(/^([^#]*\b(?:server)?port=)"\d+"/m, (_, before: string) => `${before}"${port}"`);
  return { path: target, text };
}

/** Of root's, for the socket that rsyslogd makes; systemd-tmpfiles makes it at each boot. */
export const SOCKET_DIRECTORY = '/run/honeyport';
