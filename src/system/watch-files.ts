import { statSync } from 'node:fs';
import { type FileWatch, type WatchFileOptions, watchFile } from './watch-file.ts';

/** Watches files, of which there may be others after each reload. */
export interface FilesWatch {
  /**
   * Watches these files in the place of those before.
   * @param readAt when they were read, in milliseconds since the epoch: a change since then is not missed
   */
  use(paths: readonly string[], readAt: number): void;
  close(): Promise<void>;
}

/** The kernel's clock for files is that much behind. */
const CLOCK_STEP_MS = 10;

export function watchFiles(optionsOf: (path: string) => Omit<WatchFileOptions, 'path'>): FilesWatch {
  let watches = new Map<string, Promise<FileWatch>>();

  return {
    use(paths, readAt) {
      const before = watches;
      watches = new Map();
      for (const path of paths) watches.set(path, before.get(path) ?? watchSince(path, readAt));
      for (const [path, watch] of before) if (!watches.has(path)) void closeWatch(watch);
    },
    async close() {
      await Promise.all([...watches.values()].map(closeWatch));
    },
  };

  async function watchSince(path: string, readAt: number): Promise<FileWatch> {
    const options = optionsOf(path);
    const watch = await watchFile({ path, polling: true, ...options });
    if (changeTime(path) >= readAt - CLOCK_STEP_MS) options.onChange();
    return watch;
  }
}

async function closeWatch(watch: Promise<FileWatch>): Promise<void> {
  await (await watch).close();
}

function changeTime(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? Number.POSITIVE_INFINITY;
}
