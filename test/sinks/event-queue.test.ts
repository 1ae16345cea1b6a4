import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Event } from '../../src/event.ts';
import { createBackOff } from '../../src/sinks/back-off.ts';
import { createEventQueue } from '../../src/sinks/event-queue.ts';
import { frame } from '../../src/sinks/wire.ts';

function eventAt(n: number): Event {
  return { kind: 'stop', time: 0, signal: 'SIGTERM', id: `x.${n}` };
}

const idsOf = (events: readonly Event[]) => events.map(({ id }) => id);

test('what was sent and not forgotten waits again, before what waits', () => {
  const queue = createEventQueue();
  for (let n = 1; n <= 5; n++) queue.add(eventAt(n));
  assert.deepEqual(idsOf(queue.take(2, 100)), ['x.1', 'x.2']);
  assert.deepEqual(idsOf(queue.take(2, 200)), ['x.3', 'x.4']);
  assert.equal(queue.waiting, 1);
  queue.forgetSentBefore(200);
  assert.equal(queue.sendAgain(), 0);
  assert.equal(queue.waiting, 3);
  assert.deepEqual(idsOf(queue.take(9, 300)), ['x.3', 'x.4', 'x.5']);
});

test('what was sent ten times is given up and counted', () => {
  const queue = createEventQueue();
  queue.add(eventAt(1));
  for (let sends = 1; sends <= 10; sends++) {
    assert.deepEqual(idsOf(queue.take(9, 0)), ['x.1']);
    assert.equal(queue.sendAgain(), sends === 10 ? 1 : 0);
  }
  assert.equal(queue.waiting, 0);
});

test('no more than ten thousand sent events are kept', () => {
  const queue = createEventQueue();
  for (let n = 1; n <= 30_000; n++) queue.add(eventAt(n));
  while (queue.waiting > 0) queue.take(32, 0);
  queue.sendAgain();
  assert.equal(queue.waiting, 10_000);
  assert.deepEqual(idsOf(queue.take(1, 0)), ['x.20001']);
});

test('whatever is done to it, a queue is as a plain list with a mark', () => {
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ take: fc.integer({ min: 1, max: 3000 }) }),
    fc.record({ forget: fc.integer({ min: 0, max: 30 }) }),
    fc.constant({ again: true }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const queue = createEventQueue();
      let sent: { id: string; at: number; sends: number }[] = [];
      let waiting: { id: string; sends: number }[] = [];
      let count = 0;
      for (const [now, action] of steps.entries()) {
        if ('add' in action) {
          for (let n = 0; n < action.add; n++) {
            queue.add(eventAt(++count));
            waiting.push({ id: `x.${count}`, sends: 0 });
          }
        } else if ('take' in action) {
          const taken = waiting.splice(0, action.take);
          assert.deepEqual(
            idsOf(queue.take(action.take, now)),
            taken.map(({ id }) => id),
          );
          sent = [...sent, ...taken.map(({ id, sends }) => ({ id, at: now, sends: sends + 1 }))].slice(
            -10_000,
          );
        } else if ('forget' in action) {
          queue.forgetSentBefore(action.forget);
          sent = sent.filter(({ at }) => at >= action.forget);
        } else {
          const again = sent.filter(({ sends }) => sends < 10);
          assert.equal(queue.sendAgain(), sent.length - again.length);
          waiting = [...again, ...waiting];
          sent = [];
        }
        assert.equal(queue.waiting, waiting.length);
      }
    }),
  );
});

test('waits double up to the longest, each between half of it and the whole', () => {
  const waits = (random: number) => {
    const backOff = createBackOff({ firstMs: 1000, longestMs: 5000, random: () => random });
    const first = [backOff.next(), backOff.next(), backOff.next(), backOff.next(), backOff.next()];
    backOff.reset();
    return [...first, backOff.next()];
  };
  assert.deepEqual(waits(0), [500, 1000, 2000, 2500, 2500, 500]);
  assert.deepEqual(waits(1), [1000, 2000, 4000, 5000, 5000, 1000]);
});

test('messages are framed as RFC 6587 and RFC 5425 have it', () => {
  assert.equal(frame(['<1>a b', '<1>c'], 'octet-counting'), '6 <1>a b4 <1>c');
  assert.equal(frame(['<1>a b', '<1>c'], 'lf'), '<1>a b\n<1>c\n');
});
