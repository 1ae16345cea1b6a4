import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { isJournalStream } from '../../src/system/journal-stream.ts';

test('a stream is the journal only if its device and inode are those that systemd named', () => {
  const fd = openSync('/dev/null', 'w');
  const { dev, ino } = fstatSync(fd, { bigint: true });
  assert.equal(isJournalStream(fd, `${dev}:${ino}`), true);
  assert.equal(isJournalStream(fd, `${dev}:${ino + 1n}`), false);
  assert.equal(isJournalStream(fd, `${dev}`), false);
  assert.equal(isJournalStream(fd, undefined), false);
  closeSync(fd);
  assert.equal(isJournalStream(fd, `${dev}:${ino}`), false);
});
