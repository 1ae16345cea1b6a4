import { connect, isIP, type Socket } from 'node:net';
import { type SecureContext, connect as secure } from 'node:tls';
import { discardAnswers, endSocket, noticeSilence, type SocketOptions } from './stream.ts';
import { listenUntilBroken, type Wire, type WireListener } from './wire.ts';

/** Opens a unix stream socket. */
export function openUnix(path: string, listener: WireListener): Wire {
  const socket = connect({ path });
  const guarded = listenUntilBroken(listener);
  socket.on('connect', guarded.onOpen);
  return wireOf(socket, guarded);
}

export interface TlsTarget {
  readonly address: string;
  readonly port: number;
  /** What the receiver's certificate must bear: a host name or an address. */
  readonly name: string;
  /** Whom to trust, and our own certificate, if any. */
  readonly secureContext: SecureContext;
}

/** Opens TLS 1.2 or newer as RFC 5425 has it; a receiver that cannot prove its name is sent nothing. */
export function openTls(
  { address, port, name, secureContext }: TlsTarget,
  options: SocketOptions,
  listener: WireListener,
): Wire {
  const below = connect({ host: address, port });
  const guarded = listenUntilBroken(listener);
  below.on('connect', () => noticeSilence(below, options, guarded.onBroken));
  const socket = secure({
    socket: below,
    host: name,
    // the server name extension is for names alone
    ...(isIP(name) === 0 ? { servername: name } : {}),
    secureContext,
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
  });
  // errors of the socket below come up through the one above, but not all before the handshake
  below.on('error', guarded.onBroken);
  socket.on('secureConnect', guarded.onOpen);
  return wireOf(socket, guarded);
}

function wireOf(socket: Socket, { onTaken, onBroken, stop }: ReturnType<typeof listenUntilBroken>): Wire {
  socket.on('error', onBroken);
  socket.on('close', () => onBroken(new Error('it closed the connection')));
  discardAnswers(socket, onBroken);
  return {
    send: ({ bytes }) => void socket.write(bytes, (error) => (error ? onBroken(error) : onTaken())),
    end: () => {
      stop();
      return endSocket(socket);
    },
    destroy: () => {
      stop();
      socket.destroy();
    },
  };
}
