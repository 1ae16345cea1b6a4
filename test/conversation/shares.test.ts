import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createShares } from '../../src/conversation/shares.ts';

test('who gives way is the oldest of a source that has more than its share, never one of who asks', () => {
  const action = fc.record({ add: fc.boolean(), source: fc.constantFrom('a', 'b', 'c'), which: fc.nat(9) });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(action, { maxLength: 60 }), (share, actions) => {
      const shares = createShares<object>(share);
      const model = new Map<string, object[]>([
        ['a', []],
        ['b', []],
        ['c', []],
      ]);
      for (const { add, source, which } of actions) {
        const items = model.get(source)!;
        if (add) {
          const item = {};
          items.push(item);
          shares.add(source, item);
        } else if (items.length > 0) {
          const [gone] = items.splice(which % items.length, 1);
          shares.remove(source, gone!);
        }
        for (const asking of ['a', 'b', 'c', 'd']) {
          const may = [...model].filter(([name, has]) => name !== asking && has.length > share);
          const oldest = shares.oldestBeyondShare(asking);
          const expected = may.map(([, has]) => has[0]);
          assert.ok(may.length === 0 ? oldest === undefined : expected.includes(oldest), asking);
        }
      }
    }),
  );
});
