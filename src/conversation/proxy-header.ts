import { addressFromBytes, parseAddress } from '../address.ts';

/** What a header says of the connection that the proxy stands for. */
export type ProxyHeader =
  | {
      readonly kind: 'proxied';
      /** Canonical, an IPv4-mapped address as IPv4. An address that somebody can connect from. */
      readonly src: string;
      readonly spt: number;
      /** Canonical as well, and any address at all. */
      readonly dst: string;
      readonly dpt: number;
    }
  /** The proxy speaks for itself or names nobody over TCP: LOCAL, UNKNOWN, UNSPEC, UDP, unix sockets. */
  | { readonly kind: 'local' }
  | { readonly kind: 'malformed'; readonly why: ProxyHeaderFault };

/** Words of our own, to be logged: nothing of what the peer sent is in them. */
export type ProxyHeaderFault =
  | 'no header'
  | 'oversized'
  | 'no source'
  | 'bare line feed'
  | 'wrong fields'
  | 'bad address'
  | 'bad port'
  | 'unknown version'
  | 'unknown command'
  | 'unknown family'
  | 'unknown protocol'
  | 'short block';

export interface ProxyHeaderReader {
  /**
   * Reads on. `waiting` is what waits at the head of the stream (MSG_PEEK): as much of it as the caller likes, but
   * without what was consumed before. Never throws, and keeps no reference to it.
   */
  push(waiting: Uint8Array): ProxyHeaderProgress;
}

export interface ProxyHeaderProgress {
  /**
   * How many bytes of `waiting` belong to the header, for the caller to take from the stream: all of them while the
   * header is incomplete, and never one beyond its end. Of a malformed header, those before the byte that shows it.
   */
  readonly consumed: number;
  /** Defined once the header is complete or malformed; the same from then on, and nothing more is consumed. */
  readonly header: ProxyHeader | undefined;
}

/** The header without what follows its addresses: `skip` bytes that tell us nothing. */
interface Verdict {
  readonly header: ProxyHeader;
  readonly skip: number;
}

// Numbers and rules: https://github.com/haproxy/haproxy/blob/master/doc/proxy-protocol.txt, section 2.1 for version 1
// (a line), section 2.2 for version 2 (binary).

const SIGNATURE_1 = bytesOf('PROXY ');
const SIGNATURE_2 = bytesOf('\r\n\r\n\0\r\nQUIT\n');

/** Version 1, with CRLF: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n". */
const LONGEST_LINE = 107;
const LINE_FEED = 0x0a;
const UNKNOWN = 'PROXY UNKNOWN';

/** Version 2: signature, version and command, family and protocol, length of the block that follows. */
const FIXED_BYTES = 16;
/** Our own bound: the block's length could be 65,535, but TLVs with a certificate's names stay far below this. */
const LONGEST_BLOCK = 4096;
/** What source and destination take, by family: UNSPEC, INET, INET6, UNIX. */
const BLOCK_BYTES = [0, 12, 36, 216];
const UNSPEC = 0;
const DGRAM = 2;
const LOCAL = 0;
const PROXY = 1;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

/**
 * Reads a PROXY protocol header of version 1 or 2 from the start of a stream, in whatever pieces it comes. What is
 * consumed and found depends on the bytes alone, not on how they are cut. It keeps at most 107 bytes of a line, at
 * most 52 of a binary header, and only counts the others.
 */
export function createProxyHeaderReader(): ProxyHeaderReader {
  const head = new Uint8Array(LONGEST_LINE);
  let kept = 0;
  let verdict: Verdict | undefined;
  let skipped = 0;

  return { push };

  function push(waiting: Uint8Array): ProxyHeaderProgress {
    const judged = judge(waiting);
    if (verdict === undefined) return { consumed: judged, header: undefined };
    const skipping = Math.min(verdict.skip - skipped, waiting.length - judged);
    skipped += skipping;
    const header = skipped === verdict.skip ? verdict.header : undefined;
    return { consumed: judged + skipping, header };
  }

  /** Byte by byte, until there is a verdict. @returns how many bytes of `waiting` the verdict leaves to the header */
  function judge(waiting: Uint8Array): number {
    let judged = 0;
    while (verdict === undefined && judged < waiting.length) {
      head[kept] = waiting[judged]!;
      verdict = judgeLatest(head, kept + 1);
      if (verdict?.header.kind === 'malformed') break;
      kept += 1;
      judged += 1;
    }
    return judged;
  }
}

/**
 * What is known once the `length` bytes at the start of `head` are there. Trusts its caller to have asked after each
 * byte before, so that only the latest is new; undefined while more are needed.
 */
function judgeLatest(head: Uint8Array, length: number): Verdict | undefined {
  const isLine = head[0] === SIGNATURE_1[0];
  const signature = isLine ? SIGNATURE_1 : SIGNATURE_2;
  if (length <= signature.length) {
    return head[length - 1] === signature[length - 1] ? undefined : malformed('no header');
  }
  return isLine ? judgeLine(head, length) : judgeBinary(head, length);
}

function judgeLine(head: Uint8Array, length: number): Verdict | undefined {
  if (head[length - 1] === LINE_FEED) {
    const line = String.fromCharCode(...head.subarray(0, length));
    if (line.endsWith('\r\n')) return readLine(line.slice(0, -2));
    // whoever ends lines so will send no CRLF to wait for; after UNKNOWN anything is to be ignored
    if (!line.startsWith(UNKNOWN)) return malformed('bare line feed');
  }
  return length === LONGEST_LINE ? malformed('oversized') : undefined;
}

function readLine(line: string): Verdict {
  if (line.startsWith(UNKNOWN)) return local();
  const [, protocol, source, destination, ...ports] = line.split(' ');
  if (protocol !== 'TCP4' && protocol !== 'TCP6') return malformed('unknown protocol');
  if (ports.length !== 2) return malformed('wrong fields');
  const [src, dst] = [readAddress(protocol, source!), readAddress(protocol, destination!)];
  if (src === undefined || dst === undefined) return malformed('bad address');
  const [spt, dpt] = ports.map(readPort);
  if (spt === undefined || dpt === undefined) return malformed('bad port');
  return proxied({ src, spt, dst, dpt });
}

function readAddress(protocol: 'TCP4' | 'TCP6', text: string): string | undefined {
  // by its notation, as an IPv4-mapped address is one of TCP6 and yet becomes IPv4
  return text.includes(':') === (protocol === 'TCP6') ? parseAddress(text)?.text : undefined;
}

function readPort(text: string): number | undefined {
  if (!/^(0|[1-9][0-9]*)$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 0xffff ? port : undefined;
}

function judgeBinary(head: Uint8Array, length: number): Verdict | undefined {
  if (length === 13) return faultOfCommand(head[12]!);
  if (length === 14) return commandOf(head) === PROXY ? faultOfFamily(head[13]!) : undefined;
  if (length === FIXED_BYTES) return faultOfLength(head) ?? localVerdict(head);
  // past the fixed bytes only for TCP
  return length === FIXED_BYTES + addressBytes(head) ? readAddresses(head) : undefined;
}

const commandOf = (head: Uint8Array) => head[12]! & 15;
const blockBytes = (head: Uint8Array) => readUint16(head, 14);
const addressBytes = (head: Uint8Array) => BLOCK_BYTES[head[13]! >> 4]!;

function faultOfCommand(byte: number): Verdict | undefined {
  if (byte >> 4 !== 2) return malformed('unknown version');
  const command = byte & 15;
  return command === LOCAL || command === PROXY ? undefined : malformed('unknown command');
}

/** The specification wants rejected what it has not assigned; LOCAL's family is not looked at. */
function faultOfFamily(byte: number): Verdict | undefined {
  if (BLOCK_BYTES[byte >> 4] === undefined) return malformed('unknown family');
  return (byte & 15) <= DGRAM ? undefined : malformed('unknown protocol');
}

function faultOfLength(head: Uint8Array): Verdict | undefined {
  if (blockBytes(head) > LONGEST_BLOCK) return malformed('oversized');
  // addresses that mean nothing may be absent
  if (commandOf(head) === LOCAL || (head[13]! & 15) === UNSPEC) return undefined;
  return blockBytes(head) < addressBytes(head) ? malformed('short block') : undefined;
}

/** Undefined where addresses follow that are for us to read. */
function localVerdict(head: Uint8Array): Verdict | undefined {
  const isTcp = head[13] === TCP_OVER_IPV4 || head[13] === TCP_OVER_IPV6;
  return commandOf(head) === PROXY && isTcp ? undefined : local(blockBytes(head));
}

function readAddresses(head: Uint8Array): Verdict {
  const size = head[13] === TCP_OVER_IPV4 ? 4 : 16;
  const ports = FIXED_BYTES + 2 * size;
  const src = addressFromBytes(head, FIXED_BYTES, size);
  const dst = addressFromBytes(head, FIXED_BYTES + size, size);
  const [spt, dpt] = [readUint16(head, ports), readUint16(head, ports + 2)];
  return proxied({ src, spt, dst, dpt }, blockBytes(head) - addressBytes(head));
}

function proxied(ends: { src: string; spt: number; dst: string; dpt: number }, skip = 0): Verdict {
  return canConnect(ends.src) ? { header: { kind: 'proxied', ...ends }, skip } : malformed('no source');
}

/** Nobody connects from 0.0.0.0/8, nor from what is a group, reserved or broadcast: 224.0.0.0/3, ff00::/8, `::`. */
function canConnect(address: string): boolean {
  const { family, bytes } = parseAddress(address)!;
  if (family === 4) return bytes[0] !== 0 && bytes[0]! < 224;
  return bytes[0] !== 0xff && bytes.some((byte) => byte !== 0);
}

function local(skip = 0): Verdict {
  return { header: { kind: 'local' }, skip };
}

function malformed(why: ProxyHeaderFault): Verdict {
  return { header: { kind: 'malformed', why }, skip: 0 };
}

function readUint16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 8) | bytes[offset + 1]!;
}

function bytesOf(ascii: string): Uint8Array {
  return Uint8Array.from(ascii, (character) => character.charCodeAt(0));
}
