import { realpathSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { watch } from 'chokidar';
import { type FileIdentity, GONE, identityOf } from './watch-files.ts';

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
const POLL_MS = 1000;
/** Longer than chokidar takes to tell. */
const LOOK_MS = 1500;

/**
 * Watches a file through edits in place, replacement by renaming, and deletion and return; not its directory, where
 * every line of a log beside it would be an event. Resolves once changes are seen.
 */
export async function watchFile({ path, onChange, onGone, onTrouble }: WatchFileOptions): Promise<FileWatch> {
  const watcher = watch(path, {
    ignoreInitial: true,
    usePolling: leadsOverLink(path),
    interval: POLL_MS,
    awaitWriteFinish: { stabilityThreshold: SETTLE_MS, pollInterval: SETTLE_MS / 4 },
  });
  const look = lookForMissed(path, (isGone) => (isGone ? onGone : onChange)());
  const told = (tell: () => void) => () => {
    look.told();
    tell();
  };
  watcher.on('add', told(onChange)).on('change', told(onChange)).on('unlink', told(onGone));
  watcher.on('error', (error) => onTrouble(error as Error));
  await new Promise<void>((ready) => watcher.once('ready', ready));
  return {
    close: () => {
      look.close();
      return watcher.close();
    },
  };
}

/**
 * Looks at the file itself now and then: after a change of mode that a renaming follows at once, as a tool that installs
 * files does it, chokidar goes on watching the file that is no longer there.
 */
function lookForMissed(path: string, onMissed: (isGone: boolean) => void): { told(): void; close(): void } {
  let known = identityOf(path);
  let seen: FileIdentity = known;
  const timer = setInterval(() => {
    const now = identityOf(path);
    const isSettled = now === seen;
    seen = now;
    if (!isSettled || now === known) return;
    known = now;
    onMissed(now === GONE);
  }, LOOK_MS).unref();
  return {
    told: () => {
      known = identityOf(path);
      seen = known;
    },
    close: () => clearInterval(timer),
  };
}

/**
 * Watches the files right within a directory, but for those whose name begins with a dot. The directory may come to be
 * later, the one above it must be there. For files that are replaced by renaming: what is being written is told as it
 * is. Resolves once changes are seen; files that are there already are told, too, as nobody can say since when.
 */
export async function watchDirectory({
  path,
  onChange,
  onTrouble,
}: Omit<WatchFileOptions, 'onGone'>): Promise<FileWatch> {
  // chokidar sees nothing at all of a directory that comes to be as it begins to watch for it
  const parent = dirname(path);
  const isWatched = (name: string) => dirname(name) === path && !basename(name).startsWith('.');
  const watcher = watch(parent, {
    depth: 1,
    ignored: (name) => name !== parent && name !== path && !isWatched(name),
  });
  watcher.on('add', onChange).on('change', onChange).on('unlink', onChange);
  watcher.on('error', (error) => onTrouble(error as Error));
  await new Promise<void>((ready) => watcher.once('ready', ready));
  return { close: () => watcher.close() };
}

/** inotify(7) watches the file that is there, and is silent when a symbolic link names another one from now on. */
function leadsOverLink(path: string): boolean {
  try {
    return realpathSync(path) !== resolve(path);
  } catch {
    return false;
  }
}
