import { readdirSync } from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import * as c from './constants.ts';
import { keepNothingForPrograms, type PrivilegeCalls } from './privileges.ts';

/** A poll handle of Node's own event loop on one descriptor. */
export interface Poll {
  /** Waits for the descriptor again after `pause`. */
  resume(): void;
  /** Stops waiting; a level-triggered descriptor that stays readable then costs nothing. */
  pause(): void;
  /** Ends the handle; the descriptor stays open. */
  close(): void;
}

/**
 * The C functions that sockets and locks need, called in this process. Those of libc return what the C function returns:
 * -1 means failed, and `errno()` then says why. Buffers are handed over as pointers and must outlive the call only.
 */
export interface Native extends PrivilegeCalls {
  socket(family: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number;
  getsockopt(fd: number, level: number, name: number, value: Uint8Array, length: Uint8Array): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  listen(fd: number, backlog: number): number;
  accept4(fd: number, address: Uint8Array, length: Uint8Array, flags: number): number;
  getsockname(fd: number, address: Uint8Array, length: Uint8Array): number;
  recv(fd: number, buffer: Uint8Array | null, length: number, flags: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  sendto(
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  /** fcntl(2) with a command that takes a number. */
  fcntl(fd: number, command: number, value: number): number;
  flock(fd: number, operation: number): number;
  epollCreate(flags: number): number;
  epollCtl(epollFd: number, operation: number, fd: number, event: Uint8Array | null): number;
  epollWait(epollFd: number, events: Uint8Array, maxEvents: number, timeoutMs: number): number;
  /** Why the last call failed. Read it before any other call. */
  errno(): number;
  /**
   * Calls `onReadable` in a turn of the event loop while `fd` is readable. It is libuv's uv_poll, the means libuv has
   * for other event sources: no thread waits, so libuv's pool may be as busy as it likes.
   */
  pollReadable(fd: number, onReadable: () => void): Poll;
  /**
   * Leaves neither capabilities of this process nor descriptors that it was started with for the programs that it starts
   * from this thread; what it has itself stays. A program that is started as root would otherwise have all capabilities,
   * and one that is not those that systemd's AmbientCapabilities= gave.
   */
  keepPrivilegesFromPrograms(): void;
}

// enum values of uv.h, the same in every libuv 1.x
const UV_POLL = 8;
const UV_READABLE = 1;

/**
 * Binds the C functions; `load(null)` finds them in the process itself, with glibc and musl alike.
 * @throws Error when this Node hides a symbol, as a statically stripped one does
 */
export function loadNative(): Native {
  const library = koffi.load(null);
  const libc = (signature: string) => library.func(signature);
  const variadicFcntl = libc('int fcntl(int, int, ...)');
  const fcntl = (fd: number, command: number, value: number): number =>
    variadicFcntl(fd, command, 'int', value);
  const privileges: PrivilegeCalls = {
    prctl: libc('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)'),
    capget: libc('int capget(void *, void *)'),
    capset: libc('int capset(void *, void *)'),
  };
  return {
    ...privileges,
    socket: libc('int socket(int, int, int)'),
    setsockopt: libc('int setsockopt(int, int, int, void *, uint32_t)'),
    getsockopt: libc('int getsockopt(int, int, int, void *, void *)'),
    bind: libc('int bind(int, void *, uint32_t)'),
    listen: libc('int listen(int, int)'),
    accept4: libc('int accept4(int, void *, void *, int)'),
    getsockname: libc('int getsockname(int, void *, void *)'),
    recv: libc('intptr_t recv(int, void *, size_t, int)'),
    send: libc('intptr_t send(int, void *, size_t, int)'),
    sendto: libc('intptr_t sendto(int, void *, size_t, int, void *, uint32_t)'),
    shutdown: libc('int shutdown(int, int)'),
    close: libc('int close(int)'),
    fcntl,
    flock: libc('int flock(int, int)'),
    epollCreate: libc('int epoll_create1(int)'),
    epollCtl: libc('int epoll_ctl(int, int, int, void *)'),
    epollWait: libc('int epoll_wait(int, void *, int, int)'),
    errno: () => koffi.errno(),
    pollReadable: bindPoll(library),
    keepPrivilegesFromPrograms() {
      keepNothingForPrograms(privileges);
      // Node does this for the first ones alone, up to the first gap
      for (const fd of openDescriptors()) if (fd > LAST_STANDARD_FD) fcntl(fd, c.F_SETFD, c.FD_CLOEXEC);
    },
  };
}

/** Where there is no /proc, all that there may be as a rule. */
function openDescriptors(): number[] {
  try {
    return readdirSync('/proc/self/fd').map(Number);
  } catch {
    return Array.from({ length: DESCRIPTORS_AS_A_RULE }, (_, fd) => fd);
  }
}

const DESCRIPTORS_AS_A_RULE = 1024;

const LAST_STANDARD_FD = 2;

function bindPoll(library: LibraryHandle): Native['pollReadable'] {
  const defaultLoop = library.func('void *uv_default_loop()');
  const handleSize = library.func('size_t uv_handle_size(int)');
  const init = library.func('int uv_poll_init(void *, void *, int)');
  const start = library.func('int uv_poll_start(void *, int, void *)');
  const stop = library.func('int uv_poll_stop(void *)');
  const close = library.func('void uv_close(void *, void *)');
  const onPoll = koffi.pointer(koffi.proto('void', ['void *', 'int', 'int']));
  const onClose = koffi.pointer(koffi.proto('void', ['void *']));

  return (fd, onReadable) => {
    const handle = koffi.alloc('uint8_t', Number(handleSize(UV_POLL)));
    check('uv_poll_init', init(defaultLoop(), handle, fd));
    // libuv calls this outside of any JavaScript scope: do nothing here that may throw or that needs the tick queue
    const polled = koffi.register(() => void setImmediate(onReadable), onPoll);
    const closed = koffi.register(() => {
      setImmediate(() => {
        koffi.unregister(polled);
        koffi.unregister(closed);
        koffi.free(handle);
      });
    }, onClose);
    const resume = () => check('uv_poll_start', start(handle, UV_READABLE, polled));
    resume();
    return { resume, pause: () => stop(handle), close: () => close(handle, closed) };
  };
}

function check(name: string, result: number): void {
  if (result < 0) throw new Error(`${name} failed with libuv error ${result}`);
}

/** A session that logind knows, as sd-login(3) tells it. */
export interface LoginSession {
  /** `online`, `active`, `closing` */
  readonly state: string | undefined;
  /** `user`, `greeter`, `background`, and others that newer versions add */
  readonly class: string | undefined;
  /** What the program that logged somebody in says of the remote end: an address, or a host name. */
  readonly remoteHost: string | undefined;
}

/**
 * Binds libsystemd's functions that tell who is logged in.
 * @returns undefined on a host without libsystemd
 */
export function loadLoginSessions(): (() => LoginSession[]) | undefined {
  const library = loadIfThere('libsystemd.so.0');
  if (library === undefined) return undefined;
  const free = koffi.load(null).func('void free(void *)');
  const text = koffi.disposable('str', free);
  const getSessions = library.func('sd_get_sessions', 'int', [koffi.out(koffi.pointer('void *'))]);
  const getter = (name: string) => {
    const get = library.func(name, 'int', ['str', koffi.out(koffi.pointer(text))]);
    return (session: string): string | undefined => {
      const value: [string | null] = [null];
      // negative, a negated errno: the session has none, or has ended meanwhile
      return get(session, value) < 0 ? undefined : (value[0] ?? undefined);
    };
  };
  const state = getter('sd_session_get_state');
  const sessionClass = getter('sd_session_get_class');
  const remoteHost = getter('sd_session_get_remote_host');
  return () => {
    const list: [unknown] = [null];
    const count = getSessions(list);
    if (count < 0) throw new Error(`sd_get_sessions failed with errno ${-count}`);
    return takeStrings(list[0], count, free).map((session) => ({
      state: state(session),
      class: sessionClass(session),
      remoteHost: remoteHost(session),
    }));
  };
}

function loadIfThere(name: string): LibraryHandle | undefined {
  try {
    return koffi.load(name);
  } catch {
    return undefined;
  }
}

const POINTER_BYTES = koffi.sizeof('void *');

/** The texts of a list that C has allocated, which is given back. */
function takeStrings(list: unknown, count: number, free: (pointer: unknown) => void): string[] {
  if (count === 0) return [];
  // one by one: a type for the array as a whole would be made, and never freed, at each call
  const pointers = Array.from({ length: count }, (_, index) =>
    koffi.decode(list, index * POINTER_BYTES, 'void *'),
  );
  const texts = pointers.map((pointer) => String(koffi.decode(pointer, 'char', -1)));
  for (const pointer of [...pointers, list]) free(pointer);
  return texts;
}

/** A user of this host, as the name service switch knows him. */
export interface User {
  readonly name: string;
  readonly uid: number;
  /** His first group. */
  readonly gid: number;
  readonly home: string;
}

/** The beginning of struct passwd, the same with glibc and musl. */
const PASSWD = {
  name: 'void *',
  password: 'void *',
  uid: 'uint32_t',
  gid: 'uint32_t',
  fullName: 'void *',
  home: 'str',
} as const;

/**
 * Looks a user up.
 * @returns undefined when there is none of that name
 * @throws Error when the look-up failed, as when a directory server is away
 */
export function findUser(name: string): User | undefined {
  const getpwnam = koffi.load(null).func('void *getpwnam(const char *)');
  koffi.errno(0);
  const entry: unknown = getpwnam(name);
  if (entry === null) {
    const errno = koffi.errno();
    if (errno === 0 || NOT_FOUND.includes(errno)) return undefined;
    throw new Error(`getpwnam failed with errno ${errno}`);
  }
  const { uid, gid, home } = koffi.decode(entry, koffi.struct(PASSWD)) as User;
  return { name, uid, gid, home };
}

/** What getpwnam(3) may say instead of nothing where there is no such user. */
const NOT_FOUND = [c.ERRNO.ENOENT, c.ERRNO.ESRCH, c.ERRNO.EBADF, c.ERRNO.EPERM];
