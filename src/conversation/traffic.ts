import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';

/** Bytes that went both ways over a connection, and whether the peer has reset it. */
export interface Traffic {
  readonly rx: number;
  readonly tx: number;
  readonly isReset: boolean;
}

// offsets in struct tcp_info of include/uapi/linux/tcp.h; bytes_sent and bytes_retrans came with Linux 4.19
const STATE_OFFSET = 0;
const BYTES_ACKED_OFFSET = 120;
const BYTES_RECEIVED_OFFSET = 128;
const BYTES_SENT_OFFSET = 200;
const BYTES_RETRANS_OFFSET = 208;
const TCP_INFO_BYTES = 216;
const TCP_CLOSE = 7;

/** What the kernel counted, for a connection whose bytes went past this process. */
export function readTraffic(native: Native, fd: number): Traffic {
  const info = Buffer.alloc(TCP_INFO_BYTES);
  const length = Uint32Array.of(TCP_INFO_BYTES);
  const failed = native.getsockopt(fd, c.IPPROTO_TCP, c.TCP_INFO, info, new Uint8Array(length.buffer)) !== 0;
  if (failed) return { rx: 0, tx: 0, isReset: false };
  const number = (offset: number) =>
    offset + 8 <= length[0]! ? Number(readUint64(info, offset)) : undefined;
  const sent = number(BYTES_SENT_OFFSET);
  const tx = sent === undefined ? number(BYTES_ACKED_OFFSET) : sent - (number(BYTES_RETRANS_OFFSET) ?? 0);
  return { rx: number(BYTES_RECEIVED_OFFSET) ?? 0, tx: tx ?? 0, isReset: info[STATE_OFFSET] === TCP_CLOSE };
}

/** In the order of the machine's bytes. */
function readUint64(bytes: Buffer, offset: number): bigint {
  return new BigUint64Array(bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + 8))[0]!;
}
