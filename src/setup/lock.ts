import { closeSync, constants, fstatSync, lstatSync, openSync, rmSync } from 'node:fs';
import { UserError } from '../errors.ts';
import { loadNative } from '../native/native.ts';

/** Held by one installation at a time, and by its guardian; the kernel lets it go when both have ended. */
export interface Lock {
  readonly fd: number;
  release(): void;
}

// https://github.com/torvalds/linux/blob/master/include/uapi/asm-generic/fcntl.h
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Of this host; nobody but root may open it, so that nobody else can hold it. */
const HOST_LOCK_FILE = '/run/honeyport-install.lock';

/** @throws UserError when another installation below this root is under way */
export function lockRoot(root: string): Lock {
  const isHost = root === '/';
  const fd = isHost ? openHostLock() : openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  // who held it before may have removed the file meanwhile
  const isLocked = loadNative().flock(fd, LOCK_EX | LOCK_NB) === 0 && (!isHost || isInPlace(fd));
  if (isLocked) return { fd, release: () => release(fd, isHost) };
  closeSync(fd);
  throw new UserError('another installation is under way', {
    hint: 'or the end of one that was cut off, which takes no longer than a minute or two',
    exitCode: 1,
  });
}

function openHostLock(): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  return openSync(HOST_LOCK_FILE, flags, 0o600);
}

function isInPlace(fd: number): boolean {
  return lstatSync(HOST_LOCK_FILE, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino;
}

/** Nothing of ours is left, and the file goes while it is held. */
function release(fd: number, isHost: boolean): void {
  if (isHost) rmSync(HOST_LOCK_FILE, { force: true });
  closeSync(fd);
}
