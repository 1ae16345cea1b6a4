import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import * as c from '../../src/native/constants.ts';
import { loadNative, type Native } from '../../src/native/native.ts';
import { createServiceManager, takeServiceEnvironment } from '../../src/system/service-manager.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { waitFor } from '../support/wait.ts';

const native = loadNative();
const OWN = String(process.pid);
const NOTHING = { notifySocket: undefined, watchdogMs: undefined, socketFds: [] };

test('what systemd says is taken out of the environment, and nothing else', () => {
  const environment = {
    PATH: '/usr/bin',
    NOTIFY_SOCKET: '/run/systemd/notify',
    WATCHDOG_USEC: '30000000',
    WATCHDOG_PID: OWN,
    LISTEN_PID: OWN,
    LISTEN_PIDFDID: '1',
    LISTEN_FDS: '2',
    LISTEN_FDNAMES: 'honeyport:honeyport',
  };
  assert.deepEqual(takeServiceEnvironment(environment), {
    notifySocket: '/run/systemd/notify',
    watchdogMs: 30_000,
    socketFds: [3, 4],
  });
  assert.deepEqual(environment, { PATH: '/usr/bin' });
});

test('what is meant for another process is taken out, and not used', () => {
  const environment = { WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1', LISTEN_PID: '1', LISTEN_FDS: '1' };
  assert.deepEqual(takeServiceEnvironment(environment), NOTHING);
  assert.deepEqual(environment, {});
});

test('a watchdog without a process id is meant for whoever reads of it', () => {
  assert.equal(takeServiceEnvironment({ WATCHDOG_USEC: '1500' }).watchdogMs, 1.5);
});

for (const value of ['', '-1', '0', '1e9', 'x', '99999999999999999999']) {
  test(`the number ${JSON.stringify(value)} counts for none`, () => {
    const environment = { WATCHDOG_USEC: value, LISTEN_PID: OWN, LISTEN_FDS: value };
    assert.deepEqual(takeServiceEnvironment(environment), NOTHING);
  });
}

test('more sockets than there can be ports are not looked for', () => {
  const { socketFds } = takeServiceEnvironment({ LISTEN_PID: OWN, LISTEN_FDS: '999999999999' });
  assert.equal(socketFds.length, 262_140);
});

for (const [kind, nameOf] of [
  ['a path', (directory: string) => join(directory, 'notify')],
  ['an abstract name', (directory: string) => `@${directory}/notify`],
] as const) {
  test(`states are told to ${kind}, in their order`, (context) => {
    const socket = listen(context, nameOf(temporaryDirectory(context)));
    const manager = managerFor(context, socket.name);
    manager.ready('1 decoy, 1 port\nFDSTORE=1');
    manager.reloading();
    manager.ready('2 decoys');
    manager.stopping();
    manager.ready('too late');
    const messages = socket.messages();
    assert.match(messages[1] ?? '', /^RELOADING=1\nMONOTONIC_USEC=[0-9]+$/);
    assert.deepEqual(messages.toSpliced(1, 1), [
      'READY=1\nSTATUS=1 decoy, 1 port FDSTORE=1',
      'READY=1\nSTATUS=2 decoys',
      'STOPPING=1\nSTATUS=stopping',
    ]);
  });
}

test('signs of life come by themselves until it is closed', async (context) => {
  const directory = temporaryDirectory(context);
  const [first, second] = ['first', 'second'].map((name) => listen(context, join(directory, name))) as [
    NotifySocket,
    NotifySocket,
  ];
  const manager = managerFor(context, first.name, { watchdogMs: 30 });
  managerFor(context, second.name, { watchdogMs: 30 });
  await signs(first, 2);
  manager.close();
  first.messages();
  await signs(second, 5);
  assert.deepEqual(first.messages(), []);
});

async function signs(socket: NotifySocket, count: number): Promise<void> {
  const seen: string[] = [];
  const isThere = () =>
    seen.push(...socket.messages().filter((message) => message === 'WATCHDOG=1')) >= count;
  await waitFor(isThere, { deadlineMs: 10_000, what: `${count} signs of life` });
}

test('a state that finds the socket full is told when there is room', async (context) => {
  const socket = listen(context, join(temporaryDirectory(context), 'notify'));
  let isFull = true;
  const sendto: Native['sendto'] = (...args) => (isFull ? -1 : native.sendto(...args));
  const errno = () => (isFull ? c.ERRNO.EAGAIN : native.errno());
  const manager = managerFor(context, socket.name, {}, { ...native, sendto, errno });
  manager.ready('first');
  manager.reloading();
  assert.deepEqual(socket.messages(), []);
  isFull = false;
  const told: string[] = [];
  await waitFor(() => told.push(...socket.messages()) >= 2, { deadlineMs: 10_000, what: 'both states' });
  assert.match(told.join(' '), /^READY=1\nSTATUS=first RELOADING=1/);
});

for (const name of [
  undefined,
  '',
  'relative',
  '/nobody/listens/here',
  '@',
  'vsock:2:1',
  `/${'x'.repeat(200)}`,
]) {
  test(`nothing fails where the socket is ${JSON.stringify(name)?.slice(0, 30)}`, (context) => {
    const manager = managerFor(context, name, { watchdogMs: 1000 });
    manager.ready('x');
    manager.reloading();
    manager.stopping();
  });
}

function managerFor(context: TestContext, notifySocket: string | undefined, more = {}, calls = native) {
  const manager = createServiceManager(calls, { ...NOTHING, notifySocket, ...more });
  context.after(() => manager.close());
  return manager;
}

type NotifySocket = ReturnType<typeof listen>;

/** A datagram socket, as systemd's is. */
function listen(context: TestContext, name: string) {
  const fd = native.socket(c.AF_UNIX, c.SOCK_DGRAM | c.SOCK_CLOEXEC | c.SOCK_NONBLOCK, 0);
  context.after(() => native.close(fd));
  const address = Buffer.concat([Uint8Array.of(c.AF_UNIX, 0), Buffer.from(name.replace(/^@/, '\0'))]);
  assert.equal(native.bind(fd, address, address.length), 0);
  return { name, messages: () => [...received(fd)] };
}

function* received(fd: number): Iterable<string> {
  const buffer = Buffer.alloc(4096);
  for (;;) {
    const length = native.recv(fd, buffer, buffer.length, 0);
    if (length < 0) return;
    yield buffer.toString('latin1', 0, length);
  }
}
