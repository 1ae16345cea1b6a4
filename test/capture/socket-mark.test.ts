import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createAcceptor } from '../../src/capture/acceptor.ts';
import type { Endpoint } from '../../src/capture/listener.ts';
import { createListeners, type Listeners } from '../../src/capture/listeners.ts';
import { encodeSocketAddress } from '../../src/capture/socket-address.ts';
import { markCapability } from '../../src/capture/socket-mark.ts';
import { createSocketPool } from '../../src/capture/socket-pool.ts';
import * as c from '../../src/native/constants.ts';
import { loadNative, type Native } from '../../src/native/native.ts';

const native = loadNative();
const PORT = 24_330;
const MARK = 0x686f6e65;

interface Stage {
  readonly listeners: Listeners;
  /** Marks by descriptor, as the kernel has them. */
  readonly marks: Map<number, number>;
  /** Descriptors of sockets that whoever started us has opened, one for each port. */
  readonly fds: readonly number[];
  /** What the process may from now on. */
  allow(mayMark: boolean): void;
}

/** Real sockets, but for their marks: only root's may be changed. */
function start(context: TestContext, marked: readonly number[]): Stage {
  const fds = marked.map((_, index) => openSocket(context, PORT + index));
  const marks = new Map(marked.map((mark, index) => [fds[index]!, mark]));
  let mayMark = true;
  const calls: Native = {
    ...native,
    setsockopt(fd, level, name, value, length) {
      if (level !== c.SOL_SOCKET || name !== c.SO_MARK)
        return native.setsockopt(fd, level, name, value, length);
      if (!mayMark) return -1;
      marks.set(fd, Buffer.from(value).readUInt32LE());
      return 0;
    },
    getsockopt(fd, level, name, value, length) {
      if (level !== c.SOL_SOCKET || name !== c.SO_MARK)
        return native.getsockopt(fd, level, name, value, length);
      new DataView(value.buffer, value.byteOffset).setUint32(0, marks.get(fd) ?? 0, true);
      return 0;
    },
  };
  const acceptor = createAcceptor({ native: calls, onConnections: () => {}, onTrouble: () => {} });
  context.after(acceptor.close);
  const nothing = () => {};
  const pool = createSocketPool({
    native: calls,
    fds,
    onUnusable: nothing,
    onIdle: nothing,
    onDiscarded: nothing,
  });
  return {
    listeners: createListeners(calls, acceptor, pool),
    marks,
    fds,
    allow: (allowed) => {
      mayMark = allowed;
    },
  };
}

function openSocket(context: TestContext, port: number): number {
  const fd = native.socket(c.AF_INET6, c.SOCK_STREAM, 0);
  context.after(() => native.close(fd));
  const name = encodeSocketAddress(6, port, undefined);
  assert.equal(native.bind(fd, name, name.length), 0, `errno ${native.errno()}`);
  assert.equal(native.listen(fd, 128), 0);
  return fd;
}

const endpoint = (index: number, mark: number | undefined): Endpoint => ({
  decoy: 'a',
  port: PORT + index,
  address: undefined,
  mark,
});

test('Linux asks for CAP_NET_ADMIN before 5.17 and for CAP_NET_RAW since', () => {
  for (const linux of ['4.19.0-27-amd64', '5.4', '5.16.20', '5.14.0-427.el9'])
    assert.equal(markCapability(linux), 'CAP_NET_ADMIN', linux);
  for (const linux of ['5.17.0', '5.17-rc1', '5.100', '6.1.0-18-amd64', '6.18.44', '10.0'])
    assert.equal(markCapability(linux), 'CAP_NET_RAW', linux);
});

test('an inherited socket keeps no mark of an earlier time, be it a decoy or not, and none at the end', (context) => {
  const { listeners, marks, fds } = start(context, [7, 7, 7]);
  listeners.replace([endpoint(0, MARK), endpoint(1, undefined)]);
  assert.deepEqual(
    fds.map((fd) => marks.get(fd)),
    [MARK, 0, 0],
  );
  assert.deepEqual([listeners.lacksMark, listeners.keepsMark], [false, false]);
  listeners.replace([endpoint(0, undefined), endpoint(1, MARK)]);
  assert.deepEqual(
    fds.map((fd) => marks.get(fd)),
    [0, MARK, 0],
  );
  listeners.unmarkInherited();
  assert.deepEqual(
    fds.map((fd) => marks.get(fd)),
    [0, 0, 0],
  );
});

test('a mark that cannot be taken away is told: from a listener, and from a socket that is none', (context) => {
  const { listeners, fds, marks, allow } = start(context, [0, 0]);
  listeners.replace([endpoint(0, MARK), endpoint(1, MARK)]);
  allow(false);
  listeners.replace([endpoint(0, MARK), endpoint(1, undefined)]);
  assert.deepEqual([listeners.lacksMark, listeners.keepsMark], [false, true]);
  listeners.replace([endpoint(0, MARK)]);
  assert.deepEqual([listeners.lacksMark, listeners.keepsMark], [false, true]);
  assert.equal(marks.get(fds[1]!), MARK);
  allow(true);
  listeners.replace([endpoint(0, undefined), endpoint(1, undefined)]);
  assert.deepEqual([listeners.lacksMark, listeners.keepsMark], [false, false]);
});

test('a listener without the mark that it should bear is told', (context) => {
  const { listeners, allow } = start(context, [0]);
  allow(false);
  listeners.replace([endpoint(0, MARK)]);
  assert.deepEqual([listeners.lacksMark, listeners.keepsMark], [true, false]);
  listeners.replace([endpoint(0, undefined)]);
  assert.deepEqual([listeners.lacksMark, listeners.keepsMark], [false, false]);
});
