import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createCapturedBytes } from '../../src/conversation/captured-bytes.ts';

test('of any stream, however it is cut, the first bytes are kept, and no more', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3000 }),
      fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 12 }),
      (most, chunks) => {
        const captured = createCapturedBytes(most);
        for (const chunk of chunks) captured.add(chunk);
        const all = Buffer.concat(chunks);
        assert.deepEqual(Buffer.from(captured.bytes), all.subarray(0, most));
        assert.equal(captured.room, Math.max(0, most - all.length));
      },
    ),
  );
});

test('what was taken is a copy', () => {
  const captured = createCapturedBytes(10);
  const chunk = Uint8Array.of(1, 2, 3);
  captured.add(chunk);
  chunk.fill(9);
  assert.deepEqual([...captured.bytes], [1, 2, 3]);
});
