import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A directory of the test's own, removed when it ends. */
export function temporaryDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'honeyport-test-'));
  const remove = (maxRetries: number) => rmSync(directory, { recursive: true, force: true, maxRetries });
  context.after(() => {
    try {
      remove(0);
    } catch {
      // First things first: a listener that was started later still runs, and may have made its log anew just now.
      process.once('exit', () => remove(5));
    }
  });
  return directory;
}
