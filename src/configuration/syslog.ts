import { isIP } from 'node:net';
import type { Facility, SyslogFormat } from '../format/syslog.ts';
import type { SyslogReceiver, SyslogTarget, TlsFiles } from './configuration.ts';
import { isMapping } from './mapping.ts';
import { expectedGot, type Fault, type Path } from './problem.ts';
import { DEFAULTS } from './schema-nodes.ts';

/** An item of `log.syslog` as the schema has it. */
export interface SyslogItem {
  readonly address: string;
  readonly format?: SyslogFormat;
  readonly facility?: Facility;
  readonly framing?: SyslogReceiver['framing'];
  readonly enterprise?: number;
  readonly tls?: TlsFiles;
}

/** Each has a queue and a connection of its own. */
const MOST_RECEIVERS = 8;

const NETWORK_ADDRESS = /^(udp|tcp|tls):\/\/(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})$/;
/** Not of digits and dots alone, which would be an address that is none. */
const HOST_NAME =
  /^(?![0-9.]+$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;
/** It would need a zone. */
const LINK_LOCAL = /^fe[89ab]/i;
/** Linux takes a path of 107 bytes. */
const UNIX_ADDRESS = /^unix:\/\/(\/[\x21-\x7e]{0,105}[\x21-\x2e\x30-\x7e])$/;

/** What the schema cannot say of receivers. */
export function syslogFaults(root: unknown): Fault[] {
  const items = itemsOf(root);
  const path: Path = ['log', 'syslog'];
  const faults = items.flatMap((item, index) => (isMapping(item) ? itemFaults(item, [...path, index]) : []));
  const extra = items.length > MOST_RECEIVERS ? [tooMany(path, items.length)] : [];
  return [...faults, ...repeatFaults(items, path), ...extra];
}

/** The receiver of an item without faults. */
export function receiverOf(item: SyslogItem): SyslogReceiver {
  const { address, format, facility, framing, enterprise, tls = {} } = item;
  return {
    address,
    target: readAddress(address)!,
    format: format ?? DEFAULTS.syslogFormat,
    facility: facility ?? DEFAULTS.facility,
    framing: framing ?? DEFAULTS.framing,
    enterprise: enterprise ?? DEFAULTS.enterprise,
    tls,
  };
}

function itemsOf(root: unknown): unknown[] {
  const log = isMapping(root) ? root.log : undefined;
  return isMapping(log) && Array.isArray(log.syslog) ? log.syslog : [];
}

function itemFaults(item: Record<string, unknown>, path: Path): Fault[] {
  const { address, framing, tls, enterprise, format = DEFAULTS.syslogFormat } = item;
  if (typeof address !== 'string' || !/^(?:udp|tcp|tls|unix):\/\//.test(address)) return [];
  const target = readAddress(address);
  if (target === undefined)
    return [{ path: [...path, 'address'], at: 'value', message: addressProblem(address) }];
  return [
    ...(framing !== undefined && target.wire === 'udp'
      ? [useless(path, 'framing', 'each datagram of udp:// is a message')]
      : []),
    ...(tls !== undefined && target.wire !== 'tls'
      ? [useless(path, 'tls', 'the address is not tls://')]
      : []),
    ...(enterprise !== undefined && format !== 'rfc5424'
      ? [useless(path, 'enterprise', 'only rfc5424 has structured data')]
      : []),
    ...(isMapping(tls) ? pairFaults(tls, [...path, 'tls']) : []),
  ];
}

function readAddress(address: string): SyslogTarget | undefined {
  const path = UNIX_ADDRESS.exec(address)?.[1];
  if (path !== undefined) return { wire: 'unix', path };
  const parts = NETWORK_ADDRESS.exec(address);
  if (parts === null) return undefined;
  const [, wire, bracketed, name, port] = parts;
  if (bracketed !== undefined && (isIP(bracketed) !== 6 || LINK_LOCAL.test(bracketed))) return undefined;
  if (name !== undefined && isIP(name) === 0 && !HOST_NAME.test(name)) return undefined;
  if (!isPort(port!)) return undefined;
  return { wire: wire as 'udp' | 'tcp' | 'tls', host: bracketed ?? name!, port: Number(port) };
}

function isPort(text: string): boolean {
  return Number(text) >= 1 && Number(text) <= 65_535;
}

function addressProblem(address: string): string {
  if (address.startsWith('unix:')) {
    return expectedGot(
      'unix:// and the path of a socket, at most 107 bytes, as unix:///run/honeyport/syslog.sock',
      address,
    );
  }
  return expectedGot(
    'a host, a colon and a port, as tcp://siem.example:514 or tcp://[2001:db8::5]:514',
    address,
  );
}

function useless(path: Path, key: string, why: string): Fault {
  return { path: [...path, key], at: 'key', message: `expected no key ${key}, as ${why}` };
}

function pairFaults(tls: Record<string, unknown>, path: Path): Fault[] {
  if ((tls.certificate === undefined) === (tls.key === undefined)) return [];
  const [there, missing] = tls.key === undefined ? ['certificate', 'key'] : ['key', 'certificate'];
  return [{ path: [...path, there], at: 'key', message: `expected a key ${missing} beside ${there}` }];
}

/** The same events in the same shape twice help nobody; in two shapes they may. */
function repeatFaults(items: readonly unknown[], path: Path): Fault[] {
  const seen = new Set<string>();
  return items.flatMap((item, index) => {
    if (!isMapping(item) || typeof item.address !== 'string') return [];
    const name = JSON.stringify([item.address, item.format ?? DEFAULTS.syslogFormat]);
    const message = `expected each receiver once, got ${item.address} again`;
    const fault: Fault = { path: [...path, index, 'address'], at: 'value', message };
    const repeated = seen.has(name);
    seen.add(name);
    return repeated ? [fault] : [];
  });
}

function tooMany(path: Path, count: number): Fault {
  return { path, at: 'value', message: `expected at most ${MOST_RECEIVERS} receivers, got ${count}` };
}
