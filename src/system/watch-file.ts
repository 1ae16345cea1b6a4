import { basename, dirname, join, resolve } from 'node:path';
import { watch } from 'chokidar';

export interface FileWatch {
  close(): Promise<void>;
}

export interface WatchFileOptions {
  readonly path: string;
  /** Called when the content has settled after a change, also when the file was replaced by another. */
  readonly onChange: () => void;
  /** Called when the file is gone. */
  readonly onGone: () => void;
  /** Called when the system refuses to watch, as over its limit of inotify watches. */
  readonly onTrouble: (error: Error) => void;
}

// an editor writes in several steps; half a configuration is not worth a warning
const SETTLE_MS = 200;

/**
 * Watches a file by watching its directory, since editors, and tools that deploy, replace a file by renaming.
 * Resolves once changes are seen.
 */
export async function watchFile({ path, onChange, onGone, onTrouble }: WatchFileOptions): Promise<FileWatch> {
  const directory = dirname(resolve(path));
  const file = join(directory, basename(path));
  const watcher = watch(directory, {
    depth: 0,
    ignoreInitial: true,
    ignored: (candidate) => candidate !== directory && candidate !== file,
    awaitWriteFinish: { stabilityThreshold: SETTLE_MS, pollInterval: SETTLE_MS / 4 },
  });
  watcher.on('add', onChange).on('change', onChange).on('unlink', onGone);
  watcher.on('error', (error) => onTrouble(error as Error));
  await new Promise<void>((ready) => watcher.once('ready', ready));
  return { close: () => watcher.close() };
}
