import { endianness } from 'node:os';
import { type Address, addressFromBytes } from '../address.ts';
import { AF_INET, AF_INET6 } from '../native/constants.ts';

/** Bytes of the larger one, struct sockaddr_in6. */
export const SOCKET_ADDRESS_LENGTH = 28;

const IPV4_OFFSET = 4;
const IPV6_OFFSET = 8;
const littleEndian = endianness() === 'LE';

/** A struct sockaddr_in or sockaddr_in6 to bind to; without an address the wildcard of `family`. */
export function encodeSocketAddress(family: 4 | 6, port: number, address: Address | undefined): Buffer {
  const bytes = Buffer.alloc(family === 4 ? 16 : SOCKET_ADDRESS_LENGTH);
  const value = family === 4 ? AF_INET : AF_INET6;
  littleEndian ? bytes.writeUInt16LE(value, 0) : bytes.writeUInt16BE(value, 0);
  bytes.writeUInt16BE(port, 2);
  if (address !== undefined) bytes.set(address.bytes, family === 4 ? IPV4_OFFSET : IPV6_OFFSET);
  return bytes;
}

/** The canonical address in what accept4 or getsockname filled in; IPv4-mapped as IPv4. */
export function socketAddressText(bytes: Buffer): string {
  return familyOf(bytes) === AF_INET
    ? addressFromBytes(bytes, IPV4_OFFSET, 4)
    : addressFromBytes(bytes, IPV6_OFFSET, 16);
}

/** The port in what accept4 or getsockname filled in. */
export function socketAddressPort(bytes: Buffer): number {
  return (bytes[2]! << 8) | bytes[3]!;
}

/** The family in what getsockname filled in; undefined for a socket that is none of IP. */
export function socketAddressFamily(bytes: Buffer): 4 | 6 | undefined {
  const family = familyOf(bytes);
  if (family === AF_INET) return 4;
  return family === AF_INET6 ? 6 : undefined;
}

function familyOf(bytes: Buffer): number {
  return littleEndian ? bytes[0]! | (bytes[1]! << 8) : (bytes[0]! << 8) | bytes[1]!;
}
