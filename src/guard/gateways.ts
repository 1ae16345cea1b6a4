import { endianness } from 'node:os';
import { addressFromBytes } from '../address.ts';
import { readHead } from './read-head.ts';

/** RTF_GATEWAY of linux/route.h: the route leads over another router. */
const OVER_ROUTER = 0x2;
/** RTF_REJECT: the route leads nowhere. */
const REJECT = 0x200;

/**
 * The routers of this host's default routes, in canonical text. Both tables list the default routes first, so that
 * their beginning is enough where there are a million others. Of a multipath IPv4 route the kernel names the first router.
 */
export function readDefaultGateways(proc = '/proc'): string[] {
  return [
    ...ipv4Gateways(readHead(`${proc}/net/route`)),
    ...ipv6Gateways(readHead(`${proc}/net/ipv6_route`)),
  ];
}

/** `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses as hexadecimal numbers of this machine. */
function ipv4Gateways(table: Buffer): string[] {
  return rowsOf(table).flatMap(([, destination, gateway = '', flags, , , , mask]) => {
    const isDefault = Number(`0x${destination}`) === 0 && Number(`0x${mask}`) === 0;
    if (!isDefault || !leadsOverRouter(flags) || !/^[0-9A-F]{8}$/i.test(gateway)) return [];
    const bytes = Buffer.from(gateway, 'hex');
    return [addressFromBytes(endianness() === 'LE' ? bytes.reverse() : bytes, 0, 4)];
  });
}

/** `destination length source length gateway metric references uses flags device`, addresses as 32 hexadecimal digits. */
function ipv6Gateways(table: Buffer): string[] {
  return rowsOf(table).flatMap(([destination = '', length, , , gateway = '', , , , flags]) => {
    const isDefault = /^0{32}$/.test(destination) && length === '00';
    if (!isDefault || !leadsOverRouter(flags) || !/^[0-9a-f]{32}$/i.test(gateway)) return [];
    return [addressFromBytes(Buffer.from(gateway, 'hex'), 0, 16)];
  });
}

function rowsOf(table: Buffer): string[][] {
  const lines = table.toString('latin1').split('\n');
  return lines.map((line) => line.trim().split(/\s+/));
}

function leadsOverRouter(flags: string | undefined): boolean {
  const bits = Number(`0x${flags}`);
  return (bits & OVER_ROUTER) !== 0 && (bits & REJECT) === 0;
}
