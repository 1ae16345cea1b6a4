import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expiredEntries, expiryWarnings, lastDay, nextExpiry } from '../../src/allow/expiry.ts';
import { parseAllowFile } from '../../src/configuration/allow-file.ts';

const ENTRIES = parseAllowFile(
  Buffer.from(
    '# us\n192.0.2.1 until=2026-12-31\n192.0.2.2\na.example until=2026-01-31\n192.0.2.4 until=2028-02-29\n',
  ),
  '/etc/allow.list',
);

test('an entry has ended when its last day is over in UTC', () => {
  const endedAt = (now: number) => expiredEntries(ENTRIES, now).map(({ source }) => source);
  assert.deepEqual(endedAt(Date.UTC(2026, 1, 1) - 1), []);
  assert.deepEqual(endedAt(Date.UTC(2026, 1, 1)), ['a.example']);
  assert.deepEqual(endedAt(Date.UTC(2027, 0, 1)), ['192.0.2.1', 'a.example']);
});

test('the next end is the earliest that is not past', () => {
  assert.equal(nextExpiry(ENTRIES, 0), Date.UTC(2026, 1, 1));
  assert.equal(nextExpiry(ENTRIES, Date.UTC(2026, 1, 1)), Date.UTC(2027, 0, 1));
  assert.equal(nextExpiry(ENTRIES, Date.UTC(2028, 2, 1)), undefined);
  assert.equal(nextExpiry([], 0), undefined);
});

test('an entry that has ended is told with its place and its last day', () => {
  const text = '/etc/allow.list:5: allow entry 192.0.2.4 ended with 2028-02-29 and allows nobody';
  assert.deepEqual(expiryWarnings([ENTRIES[3]!]), [text]);
  const many = expiryWarnings(Array.from({ length: 12 }, () => ENTRIES[3]!));
  assert.deepEqual(many, [...Array.from({ length: 10 }, () => text), '2 more allow entries have ended']);
});

test('the last day is the one that was written', () => {
  for (const day of ['2027-01-31', '2028-02-29', '1999-12-31', '9999-12-31']) {
    const [entry] = parseAllowFile(Buffer.from(`::1 until=${day}\n`), 'L');
    assert.equal(lastDay(entry!.until!), day);
  }
});
