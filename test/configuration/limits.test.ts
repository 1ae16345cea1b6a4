import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { configurationOf, problemsOf } from './support.ts';

/** A configuration whose limits stand on line 2. */
const withLimits = (text: string) => `decoys: [{ ports: 22 }]\nlimits: { ${text} }\n`;
const limitsOf = (text: string) => configurationOf(withLimits(text)).limits;

test('without limits, and with none of them, the defaults count', () => {
  const defaults = {
    pendingLines: 100_000,
    conversations: 1024,
    responses: 64,
    linesPerSource: { lines: 100, windowMs: 10_000 },
    lines: { lines: 20_000, windowMs: 1000 },
  };
  assert.deepEqual(configurationOf('decoys: [{ ports: 22 }]').limits, defaults);
  assert.deepEqual(limitsOf(''), defaults);
});

test('off lifts a rate, and leaves the other one', () => {
  const { linesPerSource, lines } = limitsOf('lines_per_source: off');
  assert.deepEqual([linesPerSource, lines], [undefined, { lines: 20_000, windowMs: 1000 }]);
  assert.equal(limitsOf('lines: off').lines, undefined);
});

test('limits are taken up to their bounds', () => {
  assert.deepEqual(
    limitsOf('conversations: 1000000, responses: 1024, lines_per_source: 1000000/1d, lines: 1/100ms'),
    {
      pendingLines: 100_000,
      conversations: 1_000_000,
      responses: 1024,
      linesPerSource: { lines: 1_000_000, windowMs: 86_400_000 },
      lines: { lines: 1, windowMs: 100 },
    },
  );
});

const RATE_BOUNDS = 'expected at most 1000000 lines within 100ms to 1d';

/** What stands within `limits` from line 2, column 11 on, and the problem that must come of it. */
const FAULTS: readonly (readonly [title: string, text: string, problem: string])[] = [
  [
    'conversations that are off',
    'conversations: off',
    'F:2:26: limits.conversations: expected a number between 1 and 1000000, got "off"',
  ],
  [
    'no conversation at all',
    'conversations: 0',
    'F:2:26: limits.conversations: expected a number between 1 and 1000000, got 0',
  ],
  [
    'too many conversations',
    'conversations: 1000001',
    'F:2:26: limits.conversations: expected a number between 1 and 1000000, got 1000001',
  ],
  [
    'no response at all',
    'responses: 0',
    'F:2:22: limits.responses: expected a number between 1 and 1024, got 0',
  ],
  [
    'too many responses',
    'responses: 1025',
    'F:2:22: limits.responses: expected a number between 1 and 1024, got 1025',
  ],
  [
    'a rate without a window',
    'lines: 100',
    'F:2:18: limits.lines: expected a rate such as 100/10s, or off, got 100',
  ],
  [
    'a rate without a number before the unit',
    'lines: 100/s',
    'F:2:18: limits.lines: expected a rate such as 100/10s, got "100/s"',
  ],
  [
    'a rate of no line',
    'lines_per_source: 0/1s',
    'F:2:29: limits.lines_per_source: expected a rate such as 100/10s, got "0/1s"',
  ],
  ['a rate of too many lines', 'lines: 1000001/1s', `F:2:18: limits.lines: ${RATE_BOUNDS}, got "1000001/1s"`],
  [
    'a window that is too short',
    'lines_per_source: 5/99ms',
    `F:2:29: limits.lines_per_source: ${RATE_BOUNDS}, got "5/99ms"`,
  ],
  ['a window that is too long', 'lines: 5/25h', `F:2:18: limits.lines: ${RATE_BOUNDS}, got "5/25h"`],
];

for (const [title, text, problem] of FAULTS) {
  test(`${title} is reported at its place`, () => assert.deepEqual(problemsOf(withLimits(text)), [problem]));
}

test('each bad limit is reported', () => {
  assert.deepEqual(
    problemsOf(withLimits('lines: 1/2d, responses: 0, lines_per_source: 2000000/1s')).length,
    3,
  );
});

test('a rate that is accepted is within the bounds, and says what is written', () => {
  const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  const size = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 999_999_999 }));
  const unit = fc.constantFrom('ms', 's', 'm', 'h', 'd');
  fc.assert(
    fc.property(size, size, unit, (lines, count, unit) => {
      const text = `lines: ${lines}/${count}${unit}`;
      const windowMs = count * units[unit];
      const isWithin = lines <= 1_000_000 && windowMs >= 100 && windowMs <= 86_400_000;
      assert.equal(problemsOf(withLimits(text)).length, isWithin ? 0 : 1);
      if (isWithin) assert.deepEqual(limitsOf(text).lines, { lines, windowMs });
    }),
    { numRuns: 500 },
  );
});
