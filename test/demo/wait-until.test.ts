import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitUntil } from '../../src/demo/wait-until.ts';

const never = () => undefined;

test('it returns what is found, also when that is false or empty', async () => {
  let looks = 0;
  const { signal: interruption } = new AbortController();
  const options = { what: 'it', timeoutMs: 10_000, interruption };
  assert.equal(await waitUntil(() => (++looks < 3 ? undefined : ''), options), '');
  assert.equal(looks, 3);
});

test('when the time is over it says what it waited for', async () => {
  const { signal: interruption } = new AbortController();
  await assert.rejects(waitUntil(never, { what: 'the end of the world', timeoutMs: 100, interruption }), {
    name: 'UserError',
    message: 'waited 0.1 s for the end of the world',
    exitCode: 1,
  });
});

test('a problem ends the wait', async () => {
  const { signal: interruption } = new AbortController();
  const problem = () => 'it has ended';
  await assert.rejects(waitUntil(never, { what: 'its start', timeoutMs: 60_000, interruption, problem }), {
    message: 'its start: it has ended',
  });
});

test('an interruption ends the wait', async () => {
  const controller = new AbortController();
  const waiting = waitUntil(never, { what: 'it', timeoutMs: 60_000, interruption: controller.signal });
  controller.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
});
