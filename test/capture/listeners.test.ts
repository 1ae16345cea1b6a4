import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Acceptor } from '../../src/capture/acceptor.ts';
import type { Endpoint, Listener } from '../../src/capture/listener.ts';
import { createListeners, ListenErrors } from '../../src/capture/listeners.ts';
import { ERRNO } from '../../src/native/constants.ts';
import { loadNative, type Native } from '../../src/native/native.ts';

const native = loadNative();
const PORT = 24_300;
const everywhere: Endpoint = { decoy: 'a', port: PORT, address: undefined };
const loopback: Endpoint = { decoy: 'a', port: PORT, address: '127.0.0.1' };
const other: Endpoint = { decoy: 'b', port: PORT + 1, address: undefined };
/** TEST-NET-1, which no host has. */
const foreign = (port: number): Endpoint => ({ decoy: 'c', port, address: '192.0.2.1' });

/** Real sockets, and an acceptor that only notes which listeners it has. */
function createSet(context: TestContext, faults: Partial<Native> = {}) {
  const held = new Set<Listener>();
  const acceptor: Acceptor = {
    add: (listener) => held.add(listener),
    remove: (listener) => held.delete(listener) && native.close(listener.fd),
    close: () => {},
  };
  context.after(() => {
    for (const { fd } of held) native.close(fd);
  });
  const endpoints = () => [...held].map(({ endpoint }) => endpoint);
  return { listeners: createListeners({ ...native, ...faults }, acceptor), held: endpoints, raw: held };
}

test('a listener that stays is not touched, and takes the name of its new decoy', (context) => {
  const { listeners, held, raw } = createSet(context);
  listeners.replace([everywhere, other]);
  const before = [...raw][0];
  listeners.replace([{ ...everywhere, decoy: 'renamed' }]);
  assert.deepEqual(held(), [{ ...everywhere, decoy: 'renamed' }]);
  assert.equal([...raw][0], before);
});

test('a port moves from all addresses to one and back', (context) => {
  const { listeners, held } = createSet(context);
  for (const endpoint of [everywhere, loopback, everywhere]) {
    listeners.replace([endpoint]);
    assert.deepEqual(held(), [endpoint]);
  }
});

test('all or nothing: when one port cannot be listened on, the listeners are those of before', (context) => {
  const { listeners, held } = createSet(context);
  listeners.replace([everywhere]);
  assert.throws(() => listeners.replace([other, foreign(PORT + 2)]), ListenErrors);
  assert.deepEqual(held(), [everywhere]);
  assert.throws(() => listeners.replace([foreign(PORT), other]), ListenErrors);
  assert.deepEqual(held(), [everywhere]);
  // nothing was left open in the attempts
  listeners.replace([other]);
  assert.deepEqual(held(), [other]);
});

test('a port that somebody else takes while it moves in vain is an error beside the first, and no crash', (context) => {
  let taken = false;
  const bind: Native['bind'] = (...args) => (taken ? -1 : native.bind(...args));
  const errno = () => (taken ? ERRNO.EADDRINUSE : native.errno());
  const { listeners, held } = createSet(context, { bind, errno });
  listeners.replace([everywhere, other]);
  taken = true;
  const isExpected = (error: unknown) => error instanceof ListenErrors && error.errors.length === 2;
  assert.throws(() => listeners.replace([loopback, other]), isExpected);
  assert.deepEqual(held(), [other]);
  taken = false;
  listeners.replace([everywhere, other]);
  assert.deepEqual(
    held().toSorted((a, b) => a.port - b.port),
    [everywhere, other],
  );
});
