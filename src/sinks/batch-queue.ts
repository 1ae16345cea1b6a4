import type { Batch } from './wire.ts';

/**
 * Batches on their way to a receiver: those that were sent and may have to be sent again, then those that wait. Messages
 * are bytes outside of the JavaScript heap: kept there for half a minute, they would cost the collector more than
 * everything else costs together.
 */
export interface BatchQueue {
  /** Messages that wait. */
  readonly waiting: number;
  readonly waitingBytes: number;
  add(batch: Batch): void;
  /** The next batch, which counts as sent at `now`. */
  take(now: number): Batch | undefined;
  /** Forgets what was sent before `time`: the receiver has read it, as far as anybody can tell. */
  forgetSentBefore(time: number): void;
  /**
   * What was sent waits again, in its place, since the connection broke and nobody knows what was read.
   * @returns the number of messages that are given up, because that happened to them too often
   */
  sendAgain(): number;
}

interface Entry {
  readonly batch: Batch;
  sends: number;
  sentAt: number;
}

/**
 * A receiver that breaks the connection over one message must not keep all others from it for ever. Each time takes a
 * longer wait, so that one that only restarts is never counted as lacking what it has.
 */
const MOST_SENDS = 10;
/** More messages than fit between two kernels: about 800 KiB, with the buffer that stream.ts allows. */
const MOST_SENT = 10_000;

export function createBatchQueue(): BatchQueue {
  /** Forgotten before `first`, sent before `next`, waiting from there on. */
  let entries: Entry[] = [];
  let first = 0;
  let next = 0;
  let sentMessages = 0;
  let waiting = 0;
  let waitingBytes = 0;

  return {
    get waiting() {
      return waiting;
    },
    get waitingBytes() {
      return waitingBytes;
    },
    add(batch) {
      entries.push({ batch, sends: 0, sentAt: 0 });
      count(batch, 1);
    },
    take(now) {
      const entry = entries[next];
      if (entry === undefined) return undefined;
      next += 1;
      entry.sends += 1;
      entry.sentAt = now;
      sentMessages += entry.batch.ends.length;
      count(entry.batch, -1);
      while (sentMessages > MOST_SENT && first < next - 1) forgetFirst();
      tidy();
      return entry.batch;
    },
    forgetSentBefore(time) {
      while (first < next && entries[first]!.sentAt < time) forgetFirst();
      tidy();
    },
    sendAgain() {
      const sent = entries.slice(first, next);
      const again = sent.filter(({ sends }) => sends < MOST_SENDS);
      for (const { batch } of again) count(batch, 1);
      const before = sentMessages;
      entries = [...again, ...entries.slice(next)];
      first = 0;
      next = 0;
      sentMessages = 0;
      return before - again.reduce((sum, { batch }) => sum + batch.ends.length, 0);
    },
  };

  function count({ bytes, ends }: Batch, sign: 1 | -1): void {
    waiting += sign * ends.length;
    waitingBytes += sign * bytes.length;
  }

  function forgetFirst(): void {
    sentMessages -= entries[first]!.batch.ends.length;
    first += 1;
  }

  /** Moving what is left is worth it only now and then. */
  function tidy(): void {
    if (first < 1024 || first * 2 < entries.length) return;
    entries = entries.slice(first);
    next -= first;
    first = 0;
  }
}
