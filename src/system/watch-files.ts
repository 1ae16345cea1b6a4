import { statSync } from 'node:fs';

/** Watches files, of which there may be others after each reload. */
export interface FilesWatch {
  /**
   * Watches these files in the place of those before.
   * @param readAt when they were read, in milliseconds since the epoch: a change since then is not missed
   */
  use(paths: readonly string[], readAt: number): void;
  close(): void;
}

export interface WatchFilesOptions {
  /** Called when the content has settled after a change, also when the file was replaced by another, older one. */
  readonly onChange: (path: string) => void;
  /** Called when the file is gone, or cannot be looked at. */
  readonly onGone: (path: string) => void;
}

const LOOK_MS = 1000;
/** Between two looks at a file that has just changed; half a list is not worth a warning. */
const SETTLE_MS = 200;
/** The kernel's clock for files is that much behind. */
const CLOCK_STEP_MS = 10;

/** What has changed when any of it has: neither inotify(7) nor the time of change alone tells of a file that is moved back. */
export type FileIdentity = string;
export const GONE: FileIdentity = '';

interface Watched {
  identity: FileIdentity;
  /** Changed since it was last read. */
  changed: boolean;
}

/** Looks at each file once a second: whatever becomes of it meanwhile, a directory or a link to nothing, it is found again. */
export function watchFiles({ onChange, onGone }: WatchFilesOptions): FilesWatch {
  let watched = new Map<string, Watched>();
  let timer: NodeJS.Timeout | undefined;

  return {
    use(paths, readAt) {
      const before = watched;
      watched = new Map(paths.map((path) => [path, before.get(path) ?? watchSince(path, readAt)]));
      lookLater();
    },
    close: () => clearTimeout(timer),
  };

  function look(): void {
    for (const [path, file] of watched) {
      const identity = identityOf(path);
      const isSettled = identity === file.identity;
      if (file.changed && isSettled) {
        file.changed = false;
        (identity === GONE ? onGone : onChange)(path);
      }
      if (!isSettled) Object.assign(file, { identity, changed: true });
    }
    lookLater();
  }

  function lookLater(): void {
    clearTimeout(timer);
    if (watched.size === 0) return;
    const isUnsettled = [...watched.values()].some(({ changed }) => changed);
    timer = setTimeout(look, isUnsettled ? SETTLE_MS : LOOK_MS).unref();
  }
}

function watchSince(path: string, readAt: number): Watched {
  const identity = identityOf(path);
  const changedAt = Number(identity.split(' ')[0]);
  return { identity, changed: identity === GONE || changedAt >= readAt - CLOCK_STEP_MS };
}

/** Of the file that a path names now. */
export function identityOf(path: string): FileIdentity {
  try {
    const { ctimeMs, mtimeMs, dev, ino, size } = statSync(path);
    return [ctimeMs, mtimeMs, dev, ino, size].join(' ');
  } catch {
    // gone, or behind a directory or a link that leads nowhere: reading it says which
    return GONE;
  }
}
