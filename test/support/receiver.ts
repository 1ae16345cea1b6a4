import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';

export interface ReceiverOptions {
  /** A unix stream socket; without it TCP on loopback. */
  readonly path?: string;
  /** To come back on the port that it had. */
  readonly port?: number;
  readonly tls?: TlsOptions;
  readonly framing?: 'octet-counting' | 'lf';
  /** What it does with a connection besides reading it; `read: false` leaves that to this function, too. */
  readonly onConnection?: (socket: Socket) => void;
  readonly read?: boolean;
}

/** A syslog receiver of the test's own, whose faults the test decides. */
export interface Receiver {
  readonly port: number;
  /** Whole messages, in the order in which they came, over all connections. */
  readonly messages: string[];
  readonly connections: number;
  /** Reads from a connection, for one that `read: false` leaves unread. */
  take(socket: Socket, bytes: Buffer): void;
  /** Resets what is connected, and goes on listening. */
  reset(): Promise<void>;
  /** Stops listening and closes what is connected. */
  stop(): Promise<void>;
}

export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const messages: string[] = [];
  const sockets = new Set<Socket>();
  const rest = new Map<Socket, string>();
  let connections = 0;
  const take = (socket: Socket, bytes: Buffer) => {
    const [whole, left] = split((rest.get(socket) ?? '') + bytes.toString('latin1'), options.framing);
    messages.push(...whole);
    rest.set(socket, left);
  };
  const onConnection = (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => {});
    if (options.read ?? true) socket.on('data', (bytes: Buffer) => take(socket, bytes));
    options.onConnection?.(socket);
  };
  const server: Server =
    options.tls === undefined ? createServer(onConnection) : createTlsServer(options.tls, onConnection);
  server.on('tlsClientError', () => {});
  server.listen(
    options.path === undefined ? { port: options.port ?? 0, host: '127.0.0.1' } : { path: options.path },
  );
  await once(server, 'listening');
  return {
    port: options.path === undefined ? (server.address() as AddressInfo).port : 0,
    messages,
    get connections() {
      return connections;
    },
    take,
    async reset() {
      const closed = [...sockets].map((socket) => once(socket, 'close'));
      for (const socket of sockets) socket.resetAndDestroy();
      await Promise.all(closed);
    },
    async stop() {
      // a second time is no error
      if (!server.listening) return;
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Whole messages, and what is there of the next one. */
function split(text: string, framing: ReceiverOptions['framing'] = 'octet-counting'): [string[], string] {
  if (framing === 'lf') {
    const lines = text.split('\n');
    return [lines.slice(0, -1), lines.at(-1)!];
  }
  const messages: string[] = [];
  let at = 0;
  for (;;) {
    const space = text.indexOf(' ', at);
    if (space < 0) break;
    const count = text.slice(at, space);
    if (!/^[1-9]\d{0,4}$/.test(count))
      throw new Error(`Expected an octet count, got ${JSON.stringify(count.slice(0, 40))}`);
    const end = space + 1 + Number(count);
    if (end > text.length) break;
    messages.push(text.slice(space + 1, end));
    at = end;
  }
  return [messages, text.slice(at)];
}

export interface DatagramReceiver extends Pick<Receiver, 'port' | 'messages' | 'stop'> {
  /** Source ports, one for each socket that sent. */
  readonly senders: ReadonlySet<number>;
}

/** The same for datagrams. */
export async function startDatagramReceiver(): Promise<DatagramReceiver> {
  const messages: string[] = [];
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  const senders = new Set<number>();
  socket.on('message', (bytes, { port }) => {
    messages.push(bytes.toString('latin1'));
    senders.add(port);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    messages,
    senders,
    stop: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

/** The ids of messages in any format, in their order, each as often as it came. */
export function idsOf(messages: readonly string[]): string[] {
  return messages.map(
    (message) => /(?: id=|externalId=|\^id=|"id":"|"uid":")([a-z0-9]+\.\d+)/.exec(message)?.[1] ?? message,
  );
}
