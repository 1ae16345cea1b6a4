import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { type TestContext, test } from 'node:test';
import { createGuard } from '../../src/guard/guard.ts';
import type { LoginSession } from '../../src/native/native.ts';

const sessionFrom = (remoteHost: string): LoginSession => ({ state: 'active', class: 'user', remoteHost });

/** A guard of this host whose sessions are the test's, and which looks again when the test says so. */
function startGuard(context: TestContext) {
  let look = () => {};
  const told: string[] = [];
  context.mock.method(globalThis, 'setInterval', (run: () => void, milliseconds: number) => {
    assert.equal(milliseconds, 2000);
    look = run;
    const timer = { unref: () => timer };
    return timer;
  });
  context.mock.method(globalThis, 'clearInterval', () => {
    look = () => {};
  });
  const source = { sessions: (): LoginSession[] => [] };
  const guard = createGuard({
    logindSessions: () => source.sessions(),
    onChange: () => told.push('change'),
    onTrouble: (message) => told.push(message),
  });
  const sourcesOf = (kind: string) =>
    guard.findings.allowed
      .filter((allowed) => allowed.source === `guard:${kind}`)
      .map(({ network }) => network.text);
  return { guard, source, told, look: () => look(), sourcesOf };
}

test('loopback is guarded as a whole, and own addresses are guarded and translators', (context) => {
  const { guard, sourcesOf } = startGuard(context);
  assert.deepEqual(sourcesOf('loopback'), ['127.0.0.0/8', '::1/128']);
  const own = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal }) => !internal);
  assert.equal(sourcesOf('own').length, own.length);
  for (const { address } of own.filter(({ family }) => family === 'IPv4')) {
    assert.ok(sourcesOf('own').includes(`${address}/32`), address);
    assert.ok(guard.findings.translators.has(address), address);
  }
  assert.ok(!guard.findings.translators.has('127.0.0.1'));
  for (const bridge of guard.findings.bridges) assert.ok(guard.findings.translators.has(bridge), bridge);
});

test('somebody who logs in is guarded at the next look, and no longer once he has left', (context) => {
  const { source, told, look, sourcesOf } = startGuard(context);
  const before = sourcesOf('session');
  source.sessions = () => [sessionFrom('198.51.100.7')];
  assert.deepEqual(sourcesOf('session'), before);
  look();
  assert.deepEqual(sourcesOf('session'), ['198.51.100.7/32', ...before]);
  look();
  assert.deepEqual(told, ['change']);
  source.sessions = () => [];
  look();
  assert.deepEqual(sourcesOf('session'), before);
  assert.deepEqual(told, ['change', 'change']);
});

test('a part that cannot be read keeps what it said, and is told once until it can be read again', (context) => {
  const { source, told, look, sourcesOf } = startGuard(context);
  source.sessions = () => [sessionFrom('198.51.100.7')];
  look();
  const failing = (): never => {
    throw new Error('no bus');
  };
  source.sessions = failing;
  look();
  look();
  assert.ok(sourcesOf('session').includes('198.51.100.7/32'));
  const trouble = 'the guard cannot read the logged-in sessions: no bus';
  assert.deepEqual(told, ['change', trouble]);
  source.sessions = () => [sessionFrom('198.51.100.7')];
  look();
  source.sessions = failing;
  look();
  assert.deepEqual(told, ['change', trouble, trouble]);
});

test('a closed guard looks no more and keeps its findings', (context) => {
  const { guard, source, told, look, sourcesOf } = startGuard(context);
  guard.close();
  source.sessions = () => [sessionFrom('198.51.100.7')];
  look();
  assert.deepEqual(told, []);
  assert.equal(sourcesOf('loopback').length, 2);
});
