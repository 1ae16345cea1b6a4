import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { SyslogReceiver } from '../../src/configuration/configuration.ts';
import type { Event } from '../../src/event.ts';
import { loadNative } from '../../src/native/native.ts';
import { openSyslog, type SyslogOptions } from '../../src/sinks/syslog.ts';
import { temporaryDirectory } from '../support/directory.ts';
import {
  idsOf,
  type Receiver,
  type ReceiverOptions,
  startDatagramReceiver,
  startReceiver,
} from '../support/receiver.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 10_000;
const socketOptions = loadNative();

/** Waits are short, so that the tests are; what they are for stays the same. */
const TIMING = {
  firstRetryMs: 20,
  longestRetryMs: 50,
  connectMs: 2000,
  steadyMs: 100,
  trialMs: 20,
  closeMs: 1000,
};

function eventAt(n: number): Event {
  const ends = { src: '198.51.100.7', spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' };
  return { kind: 'connect', time: Date.now(), ...ends, id: `x.${n}` };
}

function idsUpTo(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, index) => `x.${from + index}`);
}

const RECEIVER = {
  format: 'rfc5424',
  facility: 'local0',
  framing: 'octet-counting',
  enterprise: 32473,
  tls: {},
} as const;

function tcpTo(port: number): SyslogReceiver {
  return {
    ...RECEIVER,
    address: `tcp://127.0.0.1:${port}`,
    target: { wire: 'tcp', host: '127.0.0.1', port },
  };
}

/** A sink with everything that it said; closed when the test ends. */
function openSink(context: TestContext, receiver: SyslogReceiver, options: Partial<SyslogOptions> = {}) {
  const said: string[] = [];
  const lost: number[] = [];
  const untold: number[] = [];
  const sink = openSyslog({
    receiver,
    origin: { sensor: 'web-1', pid: 812, version: '0.1.0' },
    maxWaiting: 100_000,
    socketOptions,
    onTrouble: (reason) => said.push(`trouble: ${reason}`),
    onRecovery: () => said.push('recovery'),
    onLost: (events) => lost.push(events),
    onClosed: (events) => untold.push(events),
    ...options,
    timing: { ...TIMING, ...options.timing },
  });
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= sink.close());
  context.after(close);
  let count = 0;
  const send = (events: number) => {
    for (let n = 0; n < events; n++) sink.write(eventAt(++count));
    sink.flush();
  };
  return { sink, said, lost, untold, close, send };
}

async function receive(context: TestContext, options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = await startReceiver(options);
  context.after(() => receiver.stop());
  return receiver;
}

function waitForIds(receiver: { readonly messages: readonly string[] }, ids: readonly string[]) {
  return waitFor(
    () => {
      const found = new Set(idsOf(receiver.messages));
      return ids.every((id) => found.has(id));
    },
    {
      deadlineMs: DEADLINE_MS,
      what: () => `${ids.length} events; ${new Set(idsOf(receiver.messages)).size} are there`,
    },
  );
}

for (const framing of ['octet-counting', 'lf'] as const) {
  test(`tcp with ${framing} has every event once, in order`, async (context) => {
    const receiver = await receive(context, { framing });
    const { send, said } = openSink(context, { ...tcpTo(receiver.port), framing });
    for (let batch = 0; batch < 100; batch++) send(10);
    await waitForIds(receiver, idsUpTo(1000));
    assert.deepEqual(idsOf(receiver.messages), idsUpTo(1000));
    assert.deepEqual(said, []);
  });

  test(`a unix stream socket with ${framing} has every event once, in order`, async (context) => {
    const path = join(temporaryDirectory(context), 'socket');
    const receiver = await receive(context, { framing, path });
    const { send } = openSink(context, {
      ...RECEIVER,
      framing,
      address: `unix://${path}`,
      target: { wire: 'unix', path },
    });
    send(1000);
    await waitForIds(receiver, idsUpTo(1000));
    assert.deepEqual(idsOf(receiver.messages), idsUpTo(1000));
  });
}

test('a host name is what /etc/hosts says', async (context) => {
  const receiver = await receive(context);
  const { send } = openSink(context, {
    ...tcpTo(receiver.port),
    target: { wire: 'tcp', host: 'localhost', port: receiver.port },
  });
  send(1);
  await waitForIds(receiver, ['x.1']);
});

test('udp has every event in a datagram of its own', async (context) => {
  const receiver = await startDatagramReceiver();
  context.after(() => receiver.stop());
  const target = { wire: 'udp', host: 'localhost', port: receiver.port } as const;
  const { send } = openSink(context, {
    ...RECEIVER,
    address: 'udp://localhost:514',
    target: { ...target, host: '127.0.0.1' },
  });
  send(1000);
  await waitForIds(receiver, idsUpTo(1000));
  assert.deepEqual(idsOf(receiver.messages), idsUpTo(1000));
});

test('nothing is sent during write and flush: the batch of connections ends first', async (context) => {
  const receiver = await receive(context);
  const { sink, send } = openSink(context, tcpTo(receiver.port));
  send(1);
  await waitForIds(receiver, ['x.1']);
  let formatted = 0;
  const get = (target: Event, key: string) => {
    if (key === 'src') formatted += 1;
    return Reflect.get(target, key);
  };
  for (const count of [1, 100]) {
    const before = formatted;
    for (let n = 0; n < count; n++) sink.write(new Proxy(eventAt(100 * count + n), { get }));
    sink.flush();
    assert.equal(formatted, before);
    await waitForIds(receiver, idsUpTo(count, 100 * count));
  }
});

test('events wait for a receiver that is not there yet', async (context) => {
  const first = await receive(context);
  await first.stop();
  const { send, said } = openSink(context, tcpTo(first.port));
  send(500);
  await waitFor(() => said.length > 0, { deadlineMs: DEADLINE_MS, what: 'the trouble to be said' });
  const receiver = await receive(context, { port: first.port });
  await waitForIds(receiver, idsUpTo(500));
  await waitFor(() => said.length > 1, { deadlineMs: DEADLINE_MS, what: 'the recovery to be said' });
  assert.deepEqual(said, [`trouble: connect ECONNREFUSED 127.0.0.1:${first.port}`, 'recovery']);
  assert.deepEqual(idsOf(receiver.messages), idsUpTo(500));
});

test('a receiver that restarts again and again lacks nothing, and repeats bear the same id', async (context) => {
  let receiver = await receive(context);
  const { port } = receiver;
  const { send, lost } = openSink(context, tcpTo(port));
  const all: string[] = [];
  for (let round = 0; round < 5; round++) {
    send(200);
    await waitFor(() => receiver.messages.length >= 50, { deadlineMs: DEADLINE_MS, what: 'some events' });
    await receiver.stop();
    all.push(...receiver.messages);
    send(100);
    receiver = await receive(context, { port });
  }
  await waitFor(() => new Set(idsOf([...all, ...receiver.messages])).size === 1500, {
    deadlineMs: DEADLINE_MS,
    what: 'all events',
  });
  assert.deepEqual(lost, []);
});

test('what a receiver had not read when it reset the connection is sent again', async (context) => {
  let unread = true;
  const receiver = await receive(context, {
    read: false,
    onConnection: (socket) => {
      if (!unread) socket.on('data', (bytes: Buffer) => receiver.take(socket, bytes));
    },
  });
  const { send } = openSink(context, tcpTo(receiver.port));
  send(300);
  await waitFor(() => receiver.connections === 1, { deadlineMs: DEADLINE_MS, what: 'a connection' });
  unread = false;
  await receiver.reset();
  await waitForIds(receiver, idsUpTo(300));
});

test('a receiver that takes nothing costs no time, and gets everything once it reads', async (context) => {
  const paused: Socket[] = [];
  const receiver = await receive(context, { read: false, onConnection: (socket) => paused.push(socket) });
  const { send, said } = openSink(context, tcpTo(receiver.port));
  for (let batch = 0; batch < 200; batch++) {
    send(100);
    await new Promise(setImmediate);
  }
  const [socket] = paused;
  socket!.on('data', (bytes: Buffer) => receiver.take(socket!, bytes));
  await waitForIds(receiver, idsUpTo(20_000));
  assert.equal(receiver.connections, 1);
  assert.deepEqual(said, []);
});

test('what has no room is counted, and told once there is room again', async (context) => {
  const first = await receive(context);
  await first.stop();
  const { send, lost, untold, close } = openSink(context, tcpTo(first.port), { maxWaiting: 1000 });
  send(1700);
  const receiver = await receive(context, { port: first.port });
  await waitForIds(receiver, idsUpTo(1000));
  await waitFor(() => lost.length > 0, { deadlineMs: DEADLINE_MS, what: 'the loss to be told' });
  assert.deepEqual(lost, [700]);
  send(1);
  await waitForIds(receiver, ['x.1701']);
  await close();
  assert.deepEqual(untold, [0]);
  assert.equal(new Set(idsOf(receiver.messages)).size, 1001);
});

test('a loss that goes on is told now and then', async (context) => {
  const first = await receive(context);
  await first.stop();
  const { send, lost } = openSink(context, tcpTo(first.port), { maxWaiting: 10, timing: { tellMs: 20 } });
  send(15);
  await waitFor(() => lost.length === 1, { deadlineMs: DEADLINE_MS, what: 'the first loss' });
  send(4);
  await waitFor(() => lost.length === 2, { deadlineMs: DEADLINE_MS, what: 'the second loss' });
  assert.deepEqual(lost, [5, 4]);
});

test('a receiver that breaks the connection over one message does not keep the others from it', async (context) => {
  const poison = 'id="x.3"';
  const receiver = await receive(context, {
    read: false,
    onConnection: (socket) => {
      socket.on('data', (bytes: Buffer) => {
        if (bytes.includes(poison)) socket.resetAndDestroy();
        else receiver.take(socket, bytes);
      });
    },
  });
  const { send, lost } = openSink(context, tcpTo(receiver.port), { timing: { tellMs: 20 } });
  send(5);
  await waitFor(() => receiver.connections > 3, { deadlineMs: DEADLINE_MS, what: 'some connections' });
  send(5);
  await waitForIds(receiver, idsUpTo(5, 6));
  await waitFor(() => lost.length > 0, { deadlineMs: DEADLINE_MS, what: 'the loss to be told' });
  // the five are one batch, and nobody can tell which of them it was
  assert.deepEqual(lost, [5]);
});

test('a receiver that answers with garbage is left alone, and tried anew when it goes on', async (context) => {
  let bytes = 1000;
  const receiver = await receive(context, {
    onConnection: (socket) => void socket.write(Buffer.alloc(bytes, '?')),
  });
  const { send, said } = openSink(context, tcpTo(receiver.port));
  send(1);
  await waitForIds(receiver, ['x.1']);
  assert.deepEqual([said, receiver.connections], [[], 1]);
  bytes = 100_000;
  // by then the connection has come to something
  await new Promise((resolve) => setTimeout(resolve, 100));
  await receiver.reset();
  await waitFor(() => receiver.connections > 3, { deadlineMs: DEADLINE_MS, what: 'new attempts' });
  assert.deepEqual(said, ['trouble: it answers as no syslog receiver does']);
  bytes = 0;
  send(1);
  await waitForIds(receiver, ['x.2']);
});

test('a receiver that half-closes is noticed, though it had sent something before', async (context) => {
  let polite = false;
  const receiver = await receive(context, {
    onConnection: (socket) => {
      if (!polite) socket.end('bye');
      polite = true;
    },
  });
  const { send } = openSink(context, tcpTo(receiver.port));
  await waitFor(() => receiver.connections === 2, { deadlineMs: DEADLINE_MS, what: 'a second connection' });
  send(3);
  await waitForIds(receiver, idsUpTo(3));
});

test('an idle connection that ends repeats nothing of what was sent long before', async (context) => {
  const receiver = await receive(context);
  const { send } = openSink(context, tcpTo(receiver.port), { timing: { keepSentMs: 50 } });
  send(10);
  await waitForIds(receiver, idsUpTo(10));
  await new Promise((resolve) => setTimeout(resolve, 100));
  await receiver.reset();
  await waitFor(() => receiver.connections === 2, { deadlineMs: DEADLINE_MS, what: 'a second connection' });
  send(1);
  await waitForIds(receiver, ['x.11']);
  assert.deepEqual(idsOf(receiver.messages), idsUpTo(11));
});

test('closing sends what waits and ends the connection in order', async (context) => {
  const ends: string[] = [];
  const receiver = await receive(context, {
    onConnection: (socket) => socket.on('end', () => ends.push('end')).on('error', () => ends.push('reset')),
  });
  const { send, close, untold } = openSink(context, tcpTo(receiver.port));
  send(5000);
  await close();
  await waitFor(() => ends.length > 0, { deadlineMs: DEADLINE_MS, what: 'the end of the connection' });
  assert.deepEqual(idsOf(receiver.messages), idsUpTo(5000));
  assert.deepEqual([ends, untold], [['end'], [0]]);
});

test('closing does not wait for a receiver that is away, and counts what it lacks', async (context) => {
  const receiver = await receive(context);
  await receiver.stop();
  const { send, close, untold, said } = openSink(context, tcpTo(receiver.port), {
    maxWaiting: 10,
    timing: { closeMs: 3_600_000 },
  });
  send(15);
  await waitFor(() => said.length > 0, { deadlineMs: DEADLINE_MS, what: 'the trouble to be said' });
  void close();
  await waitFor(() => untold.length > 0, { deadlineMs: DEADLINE_MS, what: 'the end' });
  assert.deepEqual(untold, [15]);
});

test('closing gives a receiver that takes nothing a bounded time', async (context) => {
  const receiver = await receive(context, { read: false });
  const { send, close, untold } = openSink(context, tcpTo(receiver.port), { timing: { closeMs: 50 } });
  await waitFor(() => receiver.connections === 1, { deadlineMs: DEADLINE_MS, what: 'a connection' });
  await new Promise((resolve) => setTimeout(resolve, 20));
  send(50_000);
  await close();
  // the kernels' buffers have room for some thousands, and nothing else takes any
  assert.ok(untold[0]! > 30_000 && untold[0]! <= 50_000, `${untold}`);
});

test('a name that does not resolve is trouble, not the end', async (context) => {
  const target = { wire: 'tcp', host: 'no-such-host.invalid', port: 514 } as const;
  const { said } = openSink(context, { ...RECEIVER, address: 'tcp://no-such-host.invalid:514', target });
  await waitFor(() => said.length > 0, { deadlineMs: DEADLINE_MS, what: 'the trouble to be said' });
  assert.match(said[0]!, /^trouble: the host name no-such-host\.invalid does not resolve \(E[A-Z]+\)$/);
});

test('a changed sensor name and bound count from then on', async (context) => {
  const receiver = await receive(context);
  const { sink, send, lost } = openSink(context, tcpTo(receiver.port));
  send(1);
  await waitForIds(receiver, ['x.1']);
  sink.change({ origin: { sensor: 'web-2', pid: 812, version: '0.1.0' }, maxWaiting: 10 });
  send(1);
  await waitForIds(receiver, ['x.2']);
  send(15);
  await waitFor(() => lost.length > 0, { deadlineMs: DEADLINE_MS, what: 'the loss to be told' });
  assert.deepEqual(lost, [5]);
  assert.deepEqual(
    receiver.messages.slice(0, 2).map((message) => message.split(' ')[2]),
    ['web-1', 'web-2'],
  );
});

test('messages that wait have a bound in bytes, too', async (context) => {
  const first = await receive(context);
  await first.stop();
  const { sink, lost } = openSink(context, tcpTo(first.port), { timing: { tellMs: 20 } });
  const text = '\\'.repeat(512);
  const { kind: _, ...ends } = eventAt(1) as Extract<Event, { kind: 'connect' }>;
  for (let n = 0; n < 40_000 && lost.length === 0; n++) {
    sink.write({ kind: 'data', ...ends, bytes: 512, guess: 'unknown', text });
    sink.flush();
    if (n % 16 === 0) await new Promise(setImmediate);
  }
  await waitFor(() => lost.length > 0, {
    deadlineMs: DEADLINE_MS,
    what: 'a loss, below the bound of events',
  });
});

test('where datagrams go is asked anew now and then, and none is lost or sent twice for it', async (context) => {
  const receiver = await startDatagramReceiver();
  context.after(() => receiver.stop());
  const target = { wire: 'udp', host: 'localhost', port: receiver.port } as const;
  const address = 'udp://localhost:514';
  const { send } = openSink(context, { ...RECEIVER, address, target }, { timing: { addressMs: 30 } });
  for (let batch = 1; batch <= 10; batch++) {
    send(20);
    await waitForIds(receiver, idsUpTo(20 * batch));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(idsOf(receiver.messages), idsUpTo(200));
  assert.notEqual(receiver.senders.size, 1);
});

test('a proxy before a receiver that is away costs no event, and is said once', async (context) => {
  let away = true;
  const receiver = await receive(context, {
    onConnection: (socket) => {
      if (away) socket.destroy();
    },
  });
  const { send, said, lost } = openSink(context, tcpTo(receiver.port), { timing: { tellMs: 20 } });
  for (let n = 0; n < 50; n++) {
    send(2);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await waitFor(() => receiver.connections > 10, { deadlineMs: DEADLINE_MS, what: 'ten connections' });
  away = false;
  await waitForIds(receiver, idsUpTo(100));
  await waitFor(() => said.length > 1, { deadlineMs: DEADLINE_MS, what: 'the recovery to be said' });
  assert.deepEqual([said.length, lost], [2, []]);
});

test('a receiver that ends idle connections has everything once, and nobody hears of it', async (context) => {
  const receiver = await receive(context, {
    onConnection: (socket) => {
      socket.setTimeout(60, () => socket.end());
    },
  });
  const timing = { keepSentToOrderlyMs: 30 };
  const { send, said, lost } = openSink(context, tcpTo(receiver.port), { timing });
  for (let n = 1; n <= 5; n++) {
    send(1);
    await waitForIds(receiver, [`x.${n}`]);
    const before = receiver.connections;
    await waitFor(() => receiver.connections > before, { deadlineMs: DEADLINE_MS, what: 'a new connection' });
  }
  assert.deepEqual(idsOf(receiver.messages), idsUpTo(5));
  assert.deepEqual([said, lost], [[], []]);
});

test('that a receiver lacks events is none that it lacks', async (context) => {
  const first = await receive(context);
  await first.stop();
  const { sink, send, lost } = openSink(context, tcpTo(first.port), {
    maxWaiting: 1,
    timing: { tellMs: 20 },
  });
  send(3);
  await waitFor(() => lost.length === 1, { deadlineMs: DEADLINE_MS, what: 'the loss to be told' });
  sink.write({ kind: 'suppressed', time: 0, id: 'x.4', count: 2, reason: 'queue', receiver: 'tcp://a:1' });
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.deepEqual(lost, [2]);
});

test('texts that wait to be formatted count by their length', async (context) => {
  const first = await receive(context);
  await first.stop();
  const { sink, lost } = openSink(context, tcpTo(first.port), { timing: { tellMs: 20 } });
  const text = 'x'.repeat(65_536);
  const { kind: _, ...ends } = eventAt(1) as Extract<Event, { kind: 'connect' }>;
  for (let n = 0; n < 2000; n++) sink.write({ kind: 'data', ...ends, bytes: 65_536, guess: 'unknown', text });
  sink.flush();
  await waitFor(() => lost.length > 0, { deadlineMs: DEADLINE_MS, what: 'the loss to be told' });
  assert.deepEqual(lost, [2000 - 1024]);
});
