import type { SynFingerprint } from '../event.ts';

const TCP_HEADER = 20;
const IPV6_HEADER = 40;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const TCP = 6;
const DESTINATION_OPTIONS = 60;

const END_OF_OPTIONS = 0;
const NO_OPERATION = 1;
const OPTION_NAMES: Readonly<Record<number, string>> = { 2: 'mss', 3: 'ws', 4: 'sok', 5: 'sack', 8: 'ts' };
const MSS = 2;
const WINDOW_SCALE = 3;

/**
 * Reads the headers that TCP_SAVED_SYN gives: an IP header and the TCP header of the SYN.
 * Everything in them was chosen by the peer; only numbers and names of our own leave this function.
 * @returns undefined when the bytes are not a whole IP and TCP header
 */
export function parseSavedSyn(bytes: Buffer, length: number): SynFingerprint | undefined {
  const version = length > 0 ? bytes[0]! >> 4 : 0;
  const tcp = version === 4 ? ipv4HeaderLength(bytes) : version === 6 ? ipv6HeaderLength(bytes, length) : 0;
  if (tcp === 0 || tcp + TCP_HEADER > length) return undefined;
  const end = Math.min(length, tcp + (bytes[tcp + 12]! >> 4) * 4);
  return {
    ttl: version === 4 ? bytes[8]! : bytes[7]!,
    win: bytes.readUInt16BE(tcp + 14),
    syn: describeOptions(bytes, tcp + TCP_HEADER, end),
  };
}

function ipv4HeaderLength(bytes: Buffer): number {
  return (bytes[0]! & 15) * 4;
}

function ipv6HeaderLength(bytes: Buffer, length: number): number {
  let next = length > 6 ? bytes[6]! : -1;
  let offset = IPV6_HEADER;
  while (next === HOP_BY_HOP || next === ROUTING || next === DESTINATION_OPTIONS) {
    if (offset + 8 > length) return 0;
    next = bytes[offset]!;
    offset += (bytes[offset + 1]! + 1) * 8;
  }
  return next === TCP ? offset : 0;
}

/**
 * The options from `start` to `end` in p0f's vocabulary, in order: `mss:1460,sok,ts,nop,ws:7`. Options p0f has no name
 * for are `opt<kind>`, padding after the end is `eol+<bytes>`, an option that overruns the header is `bad`.
 * https://lcamtuf.coredump.cx/p0f3/README, section "TCP signatures"
 */
function describeOptions(bytes: Buffer, start: number, end: number): string {
  let text = '';
  for (let at = start; at < end; ) {
    const kind = bytes[at]!;
    if (text !== '') text += ',';
    if (kind === END_OF_OPTIONS) return `${text}eol+${end - at - 1}`;
    if (kind === NO_OPERATION) {
      text += 'nop';
      at += 1;
      continue;
    }
    const size = at + 1 < end ? bytes[at + 1]! : 0;
    if (size < 2 || at + size > end) return `${text}bad`;
    text += OPTION_NAMES[kind] ?? `opt${kind}`;
    if (kind === MSS && size === 4) text += `:${bytes.readUInt16BE(at + 2)}`;
    if (kind === WINDOW_SCALE && size === 3) text += `:${bytes[at + 2]!}`;
    at += size;
  }
  return text === '' ? 'none' : text;
}
