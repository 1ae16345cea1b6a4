import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { honeyport } from './contestant.ts';
import type { Side } from './sides.ts';

/** What a receiver does with a connection. */
const RECEIVERS: Readonly<Record<string, (socket: Socket) => void>> = {
  good: (socket) => void socket.resume(),
  'takes nothing': (socket) => void socket.pause(),
  resets: (socket) => void socket.on('data', () => socket.resetAndDestroy()),
  babbles: (socket) => {
    socket.resume();
    socket.write(Buffer.alloc(1 << 20, '?'));
  },
};

export interface SyslogBench {
  readonly sides: readonly Side[];
  readonly close: () => void;
}

/** What a syslog receiver costs the log, good or bad, beside none. */
export async function syslogSides(cli: string): Promise<SyslogBench> {
  const servers: Server[] = [];
  const sides: Side[] = [];
  for (const [name, treat] of Object.entries(RECEIVERS)) {
    const server = await listen(treat);
    servers.push(server);
    sides.push({ name, contestant: honeyport(cli, { receivers: [addressOf(server)] }) });
  }
  const gone = await listen(() => {});
  const away = addressOf(gone);
  gone.close();
  sides.push({ name: 'away', contestant: honeyport(cli, { receivers: [away] }) });
  sides.push({ name: 'no receiver', contestant: honeyport(cli) });
  return { sides, close: () => closeAll(servers) };
}

async function listen(treat: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => treat(socket.on('error', () => {}))).listen(0, '127.0.0.1');
  await once(server, 'listening');
  // the bench ends when it has measured
  return server.unref();
}

function addressOf(server: Server): string {
  return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function closeAll(servers: readonly Server[]): void {
  for (const server of servers) server.close();
}
