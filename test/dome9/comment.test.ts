import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { commentOf, isOwnComment, LONGEST_COMMENT } from '../../src/dome9/comment.ts';
import type { Want } from '../../src/dome9/want.ts';

const WANT: Want = {
  ip: '192.0.2.7',
  since: 1_764_000_000,
  until: 1_764_086_400,
  jail: 'honeyport',
  decoyPort: 23,
  decoy: 'telnet',
  eventId: '7f3k9q2x.42',
};

const sensors = fc.string({
  unit: fc.constantFrom(...'ABCXYZabcxyz0189._-'),
  minLength: 1,
  maxLength: 255,
});
/** All that a recorded file may say. */
const wants: fc.Arbitrary<Want> = fc.record({
  ip: fc.constant('192.0.2.7'),
  since: fc.double({ min: 0, max: 253_402_300_799, noNaN: true }),
  until: fc.option(fc.double({ min: 0, max: 253_402_300_799, noNaN: true })),
  jail: fc.string({
    unit: fc.constantFrom('a', 'Z', '9', '-', ' ', '\n', '\0', 'ä', '\u{1f600}', '='),
    maxLength: 300,
  }),
  decoyPort: fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
  decoy: fc.constant('telnet'),
  eventId: fc.option(fc.constantFrom('x.1', `${'e'.repeat(32)}.${'9'.repeat(20)}`), { nil: undefined }),
});

test('a comment says whose the item is, the port, when, until when, the event and the jail', () => {
  assert.equal(
    commentOf(WANT, 'web-1'),
    'honeyport/web-1 port=23 time=2025-11-24T16:00:00Z until=2025-11-25T16:00:00Z id=7f3k9q2x.42 jail=honeyport',
  );
});

test('a permanent ban by hand has no end, no port and no event', () => {
  const want = { ip: '192.0.2.7', since: 0.9, until: null, jail: 'sshd' };
  assert.equal(commentOf(want, 'web-1'), 'honeyport/web-1 time=1970-01-01T00:00:00Z until=never jail=sshd');
});

test('whatever is recorded, a comment is short enough for the API, printable, and known again', () => {
  fc.assert(
    fc.property(wants, sensors, (want, sensor) => {
      const comment = commentOf(want, sensor);
      assert.match(comment, /^[ -~]+$/);
      assert.ok(comment.length <= LONGEST_COMMENT, `${comment.length} characters`);
      assert.ok(isOwnComment(comment, sensor), comment);
    }),
  );
});

test('the longest of everything has room', () => {
  const longest = {
    ...WANT,
    since: 253_402_300_799,
    until: 253_402_300_799,
    jail: 'j'.repeat(1000),
    decoyPort: 65_535,
    eventId: `${'e'.repeat(32)}.${'9'.repeat(20)}`,
  };
  const comment = commentOf(longest, 's'.repeat(255));
  assert.ok(comment.length <= 500, `${comment.length} characters`);
  assert.match(comment, / id=e{32}\.9{20} jail=j{64}$/);
});

test('a comment has as many words as its mark and its parts, whatever the jail is called', () => {
  fc.assert(
    fc.property(wants, sensors, (want, sensor) => {
      const { decoyPort, eventId } = want;
      const parts = [decoyPort, eventId].filter((part) => part !== undefined).length + 3;
      assert.equal(commentOf(want, sensor).split(' ').length, 1 + parts);
    }),
  );
});

test('what one sensor put there is not the item of another one', () => {
  assert.ok(!isOwnComment(commentOf(WANT, 'web-10'), 'web-1'), 'web-1 owns what web-10 put there');
  assert.ok(!isOwnComment(commentOf(WANT, 'web-1'), 'web-10'), 'web-10 owns what web-1 put there');
  assert.ok(!isOwnComment(commentOf(WANT, 'Web-1'), 'web-1'), 'web-1 owns what Web-1 put there');
  fc.assert(
    fc.property(wants, sensors, sensors, (want, one, other) => {
      fc.pre(one !== other);
      assert.ok(!isOwnComment(commentOf(want, one), other), `${other} owns what ${one} put there`);
    }),
  );
});

test('what people write is foreign', () => {
  for (const comment of [
    null,
    undefined,
    '',
    5,
    {},
    ['honeyport/web-1 x'],
    'honeyport',
    'honeyport/web-1',
    'honeyport/web-1\tx',
    ' honeyport/web-1 x',
    'HONEYPORT/web-1 x',
    'see honeyport/web-1 x',
  ])
    assert.ok(!isOwnComment(comment, 'web-1'), String(comment));
});
