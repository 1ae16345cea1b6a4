import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { parseAddress } from '../../src/address.ts';
import { createAcceptor } from '../../src/capture/acceptor.ts';
import type { Connection } from '../../src/capture/connection.ts';
import { readInheritedSocket } from '../../src/capture/inherited-socket.ts';
import type { Endpoint } from '../../src/capture/listener.ts';
import { createListeners, ListenErrors } from '../../src/capture/listeners.ts';
import { encodeSocketAddress } from '../../src/capture/socket-address.ts';
import { createSocketPool } from '../../src/capture/socket-pool.ts';
import * as c from '../../src/native/constants.ts';
import { loadNative, type Native } from '../../src/native/native.ts';
import { waitFor } from '../support/wait.ts';

const native = loadNative();
const PORT = 24_310;
const everywhere: Endpoint = { decoy: 'a', port: PORT, address: undefined };
const other: Endpoint = { decoy: 'b', port: PORT + 1, address: undefined };

/** TCP_DEFER_ACCEPT */
const TEN_SECONDS = Buffer.from(Int32Array.of(10).buffer);

interface Opened {
  readonly address?: string;
  readonly family?: 4 | 6;
  readonly port?: number;
  /** Of all addresses: whether IPv4 is taken, too. */
  readonly isDual?: boolean;
  readonly listens?: boolean;
}

/** A blocking socket, as whoever opens sockets for others may leave it. */
function openSocket(context: TestContext, options: Opened = {}): number {
  const {
    address: text,
    family = text?.includes(':') === false ? 4 : 6,
    isDual = false,
    port = PORT,
  } = options;
  const fd = native.socket(family === 4 ? c.AF_INET : c.AF_INET6, c.SOCK_STREAM, 0);
  context.after(() => native.close(fd));
  const one = Buffer.from(Int32Array.of(1).buffer);
  native.setsockopt(fd, c.SOL_SOCKET, c.SO_REUSEADDR, one, 4);
  if (family === 6) {
    const v6Only = Buffer.from(Int32Array.of(isDual ? 0 : 1).buffer);
    native.setsockopt(fd, c.IPPROTO_IPV6, c.IPV6_V6ONLY, v6Only, 4);
  }
  const name = encodeSocketAddress(family, port, text === undefined ? undefined : parseAddress(text));
  assert.equal(native.bind(fd, name, name.length), 0, `errno ${native.errno()}`);
  if (options.listens !== false) assert.equal(native.listen(fd, 128), 0);
  return fd;
}

/** Listeners on real sockets, and what they accept. */
function start(context: TestContext, fds: readonly number[], calls: Native = native) {
  const connections: Connection[] = [];
  const said: unknown[] = [];
  const acceptor = createAcceptor({
    native: calls,
    onConnections: (batch) => void connections.push(...batch),
    onTrouble: (errno) => said.push(['trouble', errno]),
  });
  context.after(acceptor.close);
  const pool = createSocketPool({
    native: calls,
    fds,
    onUnusable: (unusable) => said.push(['unusable', ...unusable]),
    onIdle: (ports) => said.push(['idle', ...ports]),
    onDiscarded: (port, count) => said.push(['discarded', port, count]),
  });
  return { listeners: createListeners(calls, acceptor, pool), connections, said };
}

/** Whether somebody takes the connection, and ends it. */
async function knock(port: number, host = '127.0.0.1'): Promise<void> {
  const socket = connect({ port, host });
  socket.resume();
  await once(socket, 'close');
}

/** A connection that nobody takes. */
async function queue(context: TestContext, port: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => {});
  context.after(() => socket.destroy());
  await once(socket, 'connect');
}

test('a port that came as a socket is listened on with it, and each knock has its SYN', async (context) => {
  const fd = openSocket(context, { isDual: true });
  const { listeners, connections, said } = start(context, [fd]);
  listeners.replace([everywhere]);
  await knock(PORT);
  await knock(PORT, '::1');
  assert.deepEqual(
    connections.map(({ src, fromCookie, decoy }) => [src, fromCookie, decoy]),
    [
      ['127.0.0.1', false, 'a'],
      ['::1', false, 'a'],
    ],
  );
  assert.deepEqual(said, []);
});

test('who was in the queue of a socket before it was ours has no SYN that proves him', async (context) => {
  const fd = openSocket(context, { isDual: true });
  await queue(context, PORT);
  const { listeners, connections } = start(context, [fd]);
  listeners.replace([everywhere]);
  await waitFor(() => connections.length === 1, { deadlineMs: 5000, what: 'the connection' });
  assert.equal(connections[0]?.fromCookie, true);
});

const PLACES: readonly (readonly [title: string, sockets: readonly Opened[]])[] = [
  ['one socket for each family', [{ address: '0.0.0.0' }, { address: '::' }]],
  ['a socket of IPv4, and opens IPv6 itself', [{ address: '0.0.0.0' }]],
  ['a socket of IPv6 alone, and opens IPv4 itself', [{ address: '::' }]],
];

for (const [title, sockets] of PLACES) {
  test(`a decoy on all addresses takes ${title}`, async (context) => {
    const fds = sockets.map((options) => openSocket(context, options));
    const { listeners, connections, said } = start(context, fds);
    listeners.replace([everywhere]);
    listeners.replace([{ ...everywhere, decoy: 'renamed' }]);
    await knock(PORT);
    await knock(PORT, '::1');
    assert.deepEqual(
      connections.map(({ src, decoy }) => [src, decoy]),
      [
        ['127.0.0.1', 'renamed'],
        ['::1', 'renamed'],
      ],
    );
    assert.deepEqual(said, []);
  });
}

test('who sends nothing is accepted at once, although the socket would wait for data', async (context) => {
  const fd = openSocket(context, { isDual: true });
  native.setsockopt(fd, c.IPPROTO_TCP, c.TCP_DEFER_ACCEPT, TEN_SECONDS, 4);
  const { listeners, connections } = start(context, [fd]);
  listeners.replace([everywhere]);
  await queue(context, PORT);
  await waitFor(() => connections.length === 1, { deadlineMs: 3000, what: 'the connection' });
});

test('a socket of both families is not used for a decoy on all of IPv6 alone', (context) => {
  const fd = openSocket(context, { isDual: true });
  const { listeners } = start(context, [fd]);
  assert.throws(() => listeners.replace([{ ...everywhere, address: '::' }]), ListenErrors);
  listeners.replace([everywhere]);
});

test('an address is matched as it is written, and other ports are opened as ever', async (context) => {
  const fds = [openSocket(context, { address: '127.0.0.1' }), openSocket(context, { address: '::1' })];
  const { listeners, connections, said } = start(context, fds);
  listeners.replace([{ ...everywhere, address: '127.0.0.1' }, other]);
  assert.deepEqual(said, [['idle', PORT]]);
  await knock(PORT);
  await knock(other.port);
  assert.deepEqual(
    connections.map(({ decoy }) => decoy),
    ['a', 'b'],
  );
});

test('a socket whose port is no decoy is said once, and one that comes back begins anew', async (context) => {
  const { listeners, connections, said } = start(context, [openSocket(context, { isDual: true })]);
  listeners.replace([everywhere]);
  listeners.replace([other]);
  listeners.replace([{ ...other, decoy: 'c' }]);
  assert.deepEqual(said, [['idle', PORT]]);
  await queue(context, PORT);
  listeners.replace([everywhere]);
  assert.deepEqual(said.slice(1), [['discarded', PORT, 1]]);
  await knock(PORT);
  assert.equal(connections.length, 1, 'only who came to a decoy is recorded');
  assert.equal(connections[0]?.fromCookie, false);
  listeners.replace([other]);
  assert.deepEqual(said.at(-1), ['idle', PORT], 'said again');
});

test('a reload that fails leaves a listener with its socket and its queue', async (context) => {
  const { listeners, connections, said } = start(context, [openSocket(context, { isDual: true })]);
  listeners.replace([everywhere]);
  const foreign = { decoy: 'c', port: PORT, address: '192.0.2.1' };
  assert.throws(() => listeners.replace([foreign, other]), ListenErrors);
  assert.deepEqual(said, []);
  await knock(PORT);
  assert.equal(connections.length, 1);
});

test('the socket stays open when the listener is closed, and keeps who comes then', async (context) => {
  const fd = openSocket(context, { isDual: true });
  const first = start(context, [fd]);
  const acceptor = createAcceptor({ native, onConnections: () => {}, onTrouble: () => {} });
  const pool = createSocketPool({ native, fds: [fd], onUnusable() {}, onIdle() {}, onDiscarded() {} });
  createListeners(native, acceptor, pool).replace([everywhere]);
  acceptor.close();
  await queue(context, PORT);
  first.listeners.replace([everywhere]);
  await waitFor(() => first.connections.length === 1, { deadlineMs: 5000, what: 'the connection' });
  assert.equal(first.connections[0]?.fromCookie, false, 'its SYN was saved');
});

test('what is no listening TCP socket is said, and never used', (context) => {
  const file = openSync('/dev/null', 'r');
  context.after(() => closeSync(file));
  const unix = native.socket(c.AF_UNIX, c.SOCK_DGRAM, 0);
  context.after(() => native.close(unix));
  const silent = openSocket(context, { listens: false });
  const { said } = start(context, [file, unix, silent, 60_000]);
  assert.deepEqual(said, [['unusable', file, unix, silent, 60_000]]);
});

test('sockets that we were started with are no program’s', (context) => {
  const fd = openSocket(context, { isDual: true });
  assert.equal(native.fcntl(fd, 1, 0), 0);
  const socket = readInheritedSocket(native, fd);
  assert.deepEqual(socket, { fd, address: '::', port: PORT, isDual: true });
  assert.equal(native.fcntl(fd, 1, 0), c.FD_CLOEXEC);
});

test('sixty thousand sockets are looked through in no time', (context) => {
  const ports = Array.from({ length: 60_000 }, (_, index) => index + 1);
  // one socket, as it would be at each of the ports
  const fd = openSocket(context, { isDual: true });
  const getsockname: Native['getsockname'] = (asked, address, length) => {
    const result = native.getsockname(fd, address, length);
    address.set([asked >> 8, asked & 255], 2);
    return result;
  };
  const calls: Native = {
    ...native,
    getsockname,
    fcntl: () => 0,
    getsockopt: (_, ...args) => native.getsockopt(fd, ...args),
  };
  const pool = createSocketPool({
    native: calls,
    fds: ports,
    onUnusable() {},
    onIdle() {},
    onDiscarded() {},
  });
  for (const port of ports) assert.equal(pool.take({ decoy: 'a', port, address: undefined })[0]?.port, port);
});

test('ports: unused never listens on a socket that came, which cannot take what the kernel hands over', (context) => {
  const fd = openSocket(context, { isDual: true });
  const { listeners, said } = start(context, [fd]);
  const isTaken = (error: unknown) =>
    error instanceof ListenErrors && error.errors[0]?.errno === c.ERRNO.EADDRINUSE;
  assert.throws(() => listeners.replace([{ ...everywhere, isTransparent: true }]), isTaken);
  listeners.replace([{ ...everywhere, port: PORT + 1, isTransparent: true }]);
  assert.deepEqual(said, [['idle', PORT]]);
});
