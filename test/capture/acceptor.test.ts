import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createAcceptor } from '../../src/capture/acceptor.ts';
import { type Connection, NOT_KEPT } from '../../src/capture/connection.ts';
import { ListenError, type Listener, openListener } from '../../src/capture/listener.ts';
import { socketAddressPort } from '../../src/capture/socket-address.ts';
import { ERRNO } from '../../src/native/constants.ts';
import { endConnection } from '../../src/native/end-connection.ts';
import { loadNative, type Native } from '../../src/native/native.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { waitFor } from '../support/wait.ts';

const native = loadNative();

interface Capture {
  readonly connections: Connection[];
  readonly troubles: number[];
  /** Times that accept4 was called, and that the event loop found connections waiting. */
  readonly accepts: () => number;
  readonly turns: () => number;
  readonly port: number;
  readonly listener: Listener;
}

/** A real listener on a free port of loopback; accept4 fails with each of `errnos` in turn before it is let through. */
function capture(
  context: TestContext,
  errnos: (call: number) => number | undefined = () => undefined,
): Capture {
  let accepts = 0;
  let turns = 0;
  let forged: number | undefined;
  const faulty: Native = {
    ...native,
    accept4(...args) {
      accepts += 1;
      forged = errnos(accepts);
      return forged === undefined ? native.accept4(...args) : -1;
    },
    errno: () => forged ?? native.errno(),
    pollReadable: (fd, onReadable) =>
      native.pollReadable(fd, () => {
        turns += 1;
        onReadable();
      }),
  };
  const connections: Connection[] = [];
  const troubles: number[] = [];
  const acceptor = createAcceptor({
    native: faulty,
    onConnections: (batch) => connections.push(...batch),
    onTrouble: (errno) => troubles.push(errno),
  });
  context.after(() => acceptor.close());
  const listener = openListener(native, { decoy: 'test', port: 0, address: '127.0.0.1' });
  acceptor.add(listener);
  return {
    connections,
    troubles,
    accepts: () => accepts,
    turns: () => turns,
    port: portOf(listener),
    listener,
  };
}

function portOf({ fd }: Listener): number {
  const name = Buffer.alloc(28);
  native.getsockname(fd, name, new Uint8Array(Int32Array.of(28).buffer));
  return socketAddressPort(name);
}

/** Connects and waits for the other side to end; resolves with the own port. */
function knock(port: number, send = ''): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket: Socket = createConnection({ port, host: '127.0.0.1' });
    let own = 0;
    socket.on('connect', () => {
      own = socket.localPort!;
      if (send !== '') socket.write(send);
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(own));
    socket.resume();
  });
}

test('a connection is given with both ends, and ends with FIN', async (context) => {
  const { connections, port } = capture(context);
  const own = await knock(port);
  const [{ time, dpt, fingerprint, ...connection }] = connections as [Connection];
  assert.deepEqual(connection, {
    src: '127.0.0.1',
    spt: own,
    dst: '127.0.0.1',
    decoy: 'test',
    fromCookie: false,
    fd: NOT_KEPT,
    proxy: undefined,
  });
  assert.equal(dpt, 0, 'the port is the configured one');
  assert.ok(Math.abs(Date.now() - time) < 60_000);
  assert.match(fingerprint!.syn, /^mss:\d+,/);
});

test('a connection of a listener that keeps them stays open and is handed over with its descriptor', async (context) => {
  const { connections, port, listener } = capture(context);
  listener.endpoint = { ...listener.endpoint, keepsOpen: true };
  let ended = false;
  const knocking = knock(port).then(() => {
    ended = true;
  });
  await waitFor(() => connections.length === 1, { deadlineMs: 5000, what: 'the connection' });
  const [{ fd }] = connections as [Connection];
  assert.equal(native.send(fd, Buffer.from('hello'), 5, 0), 5);
  assert.ok(!ended, 'it is open');
  endConnection(native, fd);
  await knocking;
});

test('without a descriptor to spare nothing is kept open, however the listener is', async (context) => {
  // the first call finds no room, the second one takes the place of the spare descriptor
  const { connections, port, listener } = capture(context, (call) => (call === 1 ? ERRNO.EMFILE : undefined));
  listener.endpoint = { ...listener.endpoint, keepsOpen: true };
  await knock(port);
  assert.equal(connections[0]!.fd, NOT_KEPT);
});

test('what a peer sent before it was accepted does not turn the end into a reset', async (context) => {
  const { connections, port } = capture(context);
  await Promise.all(Array.from({ length: 50 }, () => knock(port, 'x'.repeat(10_000))));
  assert.equal(connections.length, 50);
});

test('a libuv pool whose threads all hang delays nothing', async (context) => {
  const { connections, port } = capture(context);
  const fifo = join(temporaryDirectory(context), 'fifo');
  execFileSync('mkfifo', [fifo]);
  // opening a FIFO hangs until its other end is opened; the pool has four threads by default
  const hung = Array.from({ length: 8 }, () => open(fifo, 'r'));
  await knock(port);
  assert.equal(connections.length, 1);
  const writer = openSync(fifo, constants.O_RDWR);
  for (const handle of await Promise.all(hung)) await handle.close();
  closeSync(writer);
});

// https://man7.org/linux/man-pages/man2/accept.2.html#ERRORS
const PASSING = [
  'ECONNABORTED',
  'EINTR',
  'EPROTO',
  'ENETDOWN',
  'ENOPROTOOPT',
  'EHOSTUNREACH',
  'EOPNOTSUPP',
  'ENETUNREACH',
  'EPERM',
  'ETIMEDOUT',
] as const;

for (const name of PASSING) {
  test(`after ${name} the next connection is accepted`, async (context) => {
    const { connections, port, troubles } = capture(context, (call) => (call <= 3 ? ERRNO[name] : undefined));
    await knock(port);
    assert.equal(connections.length, 1);
    assert.deepEqual(troubles, []);
  });
}

for (const name of ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EPROTO'] as const) {
  test(`while ${name} lasts, accepting waits instead of spinning, says so once, and loses nobody`, async (context) => {
    let broken = true;
    const { connections, port, troubles, accepts, turns } = capture(context, () =>
      broken ? ERRNO[name] : undefined,
    );
    const knocks = Array.from({ length: 5 }, () => knock(port));
    await waitFor(() => troubles.length > 0, { deadlineMs: 5000, what: 'the trouble to be told' });
    const before = { accepts: accepts(), turns: turns() };
    const start = performance.now();
    await waitFor(() => performance.now() - start > 500, { deadlineMs: 5000, what: 'half a second' });
    // a turn every 100 ms, with as many tries as errors in a row are borne
    assert.ok(turns() - before.turns <= 7, `${turns() - before.turns} turns in half a second`);
    assert.ok(accepts() - before.accepts <= 70 * 7, `${accepts() - before.accepts} calls in half a second`);
    broken = false;
    await Promise.all(knocks);
    assert.equal(connections.length, 5);
    assert.deepEqual(troubles, [ERRNO[name]]);
  });
}

test('what is queued on a listener that is removed is accepted first', async (context) => {
  const connections: Connection[] = [];
  const acceptor = createAcceptor({
    native,
    onConnections: (batch) => connections.push(...batch),
    onTrouble: () => assert.fail(),
  });
  context.after(() => acceptor.close());
  const listener = openListener(native, { decoy: 'test', port: 0, address: '127.0.0.1' });
  const knocks = Array.from({ length: 20 }, () => knock(portOf(listener)));
  // not yet given to the acceptor, so they can only wait in the kernel's queue
  await waitFor(() => queued(listener) === 20, { deadlineMs: 5000, what: '20 queued connections' });
  acceptor.add(listener);
  acceptor.remove(listener);
  assert.equal(connections.length, 20);
  await Promise.all(knocks);
});

test('a listener that is removed is closed before its last batch is written, which takes time', async (context) => {
  const order: string[] = [];
  const listener = openListener(native, { decoy: 'test', port: 0, address: '127.0.0.1' });
  const noting: Native = {
    ...native,
    close(fd) {
      if (fd === listener.fd) order.push('listener closed');
      return native.close(fd);
    },
  };
  const onConnections = () => order.push('batch written');
  const acceptor = createAcceptor({ native: noting, onConnections, onTrouble: () => assert.fail() });
  context.after(() => acceptor.close());
  const done = knock(portOf(listener));
  await waitFor(() => queued(listener) === 1, { deadlineMs: 5000, what: 'a queued connection' });
  acceptor.add(listener);
  acceptor.remove(listener);
  assert.deepEqual(order, ['listener closed', 'batch written']);
  await done;
});

/** tcpi_unacked of a listening socket is the length of its accept queue. */
function queued({ fd }: Listener): number {
  const info = Buffer.alloc(104);
  native.getsockopt(fd, 6, 11, info, new Uint8Array(Int32Array.of(info.length).buffer));
  return info.readUInt32LE(24);
}

test('where the host has no IPv6, all addresses are those of IPv4', async (context) => {
  const families: number[] = [];
  const withoutIpv6: Native = {
    ...native,
    socket(family, type, protocol) {
      families.push(family);
      return family === 10 ? -1 : native.socket(family, type, protocol);
    },
    errno: () => ERRNO.EAFNOSUPPORT,
  };
  const listener = openListener(withoutIpv6, { decoy: 'test', port: 0, address: undefined });
  context.after(() => native.close(listener.fd));
  assert.deepEqual(families, [10, 2]);
});

test('a refused listening socket is closed again and tells its errno', () => {
  const taken = openListener(native, { decoy: 'test', port: 0, address: '127.0.0.1' });
  const port = portOf(taken);
  const closed: number[] = [];
  const watching: Native = { ...native, close: (fd) => closed.push(fd) && native.close(fd) };
  const open = () => openListener(watching, { decoy: 'test', port, address: '127.0.0.1' });
  assert.throws(open, (error) => error instanceof ListenError && error.errno === ERRNO.EADDRINUSE);
  assert.equal(closed.length, 1);
  native.close(taken.fd);
});
