import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PortRange } from '../../src/configuration/ports.ts';
import { createCoveringRanges } from '../../src/throttle/covering-ranges.ts';

function rangesOf(ports: Iterable<number>, most?: number): (readonly [number, number])[] {
  const ranges = createCoveringRanges(most);
  for (const port of ports) ranges.add(port);
  return ranges.ranges.map(({ first, last }) => [first, last]);
}

/** The ranges that exactly these ports are. */
function exactRanges(ports: readonly number[]): [number, number][] {
  const ranges: [number, number][] = [];
  for (const port of [...new Set(ports)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.[1] === port - 1) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges;
}

/** Port by port: what is covered, and after each port the narrowest hole filled, the lowest first, until few are left. */
function slowRanges(ports: readonly number[], most: number): [number, number][] {
  const covered = new Set<number>();
  for (const port of ports) {
    covered.add(port);
    const ranges = exactRanges([...covered]);
    if (ranges.length <= most) continue;
    const holes = ranges.slice(1).map(([first], at) => ({ from: ranges[at]![1] + 1, to: first - 1 }));
    const narrowest = holes.reduce((a, b) => (b.to - b.from < a.to - a.from ? b : a));
    for (let hole = narrowest.from; hole <= narrowest.to; hole++) covered.add(hole);
  }
  return exactRanges([...covered]);
}

const covers = (ranges: readonly PortRange[], port: number) =>
  ranges.some(({ first, last }) => first <= port && port <= last);

test('without a port there is no range', () => {
  assert.deepEqual(rangesOf([]), []);
});

test('ports side by side are one range, in whatever order they come', () => {
  assert.deepEqual(rangesOf([23, 22, 25, 24, 22]), [[22, 25]]);
  assert.deepEqual(rangesOf([25, 22, 80, 23]), [
    [22, 23],
    [25, 25],
    [80, 80],
  ]);
});

test('the lowest and the highest port are ports like others', () => {
  assert.deepEqual(rangesOf([65_535, 0, 1, 65_534]), [
    [0, 1],
    [65_534, 65_535],
  ]);
  assert.deepEqual(rangesOf([65_535, 0], 1), [[0, 65_535]]);
});

test('64 ranges are exact, and one more joins the two that are nearest', () => {
  const ports = Array.from({ length: 64 }, (_, n) => 1000 + 10 * n);
  const exact = ports.map((port) => [port, port]);
  assert.deepEqual(rangesOf(ports), exact);
  assert.deepEqual(rangesOf([...ports, 1504]), [...exact.slice(0, 50), [1500, 1504], ...exact.slice(51)]);
});

test('ranges as near as each other are joined from the lowest', () => {
  assert.deepEqual(rangesOf([10, 20, 30], 2), [
    [10, 20],
    [30, 30],
  ]);
});

test('what is joined makes room for a new range only beyond it', () => {
  assert.deepEqual(rangesOf([10, 20, 30, 15, 40], 2), [
    [10, 30],
    [40, 40],
  ]);
});

test('a list that was asked for does not change with later ports', () => {
  const ranges = createCoveringRanges();
  ranges.add(22);
  const before = ranges.ranges;
  ranges.add(23);
  assert.deepEqual(before, [{ first: 22, last: 22 }]);
});

const port = fc.oneof(
  fc.integer({ min: 0, max: 40 }),
  fc.integer({ min: 0, max: 65_535 }),
  fc.integer({ min: 65_500, max: 65_535 }),
);
const ports = fc.array(port, { maxLength: 60 });

test('the ranges are exact as long as there were never too many', () => {
  fc.assert(
    fc.property(ports, (all) => assert.deepEqual(rangesOf(all), exactRanges(all))),
    { numRuns: 500 },
  );
});

test('any ports are covered by no more ranges than may be, ascending and apart', () => {
  fc.assert(
    fc.property(ports, fc.integer({ min: 1, max: 6 }), (all, most) => {
      const covering = createCoveringRanges(most);
      for (const one of all) covering.add(one);
      const { ranges } = covering;
      assert.ok(ranges.length <= most, `${ranges.length} ranges`);
      for (const one of all) assert.ok(covers(ranges, one), `port ${one} is left out`);
      for (const { first, last } of ranges) assert.ok(first <= last, `${first}-${last} falls`);
      for (const [at, { first }] of ranges.slice(1).entries()) {
        assert.ok(first > ranges[at]!.last + 1, `range ${at + 1} touches the one before`);
      }
    }),
    { numRuns: 500 },
  );
});

test('the ranges are those that filling the narrowest hole, port by port, would leave', () => {
  const low = fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 40 });
  fc.assert(
    fc.property(low, fc.integer({ min: 1, max: 6 }), (all, most) =>
      assert.deepEqual(rangesOf(all, most), slowRanges(all, most)),
    ),
    { numRuns: 500 },
  );
});
