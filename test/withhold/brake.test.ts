import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createBrake } from '../../src/withhold/brake.ts';

const WINDOW_MS = 1000;

function startBrake(sources: number) {
  const told: (string | number)[] = [];
  const brake = createBrake({
    sources,
    windowMs: WINDOW_MS,
    onHold: () => told.push('hold'),
    onRelease: (connections) => told.push(connections),
  });
  return { brake, told, lets: (source: string | number, now: number) => brake.lets(addressOf(source), now) };
}

const addressOf = (source: string | number) =>
  typeof source === 'string' ? source : `10.0.${source >> 8}.${source & 255}`;

test('exactly as many distinct sources as wanted pass within the window, and the rest are held', () => {
  for (const sources of [1, 2, 200]) {
    const { lets } = startBrake(sources);
    const passed = Array.from({ length: sources * 3 }, (_, n) => lets(n, n)).filter(Boolean).length;
    assert.equal(passed, sources);
  }
});

test('any number of connections of a few sources pass', () => {
  const { lets, told } = startBrake(2);
  for (let n = 0; n < 1000; n++) assert.ok(lets(n % 2, n));
  assert.deepEqual(told, []);
});

test('a source that passed keeps passing in a crowd while it keeps coming', () => {
  const { lets } = startBrake(3);
  assert.ok(lets(0, 0));
  for (let n = 1; n < 100; n++) {
    lets(n, n * 10);
    assert.ok(lets(0, n * 10 + 5));
  }
});

test('a source passes once the window is over since all but as many as wanted came', () => {
  const { lets } = startBrake(2);
  assert.ok(lets(1, 0));
  assert.ok(lets(2, 10));
  assert.ok(!lets(3, WINDOW_MS));
  const later = startBrake(2);
  assert.ok(later.lets(1, 0));
  assert.ok(later.lets(2, 10));
  assert.ok(later.lets(3, WINDOW_MS + 1));
});

test('a source that was held passes once it is alone, though it never stopped coming', () => {
  const { lets, told } = startBrake(1);
  assert.ok(lets(1, 0));
  assert.ok(!lets(2, 100));
  for (let now = 600; now <= WINDOW_MS; now += 400) assert.ok(!lets(2, now));
  assert.ok(lets(2, WINDOW_MS + 1));
  for (let now = 1500; now <= 5000; now += 500) assert.ok(lets(2, now));
  assert.deepEqual(told, ['hold', 3]);
});

test('IPv6 counts per /64, and IPv4 per address', () => {
  const { lets } = startBrake(2);
  assert.ok(lets('2001:db8::1', 0));
  assert.ok(lets('2001:db8::ffff:ffff:ffff:ffff', 1));
  assert.ok(lets('2001:db8:0:1::1', 2));
  assert.ok(!lets('2001:db8:0:2::1', 3));
  assert.ok(lets('2001:db8:0:1::2', 4));
  const ipv4 = startBrake(2);
  assert.deepEqual(
    ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map((source) => ipv4.lets(source, 0)),
    [true, true, false],
  );
});

test('its hold is said once, its release at the first connection after a calm window, with what was held', () => {
  const { lets, told } = startBrake(1);
  lets(1, 0);
  for (let n = 2; n < 7; n++) lets(n, n);
  assert.deepEqual(told, ['hold']);
  lets(1, 6 + WINDOW_MS);
  assert.deepEqual(told, ['hold']);
  assert.ok(lets(9, 6 + 3 * WINDOW_MS));
  assert.deepEqual(told, ['hold', 6]);
  lets(10, 7 + 3 * WINDOW_MS);
  assert.deepEqual(told, ['hold', 6, 'hold']);
});

test('without anything held there is nothing to release', () => {
  const { lets, told } = startBrake(5);
  lets(1, 0);
  lets(1, 10 * WINDOW_MS);
  assert.deepEqual(told, []);
});

/** Everything that ever came, and what the brake promises of the next. */
function createModel(sources: number) {
  const visits: { readonly source: number; readonly at: number; readonly passed: boolean }[] = [];
  return {
    /** Whether a source must pass, must not, or may: one that passed stays so for as long as it is among the latest. */
    expected(source: number, now: number): boolean | undefined {
      const recent = visits.filter(({ at }) => now - at <= WINDOW_MS);
      if (new Set([source, ...recent.map((visit) => visit.source)]).size <= sources) return true;
      const last = recent.findLastIndex((visit) => visit.source === source);
      if (last < 0 || !recent[last]!.passed) return false;
      const since = new Set(recent.slice(last + 1).map((visit) => visit.source));
      return since.size < sources ? true : undefined;
    },
    add: (source: number, at: number, passed: boolean) => visits.push({ source, at, passed }),
  };
}

const visits = fc.array(
  fc.tuple(fc.nat(9), fc.oneof(fc.nat(200), fc.constantFrom(WINDOW_MS, WINDOW_MS + 1))),
  {
    maxLength: 60,
  },
);

test('the brake holds what a count of everything that came within the window would hold', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), visits, (sources, steps) => {
      const { lets } = startBrake(sources);
      const model = createModel(sources);
      let now = 0;
      for (const [source, pause] of steps) {
        now += pause;
        const expected = model.expected(source, now);
        const passed = lets(source, now);
        assert.equal(passed, expected ?? passed, `source ${source} at ${now}`);
        model.add(source, now, passed);
      }
    }),
    { numRuns: 1000 },
  );
});

test('no more sources are kept than may pass', (context) => {
  let largest = 0;
  const set = Map.prototype.set;
  context.mock.method(
    Map.prototype,
    'set',
    function (this: Map<unknown, unknown>, key: unknown, value: unknown) {
      const result = set.call(this, key, value);
      largest = Math.max(largest, this.size);
      return result;
    },
  );
  for (const sources of [1, 2, 100]) {
    largest = 0;
    const { lets } = startBrake(sources);
    for (let n = 0; n < 1000; n++) lets((n * 37) % 500, n * 150);
    assert.equal(largest, sources);
  }
});

test('a clock that was set back lets go what it would hold for ever', () => {
  const { lets } = startBrake(2);
  const hour = 3_600_000;
  assert.deepEqual(
    [1, 2, 3].map((source) => lets(source, hour)),
    [true, true, false],
  );
  assert.deepEqual(
    [4, 5, 6].map((source) => lets(source, 0)),
    [true, true, false],
  );
});
