import * as c from '../native/constants.ts';
import type { Native } from '../native/native.ts';

/** What systemd has told the service that it started, in its environment. */
export interface ServiceEnvironment {
  /** Where it wants to be told of the service's state: a path, or `@` and an abstract name. */
  readonly notifySocket: string | undefined;
  /** How long it waits for a sign of life. */
  readonly watchdogMs: number | undefined;
  /** Descriptors of the sockets that it has opened for the service. */
  readonly socketFds: readonly number[];
}

/** sd_notify(3) and sd_listen_fds(3), and what systemd 258 adds. */
const VARIABLES = [
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
  'LISTEN_PID',
  'LISTEN_PIDFDID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
] as const;

/** SD_LISTEN_FDS_START */
const FIRST_SOCKET_FD = 3;
/** Two for each port that a configuration may have. */
const MOST_SOCKETS = 262_140;

/** Takes systemd's variables out of an environment, so that no program of ours could speak in the service's name. */
export function takeServiceEnvironment(environment: NodeJS.ProcessEnv): ServiceEnvironment {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, LISTEN_PID, LISTEN_FDS } = environment;
  for (const name of VARIABLES) delete environment[name];
  const isWatched = WATCHDOG_PID === undefined || WATCHDOG_PID === String(process.pid);
  const watchdogMs = isWatched ? numberOf(WATCHDOG_USEC) / 1000 : 0;
  const sockets = LISTEN_PID === String(process.pid) ? Math.min(numberOf(LISTEN_FDS), MOST_SOCKETS) : 0;
  return {
    notifySocket: NOTIFY_SOCKET,
    watchdogMs: watchdogMs > 0 ? watchdogMs : undefined,
    socketFds: Array.from({ length: sockets }, (_, index) => FIRST_SOCKET_FD + index),
  };
}

/** 0 for what is no number that could be meant. */
function numberOf(text = ''): number {
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : 0;
}

/** Tells the service manager how the service is. Nothing of it can fail: who is not listened to goes on. */
export interface ServiceManager {
  /** It does its work, at first or again after `reloading`. @param status a line for `systemctl status` */
  ready(status: string): void;
  reloading(): void;
  /** Nothing else is told after it. */
  stopping(): void;
  close(): void;
}

/** Beside one that comes late there must be time for another. */
const SIGNS_PER_WATCHDOG = 3;
const LONGEST_SILENCE_MS = 60_000;
const RETRY_MS = 200;
/** More states than that, none of them taken, and nobody listens. */
const MOST_WAITING = 32;

/**
 * Speaks the protocol of sd_notify(3), and gives signs of life out of the event loop: one that hangs gives none.
 * Without a socket to tell it to, it does nothing.
 */
export function createServiceManager(
  native: Native,
  { notifySocket, watchdogMs }: ServiceEnvironment,
): ServiceManager {
  const address = addressOf(notifySocket);
  // kept open, so that a lack of descriptors does not look like a lack of life
  const fd = address === undefined ? -1 : openSocket(native);
  const waiting: string[] = [];
  let isStopping = false;
  let retryTimer: NodeJS.Timeout | undefined;
  const watchdog = watchdogMs === undefined ? undefined : startWatchdog(watchdogMs);

  return {
    ready: (status) => tell(`READY=1\nSTATUS=${oneLine(status)}`),
    // CLOCK_MONOTONIC, as hrtime has it
    reloading: () => tell(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping() {
      tell('STOPPING=1\nSTATUS=stopping');
      isStopping = true;
    },
    close() {
      clearInterval(watchdog);
      clearTimeout(retryTimer);
      if (fd >= 0) native.close(fd);
    },
  };

  function startWatchdog(patienceMs: number): NodeJS.Timeout {
    const everyMs = Math.min(patienceMs / SIGNS_PER_WATCHDOG, LONGEST_SILENCE_MS);
    return setInterval(tellAlive, everyMs).unref();
  }

  function tell(state: string): void {
    if (fd < 0 || isStopping || waiting.length >= MOST_WAITING) return;
    waiting.push(state);
    tellWaiting();
  }

  /** A state that finds the socket full is told later; signs of life are not worth it, as the next one comes. */
  function tellWaiting(): void {
    clearTimeout(retryTimer);
    while (waiting.length > 0 && send(waiting[0]!) !== 'full') waiting.shift();
    if (waiting.length > 0) retryTimer = setTimeout(tellWaiting, RETRY_MS).unref();
  }

  function tellAlive(): void {
    send('WATCHDOG=1');
  }

  function send(state: string): 'sent' | 'full' | 'failed' {
    if (fd < 0) return 'failed';
    const bytes = Buffer.from(state);
    const flags = c.MSG_NOSIGNAL | c.MSG_DONTWAIT;
    if (native.sendto(fd, bytes, bytes.length, flags, address!, address!.length) >= 0) return 'sent';
    return native.errno() === c.ERRNO.EAGAIN ? 'full' : 'failed';
  }
}

function openSocket(native: Native): number {
  return native.socket(c.AF_UNIX, c.SOCK_DGRAM | c.SOCK_CLOEXEC | c.SOCK_NONBLOCK, 0);
}

const PATH_OFFSET = 2;
/** Of struct sockaddr_un. */
const MOST_PATH_BYTES = 108;

/** A struct sockaddr_un; undefined for what is neither an absolute path nor an abstract name. */
function addressOf(socket = ''): Uint8Array | undefined {
  const path = Buffer.from(socket);
  if (!/^[/@]./.test(socket) || path.length > MOST_PATH_BYTES) return undefined;
  const isAbstract = socket.startsWith('@');
  // an abstract name begins with a null byte and ends with its length; a path ends with one, where there is room
  if (isAbstract) path[0] = 0;
  const address = Buffer.alloc(PATH_OFFSET + (isAbstract ? path.length : MOST_PATH_BYTES));
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = c.AF_UNIX;
  address.set(path, PATH_OFFSET);
  return address;
}

function oneLine(text: string): string {
  return text.replace(/\p{C}/gu, ' ');
}
