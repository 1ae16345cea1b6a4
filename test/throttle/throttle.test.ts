import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { Limits } from '../../src/configuration/configuration.ts';
import type { PortRange } from '../../src/configuration/ports.ts';
import { createThrottle, type Summary, type Throttle } from '../../src/throttle/throttle.ts';

const WINDOW_MS = 10_000;
const KINDS = ['connect', 'allowed', 'withheld'] as const;
type Kind = (typeof KINDS)[number];
type LineLimits = Pick<Limits, 'linesPerSource' | 'lines'>;

const perSource = (lines: number, windowMs = WINDOW_MS): LineLimits => ({
  linesPerSource: { lines, windowMs },
  lines: undefined,
});
const overall = (lines: number, windowMs = 1000): LineLimits => ({
  linesPerSource: undefined,
  lines: { lines, windowMs },
});
const both = (ofSource: LineLimits, ofAll: LineLimits): LineLimits => ({
  linesPerSource: ofSource.linesPerSource,
  lines: ofAll.lines,
});

interface Knock {
  readonly kind?: Kind;
  readonly dpt?: number;
  readonly more?: number;
}

function startThrottle(limits: LineLimits, mostSources?: number) {
  const throttle = createThrottle(limits, mostSources === undefined ? {} : { mostSources });
  return {
    throttle,
    knock: (source: number, now: number, { kind = 'connect', dpt = 23, more = 0 }: Knock = {}) =>
      throttle.admit({ src: addressOf(source), dpt }, kind, more, now),
  };
}

const addressOf = (source: number) => `10.${source >> 16}.${(source >> 8) & 255}.${source & 255}`;

const port = (first: number, last = first): PortRange => ({ first, last });
const ofSource = (source: number, count: number, dpt: PortRange[] = [port(23)]): Summary => ({
  src: addressOf(source),
  count,
  dpt,
  reason: 'rate',
});
const withoutSource = (reason: Summary['reason'], count: number): Summary => ({
  src: undefined,
  count,
  dpt: undefined,
  reason,
});
const sum = (summaries: readonly Summary[]) => summaries.reduce((total, { count }) => total + count, 0);

test('the first lines of a source pass at once, and one summary of what is beyond is due after its window', () => {
  const { throttle, knock } = startThrottle(perSource(3));
  for (const now of [100, 100, 101]) assert.equal(knock(1, now), 'line and more');
  for (const [n, dpt] of [22, 24, 23, 80].entries()) assert.equal(knock(1, 200 + n, { dpt }), 'none');
  assert.deepEqual(throttle.due(100 + WINDOW_MS - 1), []);
  assert.deepEqual(throttle.due(100 + WINDOW_MS), [ofSource(1, 4, [port(22, 24), port(80)])]);
  assert.deepEqual(throttle.due(100 + 2 * WINDOW_MS), []);
});

test('a window begins with a connection, and the first one after it begins the next', () => {
  const { throttle, knock } = startThrottle(perSource(1));
  assert.equal(knock(1, 500), 'line and more');
  assert.equal(knock(1, 499 + WINDOW_MS), 'none');
  assert.equal(knock(1, 500 + WINDOW_MS), 'line and more');
  const later = 5000 + 3 * WINDOW_MS;
  assert.equal(knock(1, later), 'line and more');
  assert.equal(knock(1, later + WINDOW_MS - 1), 'none');
  assert.equal(sum(throttle.drain()), 2);
});

test('a window in which nothing was counted is over without a summary', () => {
  const { throttle, knock } = startThrottle(perSource(2));
  knock(1, 0);
  knock(1, 1);
  assert.equal(throttle.nextDue, undefined);
  assert.deepEqual(throttle.due(WINDOW_MS), []);
});

test('each source has its own window, by its exact text', () => {
  const { throttle } = startThrottle(perSource(1));
  const knock = (src: string, now: number) => throttle.admit({ src, dpt: 23 }, 'connect', 0, now);
  const sources = ['192.0.2.1', '192.0.2.11', '2001:db8::1', '2001:db8::2'];
  assert.deepEqual(
    sources.map((source, n) => knock(source, n)),
    sources.map(() => 'line and more'),
  );
  for (const source of sources) assert.equal(knock(source, 10), 'none');
  const counted = throttle.due(WINDOW_MS + 1);
  assert.deepEqual(
    counted.map(({ src, count }) => [src, count]),
    [
      ['192.0.2.1', 1],
      ['192.0.2.11', 1],
    ],
  );
});

test('the first line of each kind passes, however many of another kind a source had', () => {
  const { throttle, knock } = startThrottle(perSource(2));
  for (const [n, kind] of KINDS.entries()) {
    assert.equal(knock(1, n, { kind }), 'line and more');
    for (let times = 0; times < 5; times++) knock(1, n, { kind });
  }
  assert.equal(sum(throttle.drain()), 3 * 6 - 3 - 1);
});

test("the first line of a kind passes in each window, not only in the source's first", () => {
  const { knock } = startThrottle(perSource(1));
  for (const window of [0, 1, 2]) {
    const now = window * WINDOW_MS;
    for (const kind of KINDS) assert.equal(knock(1, now, { kind }), 'line and more');
    for (const kind of KINDS) assert.equal(knock(1, now, { kind }), 'none');
  }
});

test("the first line of a source passes, however much of the lines of all the others' flood took", () => {
  const { throttle, knock } = startThrottle(both(perSource(100), overall(5)));
  for (let n = 0; n < 50; n++) knock(1, n);
  for (const source of [2, 3, 4]) {
    for (const kind of KINDS) assert.equal(knock(source, 60, { kind }), 'line and more');
    assert.equal(knock(source, 60), 'none');
  }
  assert.deepEqual(throttle.drain(), [withoutSource('lines', 45 + 3)]);
});

test('first lines count towards both limits', () => {
  const { throttle, knock } = startThrottle(both(perSource(3), overall(4)));
  for (const kind of KINDS) knock(1, 0, { kind });
  assert.equal(knock(1, 0), 'none');
  assert.equal(knock(2, 0), 'line and more');
  assert.equal(knock(2, 0), 'none');
  assert.deepEqual(throttle.drain(), [ofSource(1, 1), withoutSource('lines', 1)]);
});

test('beyond both limits a connection is counted for its source alone', () => {
  const { throttle, knock } = startThrottle(both(perSource(2), overall(2)));
  for (let n = 0; n < 10; n++) knock(1, n);
  assert.deepEqual(throttle.drain(), [ofSource(1, 8)]);
});

test('what is held for the sake of all takes none of the lines of its source', () => {
  const { knock } = startThrottle(both(perSource(3), overall(1)));
  assert.equal(knock(1, 0), 'line and more');
  for (let n = 0; n < 10; n++) assert.equal(knock(1, 1), 'none');
  assert.equal(knock(2, 1000), 'line and more');
  assert.equal(knock(1, 2000), 'line and more');
  assert.equal(knock(1, 3000), 'line and more');
  assert.equal(knock(1, 4000), 'none');
});

test('the window of all begins with a connection, and its summary is due at its end', () => {
  const { throttle, knock } = startThrottle(both(perSource(100), overall(2)));
  for (let n = 0; n < 5; n++) knock(1, 300);
  assert.equal(throttle.nextDue, 1300);
  assert.equal(knock(1, 1299), 'none');
  assert.deepEqual(throttle.due(1299), []);
  assert.deepEqual(throttle.due(1300), [withoutSource('lines', 4)]);
  assert.equal(throttle.nextDue, undefined);
  assert.equal(knock(1, 1900), 'line and more');
  assert.equal(knock(1, 2899), 'line and more');
  assert.equal(knock(1, 2899), 'none');
  assert.equal(knock(1, 2900), 'line and more');
});

test('further lines of a conversation are paid for at once, or not written', () => {
  const cases: [limits: LineLimits, already: number, more: number, answer: string, left: number][] = [
    [perSource(5), 0, 2, 'line and more', 2],
    [perSource(5), 2, 2, 'line and more', 0],
    [perSource(5), 3, 2, 'line', 1],
    [perSource(5), 4, 2, 'line', 0],
    [perSource(5), 5, 2, 'none', 0],
    [both(perSource(99), overall(5)), 2, 2, 'line and more', 0],
    [both(perSource(99), overall(5)), 3, 2, 'line', 1],
    [both(perSource(99), overall(5)), 5, 2, 'none', 0],
    [both(perSource(5), overall(99)), 3, 2, 'line', 1],
    [overall(5), 3, 2, 'line', 1],
    [perSource(2), 0, 2, 'line', 1],
  ];
  for (const [limits, already, more, answer, left] of cases) {
    const { knock } = startThrottle(limits);
    for (let n = 0; n < already; n++) knock(1, 0);
    const about = `${more} more after ${already} lines`;
    assert.equal(knock(1, 0, { more }), answer, about);
    let passed = 0;
    while (knock(1, 0) !== 'none') passed += 1;
    assert.equal(passed, left, `left after ${about}`);
  }
});

test('a first line beyond a limit passes without the conversation', () => {
  for (const limits of [perSource(1), both(perSource(99), overall(1))]) {
    const { knock } = startThrottle(limits);
    knock(1, 0, { kind: 'allowed' });
    assert.equal(knock(1, 0, { more: 1 }), 'line');
    assert.equal(knock(1, 0, { kind: 'withheld', more: 0 }), 'line and more');
  }
});

test('without limits everything passes, and nothing is kept', (context) => {
  const table = watchTable(context);
  const { throttle, knock } = startThrottle({ linesPerSource: undefined, lines: undefined });
  for (let n = 0; n < 1000; n++) assert.equal(knock(n % 10, n, { more: n % 3 }), 'line and more');
  assert.equal(throttle.nextDue, undefined);
  assert.deepEqual([throttle.due(10 * WINDOW_MS), throttle.drain(), table.largest], [[], [], 0]);
});

test('without a limit for all, any number of sources have their lines', () => {
  const { knock } = startThrottle(perSource(2));
  for (let n = 0; n < 60_000; n++) assert.equal(knock(n % 30_000, 0), 'line and more');
});

test('without a limit for sources, a source has a first line in each window of its own as long as that of all', () => {
  const { throttle, knock } = startThrottle(overall(1, 1000));
  assert.equal(knock(1, 0), 'line and more');
  assert.equal(knock(2, 500), 'line and more');
  assert.equal(knock(3, 1000), 'line and more');
  assert.equal(knock(2, 1499), 'none');
  assert.equal(knock(2, 1500), 'line and more');
  assert.equal(knock(1, 1500), 'line and more');
  assert.equal(knock(3, 1500), 'none');
  assert.deepEqual(throttle.due(1999), []);
  assert.deepEqual(throttle.due(2000), [withoutSource('lines', 2)]);
});

test('a source that comes back before its summary was taken has one for each of its windows', () => {
  const { throttle, knock } = startThrottle(perSource(1));
  for (let n = 0; n < 3; n++) knock(1, 0, { dpt: 22 });
  for (let n = 0; n < 4; n++) knock(1, WINDOW_MS, { dpt: 80 });
  assert.equal(throttle.nextDue, WINDOW_MS);
  assert.deepEqual(throttle.due(2 * WINDOW_MS), [ofSource(1, 2, [port(22)]), ofSource(1, 3, [port(80)])]);
});

test('what was counted for all in a window that is over is due, while the next one goes on', () => {
  const { throttle, knock } = startThrottle(both(perSource(100), overall(1)));
  for (let n = 0; n < 4; n++) knock(1, 0);
  for (let n = 0; n < 3; n++) knock(1, 1500);
  assert.equal(throttle.nextDue, 1500);
  assert.deepEqual(throttle.due(1500), [withoutSource('lines', 3)]);
  assert.equal(throttle.nextDue, 2500);
  assert.deepEqual(throttle.due(2500), [withoutSource('lines', 2)]);
});

test('summaries come in the order in which the windows began, whichever was counted first', () => {
  const { throttle, knock } = startThrottle(perSource(1));
  const sources = Array.from({ length: 50 }, (_, n) => n);
  for (const source of sources) knock(source, source);
  for (const n of sources) knock((n * 37) % 50, 100);
  assert.equal(throttle.nextDue, WINDOW_MS);
  assert.deepEqual(
    throttle.due(WINDOW_MS + 19),
    sources.slice(0, 20).map((source) => ofSource(source, 1)),
  );
  assert.equal(throttle.nextDue, WINDOW_MS + 20);
  assert.deepEqual(
    throttle.drain(),
    sources.slice(20).map((source) => ofSource(source, 1)),
  );
});

test('a drain takes everything, and what comes after it is counted anew', () => {
  const { throttle, knock } = startThrottle(both(perSource(2), overall(3)));
  for (const source of [1, 1, 1, 2, 2, 2]) knock(source, 0);
  assert.deepEqual(throttle.drain(), [ofSource(1, 1), withoutSource('lines', 2)]);
  assert.equal(throttle.nextDue, undefined);
  assert.deepEqual(throttle.drain(), []);
  for (const source of [1, 2, 2]) assert.equal(knock(source, 1, { dpt: 80 }), 'none');
  assert.deepEqual(throttle.due(WINDOW_MS), [ofSource(1, 1, [port(80)]), withoutSource('lines', 2)]);
});

test('the window that began first is forgotten for a new source, and what it counted is due at once', () => {
  const { throttle, knock } = startThrottle(perSource(1), 3);
  for (const source of [1, 2, 3, 3, 1, 1]) knock(source, source);
  assert.equal(throttle.nextDue, 1 + WINDOW_MS);
  assert.equal(knock(4, 10), 'line and more');
  assert.equal(throttle.nextDue, 10);
  assert.deepEqual(throttle.due(10), [ofSource(1, 2)]);
  assert.equal(knock(1, 11), 'line and more', 'it is a new source');
  assert.equal(knock(2, 12), 'line and more', 'it was forgotten for 1');
  assert.deepEqual(throttle.due(12), [ofSource(3, 1)]);
  assert.equal(throttle.nextDue, undefined);
});

test('windows that are over make room before one that is not is forgotten', () => {
  const { throttle, knock } = startThrottle(perSource(1), 2);
  knock(1, 0);
  knock(2, 5000);
  knock(2, 5000);
  knock(3, WINDOW_MS);
  assert.equal(knock(2, WINDOW_MS), 'none');
  assert.deepEqual(throttle.due(WINDOW_MS), []);
});

test('summaries that nobody takes are as many as sources may be, and the rest is one without a source', () => {
  const { throttle, knock } = startThrottle(perSource(1), 4);
  for (let n = 0; n < 400; n++) knock(n >> 2, n);
  assert.deepEqual(throttle.drain(), [
    ...[96, 97, 98, 99].map((source) => ofSource(source, 3)),
    withoutSource('rate', 96 * 3),
  ]);
  assert.deepEqual(throttle.drain(), []);
});

test('a summary that became part of one without a source is due at once', () => {
  const { throttle, knock } = startThrottle(perSource(1), 1);
  for (const source of [1, 1, 2, 2]) knock(source, 7);
  assert.equal(throttle.nextDue, 7);
  assert.deepEqual(throttle.due(7), [withoutSource('rate', 1)]);
  assert.equal(throttle.nextDue, 7 + WINDOW_MS);
});

test('a clock that stands still ends no window, and loses nothing', () => {
  const { throttle, knock } = startThrottle(both(perSource(10), overall(15)));
  let passed = 0;
  for (let n = 0; n < 100; n++) if (knock(n % 2, 5) !== 'none') passed += 1;
  assert.equal(passed, 15);
  assert.deepEqual(throttle.due(5), []);
  assert.equal(sum(throttle.drain()), 85);
});

test('a clock that goes back is taken to stand still', () => {
  const { throttle, knock } = startThrottle(perSource(1));
  knock(1, WINDOW_MS);
  assert.equal(knock(1, 0), 'none');
  assert.equal(knock(2, 0), 'line and more');
  assert.equal(knock(2, 0), 'none');
  assert.equal(knock(2, 1.5 * WINDOW_MS), 'none', 'its window began when the clock had been furthest');
  assert.equal(throttle.nextDue, 2 * WINDOW_MS);
  assert.deepEqual(throttle.due(0), []);
  assert.deepEqual(throttle.due(2 * WINDOW_MS), [ofSource(1, 1), ofSource(2, 2)]);
  assert.deepEqual(throttle.due(0), []);
});

test('a clock that leaps ends every window once', () => {
  const { throttle, knock } = startThrottle(both(perSource(2), overall(5)));
  for (const source of [1, 1, 1, 2, 2, 3, 3]) knock(source, 0);
  assert.deepEqual(throttle.due(1e12), [ofSource(1, 1), withoutSource('lines', 1)]);
  assert.equal(knock(1, 1e12), 'line and more');
  assert.equal(throttle.nextDue, undefined);
});

test('100,000 knocks of one source over several windows are lines and counts of exactly 100,000', () => {
  const { throttle, knock } = startThrottle(both(perSource(100), overall(20_000)));
  const summaries: Summary[] = [];
  let lines = 0;
  for (let n = 0; n < 100_000; n++) {
    const now = n * 0.7;
    if (throttle.nextDue !== undefined && throttle.nextDue <= now) summaries.push(...throttle.due(now));
    if (knock(1, now, { dpt: 1 + (n % 60_000) }) !== 'none') lines += 1;
  }
  summaries.push(...throttle.drain());
  assert.deepEqual([lines, summaries.length, lines + sum(summaries)], [700, 7, 100_000]);
});

/** What becomes of the throttle's table: the one Map whose keys are addresses. */
function watchTable(context: TestContext) {
  const watched = { largest: 0, size: 0, deletes: 0 };
  const set = Map.prototype.set;
  const remove = Map.prototype.delete;
  const see = (key: unknown, { size }: Map<unknown, unknown>) => {
    if (typeof key !== 'string' || !key.startsWith('10.')) return false;
    watched.size = size;
    watched.largest = Math.max(watched.largest, size);
    return true;
  };
  context.mock.method(
    Map.prototype,
    'set',
    function (this: Map<unknown, unknown>, key: unknown, value: unknown) {
      const result = set.call(this, key, value);
      see(key, this);
      return result;
    },
  );
  context.mock.method(Map.prototype, 'delete', function (this: Map<unknown, unknown>, key: unknown) {
    const result = remove.call(this, key);
    if (see(key, this)) watched.deletes += 1;
    return result;
  });
  return watched;
}

test('no more sources are kept than may be', (context) => {
  const table = watchTable(context);
  for (const most of [1, 2, 100]) {
    table.largest = 0;
    const { knock } = startThrottle(both(perSource(1), overall(10)), most);
    for (let n = 0; n < 3000; n++) knock((n * 37) % 500, n * 150);
    assert.ok(table.largest > 0 && table.largest <= most, `${table.largest} sources`);
  }
});

test('windows that are over are let go a few at a time, but faster than new ones begin', (context) => {
  const table = watchTable(context);
  const { knock } = startThrottle(perSource(1));
  for (let n = 0; n < 1000; n++) knock(n, n);
  assert.deepEqual([table.size, table.deletes], [1000, 0]);
  for (let n = 0; n < 600; n++) {
    const before = table.deletes;
    knock(1000 + n, 1e6 + n);
    assert.ok(table.deletes - before <= 2, `${table.deletes - before} at once`);
  }
  assert.deepEqual([table.size, table.deletes], [600, 1000]);
});

interface ModelWindow {
  readonly src: string | undefined;
  readonly end: number;
  lines: number;
  readonly kinds: Set<Kind>;
  readonly ports: number[];
}

/** Every window that ever was, in lists: what the throttle promises while no source is forgotten. */
function createModel({ linesPerSource, lines }: LineLimits) {
  const windowMs = (linesPerSource ?? lines)?.windowMs ?? 0;
  const windows: ModelWindow[] = [];

  return { admit, take, end: () => Math.min(...untold(() => true).map((window) => window.end)) };

  function admit(src: string, dpt: number, kind: Kind, more: number, now: number) {
    const source = current(src, windowMs, now);
    const all = current(undefined, lines?.windowMs ?? 0, now);
    const first = !source.kinds.has(kind);
    source.kinds.add(kind);
    const fits = (wanted: number) =>
      fitsSource(source, wanted) && all.lines + wanted <= (lines?.lines ?? 1e9);
    const taken = fits(1 + more) ? 1 + more : fits(1) || first ? 1 : 0;
    if (taken === 0) (fitsSource(source, 1) ? all : source).ports.push(dpt);
    source.lines += taken;
    all.lines += taken;
    if (taken === 0) return 'none';
    return taken === 1 + more ? 'line and more' : 'line';
  }

  function fitsSource(window: ModelWindow, wanted: number): boolean {
    return window.lines + wanted <= (linesPerSource?.lines ?? 1e9);
  }

  function current(src: string | undefined, lengthMs: number, now: number): ModelWindow {
    const last = windows.findLast((window) => window.src === src);
    if (last !== undefined && now < last.end) return last;
    const window = { src, end: now + lengthMs, lines: 0, kinds: new Set<Kind>(), ports: [] };
    windows.push(window);
    return window;
  }

  function untold(due: (window: ModelWindow) => boolean): ModelWindow[] {
    return windows.filter((window) => window.ports.length > 0 && due(window));
  }

  /** One summary for each window of a source, one for all those of everybody. */
  function take(due: (window: ModelWindow) => boolean): Summary[] {
    const told = untold(due).map(({ src, ports }) => ({ src, ports: ports.splice(0) }));
    const held = told.filter(({ src }) => src === undefined).flatMap(({ ports }) => ports).length;
    return [
      ...told.filter(({ src }) => src !== undefined).map(summaryOf),
      ...(held > 0 ? [withoutSource('lines', held)] : []),
    ];
  }
}

/** Its ports are all odd, so that each is a range. */
function summaryOf({ src, ports }: { src: string | undefined; ports: readonly number[] }): Summary {
  const dpt = [...new Set(ports)].sort((a, b) => a - b).map((one) => port(one));
  return { src, count: ports.length, dpt, reason: 'rate' };
}

const rate = fc.option(
  fc.record({ lines: fc.integer({ min: 1, max: 6 }), windowMs: fc.constantFrom(7, 10, 25) }),
  { nil: undefined },
);
const limits = fc
  .record({ linesPerSource: rate, lines: rate })
  .filter(({ linesPerSource, lines }) => (linesPerSource ?? lines) !== undefined);
const pause = fc.oneof({ weight: 5, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.nat(30) });
const visit = fc.record({
  source: fc.nat(4),
  dpt: fc.nat(5).map((n) => 2 * n + 1),
  kind: fc.oneof({ weight: 4, arbitrary: fc.constant<Kind>('connect') }, fc.constantFrom(...KINDS)),
  more: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(3)),
  pause,
});
const step = fc.oneof(
  { weight: 12, arbitrary: visit },
  { weight: 2, arbitrary: fc.record({ take: fc.constant('due' as const), pause }) },
  { weight: 1, arbitrary: fc.record({ take: fc.constant('drain' as const), pause }) },
);

test('the throttle answers and counts as lists of all windows would', () => {
  fc.assert(
    fc.property(limits, fc.array(step, { maxLength: 80 }), (chosen, steps) => {
      const { throttle, knock } = startThrottle(chosen);
      const model = createModel(chosen);
      let now = 0;
      for (const one of steps) {
        now += one.pause;
        if ('source' in one) {
          const { source, dpt, kind, more } = one;
          const expected = model.admit(addressOf(source), dpt, kind, more, now);
          assert.equal(knock(source, now, { dpt, kind, more }), expected);
        } else if (one.take === 'due') {
          assert.deepEqual(
            throttle.due(now),
            model.take(({ end }) => end <= now),
          );
        } else {
          assert.deepEqual(
            throttle.drain(),
            model.take(() => true),
          );
        }
        const end = model.end();
        assert.equal(throttle.nextDue, end === Infinity ? undefined : Math.max(end, now));
      }
    }),
    { numRuns: 2000 },
  );
});

interface Visit {
  readonly source: number;
  readonly dpt: number;
  readonly kind: Kind;
  readonly more: number;
  readonly pause: number;
}

/** What was answered to each, as a number of lines. */
function play(throttle: Throttle, visits: readonly Visit[]) {
  let now = 0;
  return visits.map(({ source, dpt, kind, more, pause }) => {
    now += pause;
    const answer = throttle.admit({ src: addressOf(source), dpt }, kind, more, now);
    return { source, kind, now, lines: answer === 'line and more' ? 1 + more : answer === 'line' ? 1 : 0 };
  });
}

test('within its window a source never has more lines than its limit, but for the first of a kind', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      rate,
      fc.array(visit, { maxLength: 100 }),
      (most, lines, visits) => {
        const { throttle } = startThrottle({ linesPerSource: { lines: most, windowMs: 10 }, lines });
        const windows = new Map<number, { end: number; lines: number; kinds: Set<Kind> }>();
        for (const answer of play(throttle, visits)) {
          let window = windows.get(answer.source);
          if (window === undefined || answer.now >= window.end) {
            window = { end: answer.now + 10, lines: 0, kinds: new Set() };
            windows.set(answer.source, window);
          }
          const isFirst = !window.kinds.has(answer.kind);
          window.kinds.add(answer.kind);
          window.lines += answer.lines;
          if (isFirst) assert.ok(answer.lines > 0, `the first ${answer.kind} was held back`);
          const within = window.lines <= most || answer.lines === 0 || (isFirst && answer.lines === 1);
          assert.ok(within, `${window.lines} lines`);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

const leap = fc.oneof(
  { weight: 6, arbitrary: fc.nat(3) },
  fc.integer({ min: -50, max: 50 }),
  fc.constantFrom(-1e9, 1e9),
);

test('whatever comes, from however many sources and by whatever clock, is a line or in one count', (context) => {
  const table = watchTable(context);
  const leapingVisit = fc.record({
    source: fc.nat(9),
    kind: fc.constantFrom(...KINDS),
    leap,
    takes: fc.nat(9),
  });
  fc.assert(
    fc.property(
      limits,
      fc.integer({ min: 1, max: 5 }),
      fc.array(leapingVisit, { maxLength: 150 }),
      (...chosen) => {
        const [limit, most, visits] = chosen;
        const { throttle, knock } = startThrottle(limit, most);
        table.largest = 0;
        let now = 0;
        let counted = 0;
        let passed = 0;
        for (const { source, kind, leap, takes } of visits) {
          now += leap;
          if (knock(source, now, { kind }) !== 'none') passed += 1;
          const summaries = takes === 0 ? throttle.due(now) : [];
          assert.ok(summaries.length <= most + 2, `${summaries.length} summaries waited`);
          counted += sum(summaries);
        }
        const last = throttle.drain();
        assert.ok(last.length <= most + 2, `${last.length} summaries waited`);
        assert.equal(passed + counted + sum(last), visits.length);
        assert.ok(table.largest <= most, `${table.largest} sources are kept`);
      },
    ),
    { numRuns: 1000 },
  );
});

test('what is due is taken when it is due, and nothing before', () => {
  fc.assert(
    fc.property(limits, fc.array(visit, { maxLength: 80 }), (chosen, visits) => {
      const { throttle } = startThrottle(chosen);
      const answers = play(throttle, visits);
      let now = answers.at(-1)?.now ?? 0;
      throttle.due(now);
      for (let due = throttle.nextDue; due !== undefined; due = throttle.nextDue) {
        assert.ok(due > now, `${due} has been at ${now}`);
        assert.deepEqual(throttle.due(due - 1e-3), []);
        assert.ok(throttle.due(due).length > 0, `nothing is due at ${due}`);
        now = due;
      }
      assert.deepEqual(throttle.drain(), []);
    }),
    { numRuns: 500 },
  );
});
