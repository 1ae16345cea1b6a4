import { isIP } from 'node:net';
import type { SyslogReceiver } from '../configuration/configuration.ts';
import type { Event } from '../event.ts';
import type { LineFormatter } from '../format/line.ts';
import { createSyslogFormatter, type SyslogOrigin } from '../format/syslog.ts';
import type { Native } from '../native.ts';
import { resolveHostName } from '../resolve-host-name.ts';
import { createBackOff } from './back-off.ts';
import { createBatchQueue } from './batch-queue.ts';
import { openTcp, openUdp } from './client-wire.ts';
import type { Sink } from './sink.ts';
import { openTls, openUnix } from './stream-wire.ts';
import { openTlsContext } from './tls-files.ts';
import { type Framing, pack, type Wire, type WireListener } from './wire.ts';

/** What may change while the receiver stays. */
export interface SyslogSettings {
  readonly origin: Pick<SyslogOrigin, 'sensor' | 'pid' | 'version'>;
  /** Events that may wait for the receiver. */
  readonly maxWaiting: number;
}

export interface SyslogOptions extends SyslogSettings {
  readonly receiver: SyslogReceiver;
  readonly setsockopt: Native['setsockopt'];
  /** Called when events begin to wait because the receiver cannot be reached, with the reason. */
  readonly onTrouble: (reason: string) => void;
  /** Called when the receiver takes events again. */
  readonly onRecovery: () => void;
  /** Called with the number of events that the receiver lacks, at most now and then; never during `write` or `flush`. */
  readonly onLost: (events: number) => void;
  /** Called once at the end with the number of events that were not sent and not told of yet; also with 0. */
  readonly onClosed: (lostEvents: number) => void;
  readonly timing?: Partial<SyslogTiming>;
}

export interface SyslogTiming {
  readonly firstRetryMs: number;
  readonly longestRetryMs: number;
  readonly connectMs: number;
  /** A connection that lasts as long has come to something. */
  readonly steadyMs: number;
  /** How long what was sent is kept, to be sent again if the connection breaks. */
  readonly keepSentMs: number;
  /** How often a receiver's losses are told while it goes on losing. */
  readonly tellMs: number;
  readonly closeMs: number;
  /** How often it is asked anew where datagrams go: a receiver may move, and UDP would not notice. */
  readonly addressMs: number;
}

const TIMING: SyslogTiming = {
  firstRetryMs: 1000,
  longestRetryMs: 30_000,
  connectMs: 10_000,
  steadyMs: 10_000,
  // longer than stream.ts lets a receiver leave bytes unacknowledged
  keepSentMs: 30_000,
  tellMs: 60_000,
  closeMs: 2000,
  addressMs: 300_000,
};

/** Formatting these takes less time than a batch of connections may have to wait for. */
const LEAST_BATCH = 16;
/** What is gathered beyond a batch comes faster than batches go: then they may take longer. */
const MOST_BATCH = 256;
/** Events are gathered for so long: a receiver does not mind, and one message at a time costs twice as much. */
const GATHER_MS = 10;
/** Beside the number of events; only what peers send can come near it. */
const MOST_WAITING_BYTES = 64 << 20;

/** A sink that lasts through a reload. */
export interface SyslogSink extends Sink {
  change(settings: SyslogSettings): void;
}

/**
 * Sends events to a syslog receiver. A receiver that is away, slow or hostile costs nobody else anything: events wait
 * within the bound, what is beyond it is counted, and what was sent when a connection broke is sent again.
 * @throws UserError when a certificate cannot be read
 */
export function openSyslog(options: SyslogOptions): SyslogSink {
  const { receiver, setsockopt, onTrouble, onRecovery, onLost, onClosed } = options;
  const timing = { ...TIMING, ...options.timing };
  const { target } = receiver;
  const framing: Framing = target.wire === 'udp' ? 'datagram' : receiver.framing;
  const tls = target.wire === 'tls' ? openTlsContext(receiver.tls) : undefined;
  /** Events that came just now. */
  let fresh: Event[] = [];
  const queue = createBatchQueue();
  const backOff = createBackOff({ firstMs: timing.firstRetryMs, longestMs: timing.longestRetryMs });
  let format = formatterOf(receiver, options);
  let { maxWaiting } = options;
  let lost = 0;
  let wire: Wire | undefined;
  let isOpen = false;
  let openedAt = 0;
  /** Messages on their way to the kernel. */
  let handed = 0;
  let scheduled = false;
  let troubled = false;
  let attempts = 0;
  let closed = false;
  let onIdle: (() => void) | undefined;
  let retryTimer: NodeJS.Timeout | undefined;
  let connectTimer: NodeJS.Timeout | undefined;
  const tellTimer = setInterval(tellLoss, timing.tellMs).unref();
  const closing = new AbortController();
  void connect();

  return {
    write(event) {
      if (fresh.length + queue.waiting < maxWaiting && queue.waitingBytes < MOST_WAITING_BYTES)
        fresh.push(event);
      else lost += 1;
    },
    flush: schedule,
    change(settings) {
      format = formatterOf(receiver, settings);
      maxWaiting = settings.maxWaiting;
    },
    close,
  };

  /** Formatting takes a turn of its own: it must not come between a batch of connections and their end. */
  function schedule(): void {
    if (scheduled || fresh.length === 0) return;
    scheduled = true;
    if (fresh.length < LEAST_BATCH) setTimeout(gather, GATHER_MS);
    else setImmediate(gather);
  }

  function gather(): void {
    scheduled = false;
    const size = Math.max(LEAST_BATCH, Math.min(fresh.length >> 3, MOST_BATCH));
    const events = fresh.length <= size ? fresh : fresh.slice(0, size);
    fresh = fresh.length <= size ? [] : fresh.slice(size);
    if (events.length > 0) queue.add(pack(events.map(format), framing));
    send();
    schedule();
  }

  function send(): void {
    if (handed > 0 || !isOpen || wire === undefined) return;
    if (isStale()) {
      reopen();
      return;
    }
    const now = Date.now();
    queue.forgetSentBefore(now - timing.keepSentMs);
    const batch = queue.take(now);
    if (batch === undefined) return;
    handed = batch.ends.length;
    wire.send(batch);
  }

  function taken(): void {
    handed = 0;
    // of a datagram nothing more will ever be known
    if (target.wire === 'udp') queue.forgetSentBefore(Number.POSITIVE_INFINITY);
    if (troubled) {
      troubled = false;
      onRecovery();
    }
    if (lost > 0 && unsent() <= maxWaiting / 2) tellLoss();
    if (unsent() === 0) onIdle?.();
    // not in this turn: a receiver that takes much at once must not keep connections waiting
    else if (queue.waiting > 0) setImmediate(send);
  }

  function unsent(): number {
    return handed + queue.waiting + fresh.length;
  }

  function tellLoss(): void {
    if (lost === 0) return;
    const told = lost;
    lost = 0;
    onLost(told);
  }

  async function connect(): Promise<void> {
    const number = attempts++;
    try {
      const address =
        target.wire === 'unix' ? target.path : await addressOf(target.host, number, closing.signal);
      if (closed) return;
      connectTimer = setTimeout(() => broken(new Error('no answer')), timing.connectMs);
      wire = openWire(address, { onOpen: opened, onTaken: taken, onBroken: broken });
    } catch (error) {
      broken(error as Error);
    }
  }

  function openWire(address: string, listener: WireListener): Wire {
    switch (target.wire) {
      case 'unix':
        return openUnix(address, listener);
      case 'udp':
        return openUdp({ address, port: target.port }, listener);
      case 'tcp':
        return openTcp({ address, port: target.port }, { setsockopt }, listener);
      case 'tls': {
        const secureContext = tls!.current();
        const name = receiver.tls.name ?? target.host;
        return openTls({ address, port: target.port, name, secureContext }, { setsockopt }, listener);
      }
    }
  }

  function opened(): void {
    clearTimeout(connectTimer);
    isOpen = true;
    openedAt = Date.now();
    // UDP is open before `wire` is set
    setImmediate(send);
  }

  function broken(error: Error): void {
    clearTimeout(connectTimer);
    wire?.destroy();
    if (isOpen && Date.now() - openedAt >= timing.steadyMs) backOff.reset();
    forgetWire();
    queue.forgetSentBefore(Date.now() - timing.keepSentMs);
    lost += queue.sendAgain();
    if (closed) return;
    if (!troubled) {
      troubled = true;
      onTrouble(reasonOf(error));
    }
    retryTimer = setTimeout(() => void connect(), backOff.next());
  }

  function forgetWire(): void {
    wire = undefined;
    isOpen = false;
    handed = 0;
  }

  function isStale(): boolean {
    return target.wire === 'udp' && Date.now() - openedAt > timing.addressMs;
  }

  function reopen(): void {
    wire?.destroy();
    forgetWire();
    void connect();
  }

  /** What waits is sent if the receiver takes it in time; one that is away is not waited for. */
  async function close(): Promise<void> {
    clearInterval(tellTimer);
    let deadlineTimer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      deadlineTimer = setTimeout(resolve, timing.closeMs);
    });
    while (fresh.length > 0) gather();
    if (!troubled && unsent() > 0) await Promise.race([deadline, whenIdle()]);
    closed = true;
    closing.abort();
    clearTimeout(retryTimer);
    clearTimeout(connectTimer);
    const left = unsent();
    if (handed === 0) await Promise.race([deadline, wire?.end()]);
    wire?.destroy();
    clearTimeout(deadlineTimer);
    onClosed(lost + left);
  }

  function whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      onIdle = resolve;
    });
  }
}

function formatterOf(
  { format, facility, enterprise }: SyslogReceiver,
  { origin }: SyslogSettings,
): LineFormatter {
  return createSyslogFormatter(format, { ...origin, facility, enterprise });
}

/**
 * Each attempt takes the next address, as the first may be of a family that does not reach the receiver. Version 4 comes
 * first: over UDP nobody would notice.
 */
async function addressOf(host: string, attempt: number, signal: AbortSignal): Promise<string> {
  if (isIP(host) !== 0) return host;
  const { ipv4 = [], ipv6 = [], failure } = await resolveHostName(host, signal);
  const addresses = [...ipv4, ...ipv6];
  if (addresses.length === 0) throw new Error(`the host name ${host} does not resolve (${failure})`);
  return addresses[attempt % addresses.length]!;
}

function reasonOf(error: Error): string {
  // of several addresses tried, Node says nothing but AggregateError
  return error.message === '' && 'code' in error ? String(error.code) : error.message;
}
