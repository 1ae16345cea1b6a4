import type { Socket } from 'node:net';
import { Client, Transport } from 'syslog-client';
import { discardAnswers, endSocket, noticeSilence, type SocketOptions } from './stream.ts';
import { listenUntilBroken, type Wire, type WireListener } from './wire.ts';

/** `address` is an IP address: syslog-client would look a name up for each datagram, and for version 4 alone. */
export interface ClientTarget {
  readonly address: string;
  readonly port: number;
}

/** syslog-client as the wire alone: what it is given is formatted and framed already. */
class BytesClient extends Client {
  #bytes: Buffer = Buffer.alloc(0);

  /** `log` takes texts, and asks for their bytes at once. */
  send(bytes: Buffer, onDone: (error: Error | null) => void): void {
    this.#bytes = bytes;
    this.log('', {}, onDone);
  }

  override buildFormattedMessage(): Buffer {
    return this.#bytes;
  }
}

/** It takes ten seconds without a message for an error; noticeSilence knows better. */
const NEVER = 0x7fffffff;

/** Opens TCP through syslog-client. */
export function openTcp(
  { address, port }: ClientTarget,
  options: SocketOptions,
  listener: WireListener,
): Wire {
  const client = new BytesClient(address, { port, transport: Transport.Tcp, tcpTimeout: NEVER });
  const { onOpen, onTaken, onBroken, stop } = listenUntilBroken(listener);
  let socket: Socket | undefined;
  let released = false;
  client.on('error', onBroken);
  client.on('close', () => onBroken(new Error('it closed the connection')));
  // its type says Transport, which is the enumeration
  client.getTransport((error, transport) => {
    if (error) return onBroken(error);
    socket = transport as unknown as Socket;
    if (released) return void socket.destroy();
    noticeSilence(socket, options, onBroken);
    discardAnswers(socket, onBroken);
    onOpen();
  });
  return {
    send: ({ bytes }) => client.send(bytes, (error) => (error ? onBroken(error) : onTaken())),
    end: async () => {
      stop();
      released = true;
      if (socket !== undefined) await endSocket(socket);
    },
    destroy: () => {
      stop();
      released = true;
      // while it is connecting, syslog-client has nothing to let go of: the callback above does
      socket?.destroy();
    },
  };
}

/** Opens UDP through syslog-client: each message a datagram (RFC 5426), of which nobody learns whether it arrived. */
export function openUdp({ address, port }: ClientTarget, listener: WireListener): Wire {
  const client = new BytesClient(address, { port, transport: Transport.Udp });
  const { onOpen, onTaken, onBroken, stop } = listenUntilBroken(listener);
  client.on('error', onBroken);
  client.getTransport((error) => (error ? onBroken(error) : onOpen()));
  const destroy = () => {
    stop();
    client.close();
  };
  return {
    send({ bytes, ends }) {
      let left = ends.length;
      for (const [index, end] of ends.entries()) {
        client.send(bytes.subarray(ends[index - 1] ?? 0, end), (error) => {
          left -= 1;
          if (error) onBroken(error);
          else if (left === 0) onTaken();
        });
      }
    },
    end: async () => destroy(),
    destroy,
  };
}
