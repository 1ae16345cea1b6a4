import type { SyslogReceiver } from '../configuration/configuration.ts';
import type { Event } from '../event.ts';
import type { LineFormatter } from '../format/line.ts';
import { createSyslogFormatter, type SyslogOrigin } from '../format/syslog.ts';
import { createBatchQueue } from './batch-queue.ts';
import { type Break, type LinkTiming, openLink } from './link.ts';
import type { Sink } from './sink.ts';
import type { SocketOptions } from './stream.ts';
import { type Framing, pack } from './wire.ts';

/** What may change while the receiver stays. */
export interface SyslogSettings {
  readonly origin: Pick<SyslogOrigin, 'sensor' | 'pid' | 'version'>;
  /** Events that may wait for the receiver. */
  readonly maxWaiting: number;
}

export interface SyslogOptions extends SyslogSettings {
  readonly receiver: SyslogReceiver;
  readonly socketOptions: SocketOptions;
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

export interface SyslogTiming extends LinkTiming {
  /** How long what was sent is kept, to be sent again if the connection breaks. */
  readonly keepSentMs: number;
  /** The same if the receiver ends it in order: what may have crossed its end. */
  readonly keepSentToOrderlyMs: number;
  /** How often a receiver's losses are told while it goes on losing. */
  readonly tellMs: number;
  readonly closeMs: number;
}

const TIMING: SyslogTiming = {
  firstRetryMs: 1000,
  longestRetryMs: 30_000,
  connectMs: 10_000,
  steadyMs: 10_000,
  trialMs: 1000,
  addressMs: 300_000,
  // longer than stream.ts takes to notice that nothing is acknowledged
  keepSentMs: 30_000,
  keepSentToOrderlyMs: 2000,
  tellMs: 60_000,
  closeMs: 2000,
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
  const { receiver, socketOptions, onTrouble, onRecovery, onLost, onClosed } = options;
  const timing = { ...TIMING, ...options.timing };
  const isUdp = receiver.target.wire === 'udp';
  const framing: Framing = isUdp ? 'datagram' : receiver.framing;
  /** Events that came just now, and the characters of peers' bytes in them. */
  let fresh: Event[] = [];
  let freshText = 0;
  const queue = createBatchQueue();
  let format = formatterOf(receiver, options);
  let { maxWaiting } = options;
  let lost = 0;
  /** Messages on their way to the kernel, and since when. */
  let handed = 0;
  let handedAt = 0;
  let scheduled = false;
  let onIdle: (() => void) | undefined;
  const link = openLink(receiver, socketOptions, timing, {
    onReady: send,
    onTaken: taken,
    onBroken: broken,
    onTrouble,
    onRecovery,
  });
  const tellTimer = setInterval(tellLoss, timing.tellMs).unref();

  return {
    write(event) {
      if (hasRoom()) take(event);
      else lose(event);
    },
    flush: schedule,
    change(settings) {
      format = formatterOf(receiver, settings);
      maxWaiting = settings.maxWaiting;
    },
    close,
  };

  function hasRoom(): boolean {
    return fresh.length + queue.waiting < maxWaiting && freshText + queue.waitingBytes < MOST_WAITING_BYTES;
  }

  function take(event: Event): void {
    fresh.push(event);
    if (event.kind === 'data') freshText += event.text.length;
  }

  /** That a receiver lacks events is no event that it could lack: counting it would go on for ever. */
  function lose(event: Event): void {
    if (event.kind !== 'suppressed' || event.receiver === undefined) lost += 1;
  }

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
    for (const event of events) if (event.kind === 'data') freshText -= event.text.length;
    if (events.length > 0) queue.add(pack(events.map(format), framing));
    send();
    schedule();
  }

  function send(): void {
    if (handed > 0 || !link.isReady) return;
    const now = performance.now();
    queue.forgetSentBefore(now - timing.keepSentMs);
    const batch = queue.take(now);
    if (batch === undefined) return;
    handed = batch.ends.length;
    handedAt = now;
    link.send(batch);
  }

  function taken(): void {
    handed = 0;
    // of a datagram nothing more will ever be known
    if (isUdp) queue.forgetSentBefore(Number.POSITIVE_INFINITY);
    if (lost > 0 && unsent() <= maxWaiting / 2) tellLoss();
    if (unsent() === 0) onIdle?.();
    // not in this turn: a receiver that takes much at once must not keep connections waiting
    else if (queue.waiting > 0) setImmediate(send);
  }

  function broken({ orderly, blamed }: Break): void {
    // while a receiver takes nothing, what it has may be unread however long ago it was sent
    const progressAt = handed > 0 ? handedAt : performance.now();
    queue.forgetSentBefore(progressAt - (orderly ? timing.keepSentToOrderlyMs : timing.keepSentMs));
    handed = 0;
    queue.sendAgain();
    if (blamed) lost += queue.blameFirst();
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

  /** What waits is sent if the receiver takes it in time; one that is away is not waited for. */
  async function close(): Promise<void> {
    clearInterval(tellTimer);
    let deadlineTimer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      deadlineTimer = setTimeout(resolve, timing.closeMs);
    });
    while (fresh.length > 0) gather();
    if (!link.isTroubled && unsent() > 0) await Promise.race([deadline, whenIdle()]);
    const left = unsent();
    if (handed === 0) await Promise.race([deadline, link.end()]);
    link.destroy();
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
