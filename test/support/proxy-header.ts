import { parseAddress } from '../../src/address.ts';

/** Both ends of a connection that a proxy stands for; addresses in any form that `parseAddress` takes. */
export interface ProxiedEnds {
  readonly src: string;
  readonly spt: number;
  readonly dst: string;
  readonly dpt: number;
}

/** A PROXY protocol header of version 1, its addresses as they are given: TCP6 if one is written with colons. */
export function encodeV1({ src, spt, dst, dpt }: ProxiedEnds): Buffer {
  if (!`${src}${dst}`.includes(':'))
    return Buffer.from(`PROXY TCP4 ${src} ${dst} ${spt} ${dpt}\r\n`, 'latin1');
  return Buffer.from(`PROXY TCP6 ${asIpv6(src)} ${asIpv6(dst)} ${spt} ${dpt}\r\n`, 'latin1');
}

const asIpv6 = (text: string) => (text.includes(':') ? text : `::ffff:${text}`);

/**
 * A header of version 2, over IPv6 if one address is written with colons.
 * @param tlvBytes how many bytes of TLVs follow the addresses, all in one NOOP if there is room for one
 */
export function encodeV2({ src, spt, dst, dpt }: ProxiedEnds, tlvBytes = 0): Buffer {
  const isIpv6 = `${src}${dst}`.includes(':');
  const size = isIpv6 ? 16 : 4;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(spt, 0);
  ports.writeUInt16BE(dpt, 2);
  const block = [addressBytes(src, size), addressBytes(dst, size), ports, noop(tlvBytes)];
  return encodeBinary(0x21, isIpv6 ? 0x21 : 0x11, Buffer.concat(block));
}

/** IPv4 in 16 bytes is IPv4-mapped. */
function addressBytes(text: string, size: number): Buffer {
  const { bytes } = parseAddress(text)!;
  const mapped = Buffer.from('00000000000000000000ffff', 'hex');
  return bytes.length === size ? Buffer.from(bytes) : Buffer.concat([mapped, bytes]);
}

function noop(size: number): Buffer {
  const tlv = Buffer.alloc(size, 0x04);
  if (size >= 3) tlv.writeUInt16BE(size - 3, 1);
  return tlv;
}

/** A header of version 2 of any bytes. `length` says how long the block is, which need not be true. */
export function encodeBinary(
  versionAndCommand: number,
  familyAndProtocol: number,
  block: Uint8Array = Buffer.alloc(0),
  length: number = block.length,
): Buffer {
  const fixed = Buffer.from('\r\n\r\n\0\r\nQUIT\n    ', 'latin1');
  fixed.writeUInt8(versionAndCommand, 12);
  fixed.writeUInt8(familyAndProtocol, 13);
  fixed.writeUInt16BE(length, 14);
  return Buffer.concat([fixed, block]);
}

/** What a proxy sends to see whether we are there: no addresses. */
export const LOCAL_V2: Buffer = encodeBinary(0x20, 0x00);
