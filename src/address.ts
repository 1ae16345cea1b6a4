import ipaddr from 'ipaddr.js';

/** An IPv4 or IPv6 address. An IPv4-mapped IPv6 address is the IPv4 address that it carries. */
export interface Address {
  /** Canonical: dotted quad, or RFC 5952; lower case, no zone, no brackets. */
  readonly text: string;
  readonly family: 4 | 6;
  /** Network order: 4 bytes for family 4, 16 for family 6. */
  readonly bytes: Uint8Array;
}

/** `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`: nothing longer reaches ipaddr.js's patterns. */
const LONGEST_TEXT = 45;

/**
 * Reads an address as people write it: a dotted quad of decimal numbers without leading zeros, or IPv6 in any
 * of its RFC 4291 forms. Undefined for anything else, among them a zone (`fe80::1%eth0`), a prefix length, and
 * the octal, hexadecimal and short IPv4 forms that inet_aton takes.
 */
export function parseAddress(text: string): Address | undefined {
  if (text.length > LONGEST_TEXT) return undefined;
  const bytes = text.includes(':') ? bytesOfIpv6(text) : bytesOfIpv4(text);
  if (bytes === undefined) return undefined;
  const own = isMapped(bytes, 0) ? bytes.subarray(12) : bytes;
  return { text: textOf(own, 0), family: own.length === 4 ? 4 : 6, bytes: own };
}

/**
 * The canonical text of the address at `offset`, as in `parseAddress`. Trusts its caller: `length` bytes are there.
 * It runs for each connection, so IPv4 takes no detour through an object.
 */
export function addressFromBytes(bytes: Uint8Array, offset: number, length: 4 | 16): string {
  if (length === 4) return dottedQuad(bytes, offset);
  if (isMapped(bytes, offset)) return dottedQuad(bytes, offset + 12);
  return textOf(bytes.subarray(offset, offset + 16), 0);
}

function dottedQuad(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

function textOf(bytes: Uint8Array, offset: number): string {
  if (bytes.length === 4) return dottedQuad(bytes, offset);
  return new ipaddr.IPv6(Array.from(bytes)).toRFC5952String();
}

/** ::ffff:0:0/96, RFC 4291 section 2.5.5.2. */
function isMapped(bytes: Uint8Array, offset: number): boolean {
  if (bytes.length < offset + 16 || bytes[offset + 10] !== 0xff || bytes[offset + 11] !== 0xff) return false;
  for (let index = 0; index < 10; index++) if (bytes[offset + index] !== 0) return false;
  return true;
}

function bytesOfIpv4(text: string): Uint8Array | undefined {
  if (!ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
  return Uint8Array.from(ipaddr.IPv4.parse(text).toByteArray());
}

function bytesOfIpv6(text: string): Uint8Array | undefined {
  const groups = /[^0-9a-f:.]/i.test(text) ? undefined : withoutDottedQuad(text);
  if (groups === undefined || !ipaddr.IPv6.isValid(groups)) return undefined;
  return Uint8Array.from(ipaddr.IPv6.parse(groups).toByteArray());
}

/** `::c000:201` for `::192.0.2.1`: ipaddr.js takes that for `::ffff:192.0.2.1`, and reads octal in dotted quads. */
function withoutDottedQuad(text: string): string | undefined {
  if (!text.includes('.')) return text;
  const start = text.lastIndexOf(':') + 1;
  const bytes = bytesOfIpv4(text.slice(start));
  if (bytes === undefined) return undefined;
  const [high, low] = [(bytes[0]! << 8) | bytes[1]!, (bytes[2]! << 8) | bytes[3]!];
  return `${text.slice(0, start)}${high.toString(16)}:${low.toString(16)}`;
}
