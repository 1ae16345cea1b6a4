import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  readSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs';
import { isErrnoException } from '../errors.ts';

export interface AppendedFileOptions {
  readonly path: string;
  /** Permission bits of a file that is made anew, whatever the umask. */
  readonly mode: number;
  /** Called when lines begin to wait because the file cannot be written, with the error. */
  readonly onTrouble: (error: Error) => void;
  /** Called when all lines that waited are written. */
  readonly onRecovery: () => void;
  /** Called when the file ends inside a line, as a crash leaves it; the line is ended before the next one. */
  readonly onTornLine: () => void;
}

/** A file that lines are added to, through rotation and full disks. */
export interface AppendedFile {
  /** Lines taken and not yet written. */
  readonly pendingLines: number;
  /** Their bytes. */
  readonly pendingBytes: number;
  /** Permission bits of a file that is made from now on. */
  changeMode(mode: number): void;
  /** Takes a line without its line feed. */
  append(line: string): void;
  /** Writes what is pending, all in one write; what cannot be written stays and is tried again later. */
  flush(): void;
  /** Tries for at most `deadlineMs` to write what is pending. @returns the number of lines that are lost */
  close(deadlineMs: number): Promise<number>;
}

const OPEN_FLAGS =
  // for reading too, to see how the last line ends; never waiting, as on a FIFO; never becoming a controlling terminal
  constants.O_RDWR | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY;
const RETRY_FIRST_MS = 50;
const RETRY_LONGEST_MS = 1000;
const LINE_FEED = 10;

/**
 * Opens the file for appending and makes it where it is missing.
 * @throws what open(2) gives, or Error when the path is no regular file
 */
export function openAppendedFile(options: AppendedFileOptions): AppendedFile {
  const { path, onTrouble, onRecovery, onTornLine } = options;
  let { mode } = options;
  let fd = open(path, mode);
  let identity = fstatSync(fd);
  let torn = endsInsideLine(fd, identity.size);
  if (torn) onTornLine();
  /** Lines taken since the last attempt to write. */
  let fresh = '';
  let freshLines = 0;
  /** Lines that are being written; the first `written` characters are in the open file. */
  let waiting = '';
  let waitingLines = 0;
  let written = 0;
  let retryMs = RETRY_FIRST_MS;
  let retryTimer: NodeJS.Timeout | undefined;
  let ending = false;
  let closing: Promise<number> | undefined;

  return {
    get pendingLines() {
      return freshLines + waitingLines;
    },
    get pendingBytes() {
      return fresh.length + waiting.length;
    },
    changeMode(wanted) {
      mode = wanted;
    },
    append(line) {
      fresh += `${line}\n`;
      freshLines += 1;
    },
    flush() {
      // while lines wait, the timer tries: a full disk must not cost each connection a write that fails
      if (retryTimer === undefined && freshLines > 0) attempt();
    },
    close(deadlineMs) {
      closing ??= finish(deadlineMs);
      return closing;
    },
  };

  function attempt(): void {
    waiting += fresh;
    waitingLines += freshLines;
    fresh = '';
    freshLines = 0;
    try {
      followPath();
      writeWaiting();
      succeeded();
    } catch (error) {
      failed(error as Error);
    }
  }

  /** Opens the path anew when it no longer names the open file: renamed, recreated or deleted. */
  function followPath(): void {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (sameFile(stats, identity)) {
      // somebody emptied it, to free the disk for one: the beginning of a line that was cut off went with the rest
      if (written > 0 && stats.size < written) written = 0;
      return;
    }
    const next = open(path, mode);
    closeSync(fd);
    fd = next;
    identity = fstatSync(fd);
    torn = endsInsideLine(fd, identity.size);
    // a line that was cut off in the old file is written whole into the new one
    written = 0;
  }

  /** Lines are ASCII, so characters are bytes. */
  function writeWaiting(): void {
    if (torn) writeSync(fd, '\n');
    torn = false;
    try {
      while (written < waiting.length) {
        written += writeSync(fd, written === 0 ? waiting : waiting.slice(written), null, 'latin1');
      }
    } finally {
      dropWholeLines();
    }
  }

  /** Forgets what is in the file for good; the beginning of a line that was cut off stays, should the file change. */
  function dropWholeLines(): void {
    if (written === waiting.length) {
      waiting = '';
      waitingLines = 0;
      written = 0;
      return;
    }
    const lineStart = waiting.lastIndexOf('\n', written - 1) + 1;
    waitingLines -= countLines(waiting.slice(0, lineStart));
    waiting = waiting.slice(lineStart);
    written -= lineStart;
  }

  function succeeded(): void {
    const recovered = retryMs > RETRY_FIRST_MS;
    // first, because what onRecovery writes may fail or succeed in its turn
    retryMs = RETRY_FIRST_MS;
    if (recovered) onRecovery();
  }

  function failed(error: Error): void {
    if (retryMs === RETRY_FIRST_MS) onTrouble(error);
    retryMs = Math.min(retryMs * 2, RETRY_LONGEST_MS);
    if (ending) return;
    retryTimer = setTimeout(() => {
      retryTimer = undefined;
      attempt();
    }, retryMs);
  }

  async function finish(deadlineMs: number): Promise<number> {
    ending = true;
    clearTimeout(retryTimer);
    const deadline = Date.now() + deadlineMs;
    attempt();
    while (waitingLines > 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_FIRST_MS));
      attempt();
    }
    if (waitingLines > 0) writeToOldFile();
    closeSync(fd);
    return waitingLines;
  }

  /** The path cannot be opened, but the file that it named is open: better there than nowhere. */
  function writeToOldFile(): void {
    try {
      writeWaiting();
    } catch {
      // what is left is counted by the caller
    }
  }
}

function open(path: string, mode: number): number {
  const fd = openOrMake(path, mode);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new Error('it is not a regular file');
}

function openOrMake(path: string, mode: number): number {
  for (;;) {
    try {
      return openSync(path, OPEN_FLAGS);
    } catch (error) {
      if (!isErrnoException(error) || error.code !== 'ENOENT') throw error;
    }
    try {
      const fd = openSync(path, OPEN_FLAGS | constants.O_CREAT | constants.O_EXCL, mode);
      fchmodSync(fd, mode);
      return fd;
    } catch (error) {
      // somebody, logrotate for one, made it just now: it is theirs to give it a mode
      if (!isErrnoException(error) || error.code !== 'EEXIST' || isDangling(path)) throw error;
    }
  }
}

/** A symbolic link to nothing exists and does not, and would be tried for ever. */
function isDangling(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) === undefined;
}

function endsInsideLine(fd: number, size: number): boolean {
  if (size === 0) return false;
  const last = new Uint8Array(1);
  return readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== LINE_FEED;
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

function sameFile(a: Stats | undefined, b: Stats): a is Stats {
  return a !== undefined && a.ino === b.ino && a.dev === b.dev;
}
