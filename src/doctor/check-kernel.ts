import { release } from 'node:os';
import type { Configuration } from '../configuration/configuration.ts';
import { formatPorts } from '../format/ports.ts';
import type { ProcessStatus } from '../system/process-status.ts';
import { endpointsOf } from './check-listener.ts';
import { type Host, readNumber, readText } from './host.ts';
import { finding, note, orOk, type Result } from './result.ts';

export interface KernelSubject {
  readonly host: Host;
  readonly configuration: Configuration;
  readonly listeners: readonly ProcessStatus[];
  readonly kernel?: string;
}

const IPV4 = '/proc/sys/net/ipv4';
/** Of a listener's queue; the kernel's own default since Linux 5.4. */
const LEAST_QUEUE = 4096;
/** Log, sinks, epoll, Node's own. */
const OTHER_FILES = 64;
/** TCP_SAVE_SYN came with Linux 4.3. */
const LEAST_KERNEL = [4, 3];

/** Limits of the kernel that a scan, or the number of ports, can reach. */
export function checkKernel({ host, configuration, listeners, kernel = release() }: KernelSubject): Result[] {
  const results = [
    ...cookieResults(host, configuration),
    ...queueResults(host),
    ...fileResults(configuration, listeners),
    ...kernelResults(kernel),
    ...ipv6Results(host, configuration),
    ...ephemeralResults(host, configuration),
  ];
  return orOk(results, `Linux ${kernel}: queue, descriptors and SYN cookies are as honeyport needs them`);
}

function cookieResults(host: Host, { cookies }: Configuration): Result[] {
  const value = readNumber(host, `${IPV4}/tcp_syncookies`);
  if (value === 2 && cookies === 'withhold')
    return [
      finding(
        'tcp_syncookies is 2: every connection is accepted from a SYN cookie, and withheld from banning',
        'sysctl -w net.ipv4.tcp_syncookies=1, and the same in /etc/sysctl.d/',
      ),
    ];
  if (value !== 0) return [];
  return [
    note(
      'tcp_syncookies is 0: a flood of SYNs keeps everybody from connecting',
      'sysctl -w net.ipv4.tcp_syncookies=1, and the same in /etc/sysctl.d/',
    ),
  ];
}

function queueResults(host: Host): Result[] {
  const value = readNumber(host, '/proc/sys/net/core/somaxconn');
  if (value === undefined || value >= LEAST_QUEUE) return [];
  return [
    note(
      `somaxconn is ${value}: of a burst, connections beyond that are not accepted, and not logged`,
      `sysctl -w net.core.somaxconn=${LEAST_QUEUE}, and the same in /etc/sysctl.d/`,
    ),
  ];
}

/** Of the running listener, which has another limit than this shell. */
function fileResults(configuration: Configuration, listeners: readonly ProcessStatus[]): Result[] {
  const limit = listeners[0]?.mostOpenFiles;
  const ports = endpointsOf(configuration).length;
  const talks = configuration.decoys.some(
    ({ behaviour, proxies }) => behaviour !== undefined || proxies.length > 0,
  );
  const needed = ports + (talks ? configuration.limits.conversations : 0) + OTHER_FILES;
  if (limit === undefined || limit >= needed) return [];
  return [
    finding(
      `the listener may open ${limit} files, and needs up to ${needed}: ports and conversations take one each`,
      `write LimitNOFILE=${2 ** Math.ceil(Math.log2(needed))} with systemctl edit honeyport, and restart it`,
    ),
  ];
}

function kernelResults(kernel: string): Result[] {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const isOld = major < LEAST_KERNEL[0]! || (major === LEAST_KERNEL[0] && minor < LEAST_KERNEL[1]!);
  if (!isOld) return [];
  return [
    finding(
      `Linux ${kernel} saves no SYN: no connection can be told from one of a SYN cookie, and all are withheld`,
      'use Linux 4.3 or later, or set `cookies: count`',
    ),
  ];
}

function ipv6Results(host: Host, { decoys }: Configuration): Result[] {
  const wanted = decoys.filter(({ address }) => address?.includes(':'));
  const isOff = readNumber(host, '/proc/sys/net/ipv6/conf/all/disable_ipv6');
  if (wanted.length === 0 || isOff === 0) return [];
  const names = wanted.map(({ name }) => name).join(', ');
  return [
    finding(
      `IPv6 is disabled, and decoy ${names} has an IPv6 address`,
      'sysctl -w net.ipv6.conf.all.disable_ipv6=0, or take its address out of the configuration',
    ),
  ];
}

/** What an outgoing connection has while the listener restarts, the listener cannot have. */
function ephemeralResults(host: Host, configuration: Configuration): Result[] {
  const [, first, last] = /^\s*(\d+)\s+(\d+)/.exec(readText(host, `${IPV4}/ip_local_port_range`) ?? '') ?? [];
  const reservedText = (readText(host, `${IPV4}/ip_local_reserved_ports`) ?? '').trim();
  const reserved = reservedText.split(',').map(toRange);
  const ports = endpointsOf(configuration).flatMap(({ port }) => {
    const isReserved = reserved.some(([low, high]) => port >= low && port <= high);
    return port >= Number(first) && port <= Number(last) && !isReserved ? [port] : [];
  });
  if (ports.length === 0) return [];
  const text = formatPorts(new Set(ports));
  return [
    note(
      `port ${text} is among those that outgoing connections take (${first}-${last}): one may have it when the listener starts`,
      `sysctl -w net.ipv4.ip_local_reserved_ports=${[reservedText, text].filter(Boolean).join(',')}, and the same in /etc/sysctl.d/`,
    ),
  ];
}

function toRange(text: string): [number, number] {
  const [low = Number.NaN, high = low] = text
    .split('-')
    .map((part) => (part === '' ? Number.NaN : Number(part)));
  return [low, high];
}
