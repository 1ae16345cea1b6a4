import { readFileSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import type { Endpoint, ListenError } from '../capture/listener.ts';
import { DEFAULTS } from '../configuration/schema-nodes.ts';
import { ConfigurationError } from '../errors.ts';
import { findPortOwner, type PortOwner } from '../system/port-owner.ts';
import { SOCKET_HINT } from './open-socket-pool.ts';

/**
 * What the user reads when ports cannot be listened on, each a line.
 * @param hasSockets systemd has opened ports, so that another one is its matter, too
 */
export function listenProblem(errors: readonly ListenError[], hasSockets: boolean): ConfigurationError {
  const hints = errors.map((error) => hintFor(error, hasSockets)).filter((hint) => hint !== undefined);
  return new ConfigurationError(errors.map(describe), hints[0]);
}

function describe(error: ListenError): string {
  return `cannot listen on ${name(error.endpoint)}${purpose(error.endpoint)}: ${reason(error)}`;
}

function name({ address, port }: Endpoint): string {
  if (address === undefined) return `port ${port}`;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** No decoy names this port. */
function purpose({ isTransparent, decoy }: Endpoint): string {
  return isTransparent === true ? `, where decoy ${decoy} takes what the kernel's rules hand over` : '';
}

function reason({ endpoint: { port }, errno }: ListenError): string {
  const code = getSystemErrorName(-errno);
  switch (code) {
    case 'EADDRINUSE':
      return `in use by ${ownerOf(port)}`;
    case 'EACCES':
      return `ports below ${firstUnprivilegedPort()} need the capability CAP_NET_BIND_SERVICE`;
    case 'EADDRNOTAVAIL':
      return 'no interface of this host has that address';
    case 'EAFNOSUPPORT':
      return 'this host has no IPv6';
    case 'EMFILE':
      return 'the limit of open files is reached';
    default:
      return code;
  }
}

function hintFor({ errno, endpoint }: ListenError, hasSockets: boolean): string | undefined {
  switch (getSystemErrorName(-errno)) {
    case 'EADDRINUSE':
      if (endpoint.isTransparent === true) return exceptHint(endpoint.port);
      if (hasSockets && isOwn(findPortOwner(endpoint.port))) return SOCKET_HINT;
      return 'a decoy port is one that no service uses: stop that program or choose another port';
    case 'EACCES':
      if (hasSockets) return SOCKET_HINT;
      return 'give the service AmbientCapabilities=CAP_NET_BIND_SERVICE, or choose a higher port';
    case 'EADDRNOTAVAIL':
      return '`ip -brief address` shows the addresses of this host';
    case 'EMFILE':
      return 'raise it (ulimit -n, or LimitNOFILE= of the service): each port needs one';
    default:
      return undefined;
  }
}

function exceptHint(port: number): string {
  const except = [...DEFAULTS.except, port].join(', ');
  return `except: [${except}] takes another port; what is written there replaces the default`;
}

function ownerOf(port: number): string {
  const owner = findPortOwner(port);
  if (isOwn(owner)) return 'honeyport itself, at another address';
  return owner === undefined ? 'another program, which only root may name' : `${owner.name}[${owner.pid}]`;
}

function isOwn(owner: PortOwner | undefined): boolean {
  return owner?.pid === process.pid;
}

function firstUnprivilegedPort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'latin1'));
  } catch {
    return 1024;
  }
}
