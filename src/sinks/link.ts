import { isIP } from 'node:net';
import { createBackOff } from '../back-off.ts';
import type { SyslogReceiver, SyslogTarget } from '../configuration/configuration.ts';
import { resolveHostName } from '../resolve-host-name.ts';
import { openTcp, openUdp } from './client-wire.ts';
import { ClosedByReceiver, type SocketOptions } from './stream.ts';
import { openTls, openUnix } from './stream-wire.ts';
import { openTlsContext, type TlsContext } from './tls-files.ts';
import type { Batch, Wire, WireListener } from './wire.ts';

/** A receiver that is connected to again and again. */
export interface Link {
  /** Whether a batch can be sent now. */
  readonly isReady: boolean;
  /** Whether the last attempts came to nothing. */
  readonly isTroubled: boolean;
  /** Hands over a batch; the next one only after `onTaken`, and where the link is ready. */
  send(batch: Batch): void;
  /** Ends the connection after what was taken, and makes no other. */
  end(): Promise<void>;
  /** Lets go at once. */
  destroy(): void;
}

/** How a connection broke. */
export interface Break {
  /** The receiver has ended it in order, and so had read what it had got. */
  readonly orderly: boolean;
  /** It broke right after the one batch that was sent on it, and would have lasted without, for all that can be told. */
  readonly blamed: boolean;
}

export interface LinkListener {
  readonly onReady: () => void;
  /** What was sent last is with the kernel. */
  readonly onTaken: () => void;
  readonly onBroken: (how: Break) => void;
  /** The receiver cannot be reached, or ends each connection at once; said once until `onRecovery`. */
  readonly onTrouble: (reason: string) => void;
  readonly onRecovery: () => void;
}

export interface LinkTiming {
  readonly firstRetryMs: number;
  readonly longestRetryMs: number;
  readonly connectMs: number;
  /** A connection that has lasted as long without anything to send has come to something. */
  readonly steadyMs: number;
  /** One that has taken something has, too, after this time. */
  readonly trialMs: number;
  /** How often it is asked anew where datagrams go: a receiver may move, and UDP would not notice. */
  readonly addressMs: number;
}

/** @throws UserError when a certificate cannot be read */
export function openLink(
  { target, tls: files }: SyslogReceiver,
  socketOptions: SocketOptions,
  timing: LinkTiming,
  listener: LinkListener,
): Link {
  const tls = target.wire === 'tls' ? openTlsContext(files) : undefined;
  const name = files.name ?? (target.wire === 'unix' ? '' : target.host);
  const backOff = createBackOff({ firstMs: timing.firstRetryMs, longestMs: timing.longestRetryMs });
  const closing = new AbortController();
  const timers: Partial<Record<'retry' | 'connect' | 'prove' | 'trial' | 'refresh', NodeJS.Timeout>> = {};
  let wire: Wire | undefined;
  let isOpen = false;
  let isReady = false;
  /** Whether this connection has come to something. */
  let proved = false;
  let hasTaken = false;
  /**
   * The last connection broke before it had come to something. Was that for what was sent on it? The next one is
   * watched without anything, then with one batch alone.
   */
  let onTrial = false;
  let hasSent = false;
  let inFlight = false;
  let isStale = false;
  /** Since one came to something: each takes the next address of the receiver. */
  let failures = 0;
  let troubled = false;
  void connect();

  return {
    get isReady() {
      return isReady;
    },
    get isTroubled() {
      return troubled;
    },
    send(batch) {
      inFlight = true;
      hasSent = true;
      if (onTrial) isReady = false;
      wire!.send(batch);
    },
    async end() {
      stop();
      await wire?.end();
    },
    destroy() {
      stop();
      wire?.destroy();
    },
  };

  function stop(): void {
    closing.abort();
    isReady = false;
    clearTimers();
  }

  function clearTimers(): void {
    for (const timer of Object.values(timers)) clearTimeout(timer);
  }

  async function connect(): Promise<void> {
    try {
      const address = await addressOf(target, failures, closing.signal);
      if (closing.signal.aborted) return;
      timers.connect = setTimeout(() => broken(new Error('no answer')), timing.connectMs);
      const listening = { onOpen: opened, onTaken: taken, onBroken: broken };
      wire = openWire(target, { address, name, tls, socketOptions }, listening);
    } catch (error) {
      broken(error as Error);
    }
  }

  function opened(): void {
    clearTimeout(timers.connect);
    isOpen = true;
    timers.prove = setTimeout(prove, timing.steadyMs).unref();
    if (onTrial) timers.trial = setTimeout(becomeReady, timing.trialMs);
    // UDP is open before `wire` is set
    else setImmediate(becomeReady);
    if (target.wire === 'udp') timers.refresh = setTimeout(refresh, timing.addressMs).unref();
  }

  function becomeReady(): void {
    if (!isOpen || closing.signal.aborted) return;
    isReady = true;
    listener.onReady();
  }

  function taken(): void {
    inFlight = false;
    if (!hasTaken) {
      hasTaken = true;
      clearTimeout(timers.prove);
      timers.prove = setTimeout(prove, timing.trialMs);
    }
    if (isStale) reopen();
    listener.onTaken();
  }

  function prove(): void {
    proved = true;
    failures = 0;
    backOff.reset();
    if (troubled) {
      troubled = false;
      listener.onRecovery();
    }
    onTrial = false;
    if (!isReady) becomeReady();
  }

  function broken(error: Error): void {
    if (closing.signal.aborted) return;
    const orderly = error instanceof ClosedByReceiver;
    // that a datagram cannot be sent is the network's fault, not the datagram's
    const blamed = onTrial && hasSent && !proved && target.wire !== 'udp';
    if (!proved) failures += 1;
    if (!proved && isOpen && target.wire !== 'udp') onTrial = true;
    // one that had come to something may be back in a moment, and then nobody need hear of it
    const isTrouble = !proved && !troubled;
    letGo();
    listener.onBroken({ orderly, blamed });
    if (isTrouble) {
      troubled = true;
      listener.onTrouble(reasonOf(error));
    }
    timers.retry = setTimeout(() => void connect(), backOff.next());
  }

  function letGo(): void {
    clearTimers();
    wire?.destroy();
    wire = undefined;
    isOpen = false;
    isReady = false;
    proved = false;
    hasTaken = false;
    hasSent = false;
    inFlight = false;
    isStale = false;
  }

  function refresh(): void {
    if (inFlight) isStale = true;
    else reopen();
  }

  function reopen(): void {
    letGo();
    void connect();
  }
}

interface WireOptions {
  readonly address: string;
  readonly name: string;
  readonly tls: TlsContext | undefined;
  readonly socketOptions: SocketOptions;
}

function openWire(
  target: SyslogTarget,
  { address, name, tls, socketOptions }: WireOptions,
  listener: WireListener,
): Wire {
  switch (target.wire) {
    case 'unix':
      return openUnix(address, listener);
    case 'udp':
      return openUdp({ address, port: target.port }, listener);
    case 'tcp':
      return openTcp({ address, port: target.port }, socketOptions, listener);
    case 'tls':
      return openTls(
        { address, port: target.port, name, secureContext: tls!.current() },
        socketOptions,
        listener,
      );
  }
}

/**
 * The address of the nth attempt: the first may be of a family that does not reach the receiver. Version 4 comes first:
 * over UDP nobody would notice.
 */
async function addressOf(target: SyslogTarget, attempt: number, signal: AbortSignal): Promise<string> {
  if (target.wire === 'unix') return target.path;
  if (isIP(target.host) !== 0) return target.host;
  const { ipv4 = [], ipv6 = [], failure } = await resolveHostName(target.host, signal);
  const addresses = [...ipv4, ...ipv6];
  if (addresses.length === 0) throw new Error(`the host name ${target.host} does not resolve (${failure})`);
  return addresses[attempt % addresses.length]!;
}

/** OpenSSL's message has places in its source; its reason has not. */
function reasonOf(error: Error & { reason?: unknown; code?: unknown }): string {
  if (typeof error.reason === 'string') return error.reason;
  return error.message === '' ? String(error.code) : error.message;
}
