import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { watchFiles } from '../../src/system/watch-files.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { waitFor } from '../support/wait.ts';

/** A file that was just read, and what is said of it. */
function startWatching(context: TestContext, readAt = Date.now() + 60_000) {
  const path = join(temporaryDirectory(context), 'list');
  writeFileSync(path, 'first\n');
  const said: string[] = [];
  const watch = watchFiles({ onChange: () => said.push('changed'), onGone: () => said.push('gone') });
  context.after(watch.close);
  watch.use([path], readAt);
  const waitForSaid = async (...wanted: string[]) => {
    const keepAlive = setInterval(() => {}, 1000);
    context.after(() => clearInterval(keepAlive));
    await waitFor(() => said.length >= wanted.length, {
      deadlineMs: 10_000,
      what: () => `${wanted}, got ${said}`,
    });
    assert.deepEqual(said, wanted);
  };
  return { path, watch, said, waitForSaid };
}

test('a file that is moved back is changed, though it is older and as long', async (context) => {
  const { path, waitForSaid } = startWatching(context);
  const old = `${path}.old`;
  writeFileSync(old, 'other\n');
  utimesSync(old, 1, 1);
  renameSync(old, path);
  await waitForSaid('changed');
});

test('a file comes back from being gone, a directory, and a link to itself', async (context) => {
  const { path, waitForSaid } = startWatching(context);
  rmSync(path);
  await waitForSaid('gone');
  mkdirSync(path);
  await waitForSaid('gone', 'changed');
  rmSync(path, { recursive: true });
  symlinkSync(path, path);
  await waitForSaid('gone', 'changed', 'gone');
  rmSync(path);
  writeFileSync(path, 'second\n');
  await waitForSaid('gone', 'changed', 'gone', 'changed');
});

test('a change between reading and watching is not missed', async (context) => {
  const { waitForSaid } = startWatching(context, Date.now() - 1000);
  await waitForSaid('changed');
});

test('a file that is no longer named is no longer looked at', async (context) => {
  const { path, watch, said, waitForSaid } = startWatching(context);
  const other = `${path}.other`;
  writeFileSync(other, '');
  watch.use([other], Date.now() + 60_000);
  writeFileSync(path, 'second\n');
  writeFileSync(other, 'second\n');
  await waitForSaid('changed');
  assert.equal(said.length, 1);
});
