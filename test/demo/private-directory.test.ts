import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { createPrivateDirectory, removeAbandonedDirectories } from '../../src/demo/private-directory.ts';
import { temporaryDirectory } from '../support/directory.ts';

/** Above the largest that Linux gives. */
const DEAD_PID = 99_999_999;

test('a private directory bears the process id and is for nobody else', (context) => {
  const parent = temporaryDirectory(context);
  const path = createPrivateDirectory(parent);
  assert.match(basename(path), new RegExp(`^honeyport-demo-${process.pid}-`));
  assert.equal(statSync(path).mode & 0o777, 0o700);
});

test('directories of dead processes, and of an earlier one with the same id, are removed with all that is in them', (context) => {
  const parent = temporaryDirectory(context);
  const earlier = createPrivateDirectory(parent);
  for (const path of [earlier, join(parent, `honeyport-demo-${DEAD_PID}-aBc123`)]) {
    mkdirSync(join(path, 'fail2ban'), { recursive: true });
    writeFileSync(join(path, 'fail2ban/jail.conf'), '');
  }
  removeAbandonedDirectories(parent);
  assert.deepEqual(readdirSync(parent), []);
});

test('nothing else is removed: of living processes, of other names, files, and what symbolic links lead to', (context) => {
  const parent = temporaryDirectory(context);
  const elsewhere = temporaryDirectory(context);
  writeFileSync(join(elsewhere, 'precious'), '');
  for (const name of [`honeyport-demo-${process.ppid}-aBc123`, `honeyport-demo-${DEAD_PID}`, 'honeyport'])
    mkdirSync(join(parent, name));
  writeFileSync(join(parent, `honeyport-demo-${DEAD_PID}-aFile1`), '');
  symlinkSync(elsewhere, join(parent, `honeyport-demo-${DEAD_PID}-aLink1`));
  const before = readdirSync(parent);
  removeAbandonedDirectories(parent);
  assert.deepEqual(readdirSync(parent), before);
  assert.deepEqual(readdirSync(elsewhere), ['precious']);
});
