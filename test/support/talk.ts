import { connect, type Socket } from 'node:net';

export interface TalkOptions {
  readonly port: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
  /** The local address to connect from. */
  readonly from?: string;
  readonly say?: string | Uint8Array;
  /** Ends its own side after what it says. */
  readonly ends?: boolean;
  readonly deadlineMs?: number;
}

export interface Talked {
  /** What the decoy sent, one character for a byte. */
  readonly heard: string;
  /** `end`: it ended its side in order; else the error's code, or `deadline`. */
  readonly end: string;
  readonly localPort: number;
}

/** Connects, says something, and listens until the other side ends the conversation. */
export function talk(options: TalkOptions): Promise<Talked> {
  const { deadlineMs = 15_000, say, ends = false } = options;
  return new Promise((resolve) => {
    const socket = open(options);
    let heard = '';
    let localPort = 0;
    const finish = (end: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ heard, end, localPort });
    };
    const timer = setTimeout(() => finish('deadline'), deadlineMs);
    socket.setEncoding('latin1');
    socket.on('connect', () => {
      localPort = socket.localPort ?? 0;
      if (say !== undefined) socket.write(say);
      if (ends) socket.end();
    });
    socket.on('data', (text) => {
      heard += text;
    });
    socket.on('end', () => finish('end'));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  });
}

/** A connection that keeps its own side open until it is destroyed. */
export function open({ port, host = '127.0.0.1', from }: TalkOptions): Socket {
  const socket = connect({
    port,
    host,
    allowHalfOpen: true,
    ...(from === undefined ? {} : { localAddress: from }),
  });
  // how it ends is for those who listen
  return socket.on('error', () => {});
}
