import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createBackOff } from '../../src/back-off.ts';
import { createBatchQueue } from '../../src/sinks/batch-queue.ts';
import { type Batch, pack } from '../../src/sinks/wire.ts';

const batchOf = (...messages: string[]) => pack(messages, 'lf');
const textOf = (batch: Batch | undefined) => batch?.bytes.toString('latin1');

test('what was sent and not forgotten waits again, before what waits', () => {
  const queue = createBatchQueue();
  for (const text of ['a', 'b', 'c']) queue.add(batchOf(text, text));
  assert.equal(textOf(queue.take(100)), 'a\na\n');
  assert.equal(textOf(queue.take(200)), 'b\nb\n');
  assert.deepEqual([queue.waiting, queue.waitingBytes], [2, 4]);
  queue.forgetSentBefore(200);
  queue.sendAgain();
  assert.deepEqual([queue.waiting, queue.waitingBytes], [4, 8]);
  assert.deepEqual([queue.take(300), queue.take(300), queue.take(300)].map(textOf), [
    'b\nb\n',
    'c\nc\n',
    undefined,
  ]);
});

test('a batch that is blamed five times is given up and counted, and no other', () => {
  const queue = createBatchQueue();
  queue.add(batchOf('a', 'b', 'c'));
  queue.add(batchOf('d'));
  for (let blames = 1; blames <= 5; blames++) {
    assert.equal(textOf(queue.take(0)), 'a\nb\nc\n');
    queue.sendAgain();
    assert.equal(queue.blameFirst(), blames === 5 ? 3 : 0);
  }
  assert.deepEqual([queue.waiting, queue.waitingBytes], [1, 2]);
  assert.equal(textOf(queue.take(0)), 'd\n');
  assert.equal(queue.blameFirst(), 0);
});

test('no more than eight mebibytes of what was sent are kept', () => {
  const queue = createBatchQueue();
  for (let n = 0; n < 100; n++) queue.add(batchOf('x'.repeat(1 << 20)));
  while (queue.waiting > 0) queue.take(0);
  queue.sendAgain();
  assert.equal(queue.waiting, 7);
});

test('no more than ten thousand sent messages are kept', () => {
  const queue = createBatchQueue();
  for (let n = 1; n <= 30_000; n += 10)
    queue.add(batchOf(...Array.from({ length: 10 }, (_, m) => `${n + m}`)));
  while (queue.waiting > 0) queue.take(0);
  queue.sendAgain();
  assert.equal(queue.waiting, 10_000);
  assert.match(textOf(queue.take(0))!, /^20001\n/);
});

test('whatever is done to it, a queue is as a plain list with a mark', () => {
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: 1, max: 900 }) }),
    fc.record({ take: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ forget: fc.integer({ min: 0, max: 60 }) }),
    fc.constant({ again: true }),
  );
  interface Model {
    readonly name: string;
    readonly size: number;
    readonly at: number;
  }
  const sizeOf = (list: readonly Model[]) => list.reduce((sum, { size }) => sum + size, 0);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = createBatchQueue();
      let sent: Model[] = [];
      let waiting: Model[] = [];
      let added = 0;
      for (const [now, action] of steps.entries()) {
        if ('add' in action) {
          added += 1;
          queue.add(batchOf(...Array.from({ length: action.add }, () => `${added}`)));
          waiting.push({ name: `${added}`, size: action.add, at: 0 });
        } else if ('take' in action) {
          for (let n = 0; n < action.take; n++) {
            const wanted = waiting.shift();
            assert.equal(textOf(queue.take(now))?.split('\n')[0], wanted?.name);
            if (wanted === undefined) break;
            sent.push({ ...wanted, at: now });
            while (sizeOf(sent) > 10_000 && sent.length > 1) sent.shift();
          }
        } else if ('forget' in action) {
          queue.forgetSentBefore(action.forget);
          while (sent.length > 0 && sent[0]!.at < action.forget) sent.shift();
        } else {
          queue.sendAgain();
          waiting = [...sent, ...waiting];
          sent = [];
        }
        assert.equal(queue.waiting, sizeOf(waiting));
        assert.equal(
          queue.waitingBytes,
          waiting.reduce((sum, { name, size }) => sum + (name.length + 1) * size, 0),
        );
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
  const packed = (framing: 'octet-counting' | 'lf' | 'datagram') => {
    const { bytes, ends } = pack(['<1>a b', '<1>c'], framing);
    return [bytes.toString('latin1'), ...ends];
  };
  assert.deepEqual(packed('octet-counting'), ['6 <1>a b4 <1>c', 8, 14]);
  assert.deepEqual(packed('lf'), ['<1>a b\n<1>c\n', 7, 12]);
  assert.deepEqual(packed('datagram'), ['<1>a b<1>c', 6, 10]);
});
