import { addressFromBytes, parseAddress } from './address.ts';

/** Addresses that share their first bits. */
export interface Network {
  /** Canonical, always with a length: `192.0.2.0/24`, `192.0.2.1/32`. */
  readonly text: string;
  readonly family: 4 | 6;
  /** How many bits its addresses share: 0 to 32 for family 4, to 128 for family 6. */
  readonly length: number;
  /** What `prefixKey` gives for every address in it, and within the family and length for no other. */
  readonly key: AddressKey;
}

/** An address to look up in a Map: IPv4 as a number, IPv6 as a text with one UTF-16 unit for each 16 bits. */
export type AddressKey = number | string;

/**
 * Reads an address or a network in CIDR notation; an IPv4-mapped one is the IPv4 network that it carries.
 * @returns what was expected instead, where it is neither or has bits set beyond its prefix
 */
export function parseNetwork(text: string): Network | { readonly expected: string } {
  return IPV4_ADDRESS.test(text) ? ipv4Host(text) : parseAnyNetwork(text);
}

/** What parseAddress takes as IPv4; long lists consist of it, and are read in half the time. */
const IPV4_ADDRESS = /^(?:(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])(?:\.(?!$)|$)){4}$/;

function ipv4Host(text: string): Network {
  return { text: `${text}/32`, family: 4, length: 32, key: keyOfIpv4(text) };
}

function parseAnyNetwork(text: string): Network | { readonly expected: string } {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return { expected: 'an IPv4 or IPv6 address or a network such as 192.0.2.0/24' };
  const { family, bytes } = address;
  const bits = bytes.length * 8;
  const length = slash < 0 ? bits : prefixLength(text, slash, bits);
  if (length === undefined)
    return { expected: `a prefix length ${text.includes(':') ? 'up to 128' : 'up to 32'}` };
  const masked = maskBytes(bytes, length);
  const network = `${addressFromBytes(masked, 0, family === 4 ? 4 : 16)}/${length}`;
  if (masked.some((byte, index) => byte !== bytes[index])) {
    return { expected: `no bits beyond the prefix, as in ${network}` };
  }
  return { text: network, family, length, key: prefixKey(keyOfBytes(bytes), length) };
}

function prefixLength(text: string, slash: number, bits: number): number | undefined {
  const digits = text.slice(slash + 1);
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  // ::ffff:192.0.2.0/120 is 192.0.2.0/24
  const length = Number(digits) - (bits === 32 && text.includes(':') ? 96 : 0);
  return length >= 0 && length <= bits ? length : undefined;
}

/** The first `length` bits of an address; the rest is zero. */
export function maskBytes(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, length - index * 8))));
}

function keyOfBytes(bytes: Uint8Array): AddressKey {
  let key = '';
  for (let at = 0; at < bytes.length; at += 2) key += String.fromCharCode(bytes[at]! * 256 + bytes[at + 1]!);
  return bytes.length === 4 ? key.charCodeAt(0) * 65_536 + key.charCodeAt(1) : key;
}

/**
 * The key of an address in canonical text, as `parseAddress` gives it. Trusts its caller: it runs for each connection,
 * where parsing for all forms would cost more than everything else that is asked of a source.
 */
export function addressKey(text: string): AddressKey {
  return text.includes(':') ? keyOfIpv6(text) : keyOfIpv4(text);
}

function keyOfIpv4(text: string): number {
  let value = 0;
  let byte = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      value = value * 256 + byte;
      byte = 0;
    } else {
      byte = byte * 10 + code - ZERO;
    }
  }
  return value * 256 + byte;
}

function keyOfIpv6(text: string): string {
  const gap = text.indexOf('::');
  if (gap < 0) return groupsOf(text);
  const before = groupsOf(text.slice(0, gap));
  const after = groupsOf(text.slice(gap + 2));
  return before + NO_GROUPS.slice(before.length + after.length) + after;
}

function groupsOf(text: string): string {
  if (text === '') return '';
  let key = '';
  let group = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === COLON) {
      key += String.fromCharCode(group);
      group = 0;
    } else {
      group = group * 16 + (code < LOWER_A ? code - ZERO : code - LOWER_A + 10);
    }
  }
  return key + String.fromCharCode(group);
}

const [DOT, COLON, ZERO, LOWER_A] = [0x2e, 0x3a, 0x30, 0x61];
const NO_GROUPS = '\0'.repeat(8);

/** The first `length` bits of an address: equal for all addresses of a network of that length. */
export function prefixKey(key: AddressKey, length: number): AddressKey {
  if (typeof key === 'number') return length === 0 ? 0 : key >>> (32 - length);
  const whole = length >> 4;
  const rest = length & 15;
  if (rest === 0) return key.slice(0, whole);
  return key.slice(0, whole) + String.fromCharCode(key.charCodeAt(whole) >> (16 - rest));
}
