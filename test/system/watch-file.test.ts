import assert from 'node:assert/strict';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { watchFile } from '../../src/system/watch-file.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { waitFor } from '../support/wait.ts';

async function start(context: TestContext) {
  const path = join(temporaryDirectory(context), 'x.yaml');
  writeFileSync(path, '0');
  const counts = { changes: 0, gone: 0 };
  const watch = await watchFile({
    path,
    onChange: () => {
      counts.changes += 1;
    },
    onGone: () => {
      counts.gone += 1;
    },
    onTrouble: (error) => assert.fail(error),
  });
  context.after(() => watch.close());
  return { path, counts };
}

/** So long that what looks for what was missed has looked, and would have told a second time. */
const twoLooks = () => new Promise((resolve) => setTimeout(resolve, 3200));

test('a change of mode that a renaming follows within some milliseconds blinds it for no later change', async (context) => {
  const { path, counts } = await start(context);
  chmodSync(path, 0o600);
  await new Promise((resolve) => setTimeout(resolve, 2));
  writeFileSync(`${path}.new`, '1');
  renameSync(`${path}.new`, path);
  await waitFor(() => counts.changes === 1, { deadlineMs: 10_000, what: 'the renaming' });
  writeFileSync(path, 'edited');
  await waitFor(() => counts.changes === 2, { deadlineMs: 10_000, what: 'the edit' });
  await twoLooks();
  assert.equal(counts.changes, 2, 'each is told once');
});

test('a file that goes and comes again is told once each', async (context) => {
  const { path, counts } = await start(context);
  rmSync(path);
  await waitFor(() => counts.gone === 1, { deadlineMs: 10_000, what: 'its end' });
  writeFileSync(path, 'again');
  await waitFor(() => counts.changes === 1, { deadlineMs: 10_000, what: 'its return' });
  await twoLooks();
  assert.deepEqual(counts, { changes: 1, gone: 1 });
});
