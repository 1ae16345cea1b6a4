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
  /** What was sent waits again, in its place, since the connection broke and nobody knows what was read. */
  sendAgain(): void;
  /**
   * The batch that waits first was the only one on a connection that broke at once.
   * @returns the number of messages that are given up, because that has happened to them too often
   */
  blameFirst(): number;
}

interface Entry {
  readonly batch: Batch;
  sentAt: number;
  blames: number;
}

/** A receiver that breaks the connection over one message must not keep all others from it for ever. */
const MOST_BLAMES = 5;
/** More than fit between two kernels, with the buffer that stream.ts allows. */
const MOST_SENT = 10_000;
const MOST_SENT_BYTES = 8 << 20;

export function createBatchQueue(): BatchQueue {
  /** Forgotten before `first`, sent before `next`, waiting from there on. */
  let entries: (Entry | undefined)[] = [];
  let first = 0;
  let next = 0;
  const sent = { messages: 0, bytes: 0 };
  const waiting = { messages: 0, bytes: 0 };

  return {
    get waiting() {
      return waiting.messages;
    },
    get waitingBytes() {
      return waiting.bytes;
    },
    add(batch) {
      entries.push({ batch, sentAt: 0, blames: 0 });
      count(waiting, batch, 1);
    },
    take(now) {
      const entry = entries[next];
      if (entry === undefined) return undefined;
      next += 1;
      entry.sentAt = now;
      count(waiting, entry.batch, -1);
      count(sent, entry.batch, 1);
      while ((sent.messages > MOST_SENT || sent.bytes > MOST_SENT_BYTES) && first < next - 1) forgetFirst();
      tidy();
      return entry.batch;
    },
    forgetSentBefore(time) {
      while (first < next && entries[first]!.sentAt < time) forgetFirst();
      tidy();
    },
    sendAgain() {
      for (const entry of entries.slice(first, next)) {
        count(sent, entry!.batch, -1);
        count(waiting, entry!.batch, 1);
      }
      next = first;
    },
    blameFirst() {
      const entry = entries[next];
      if (entry === undefined) return 0;
      entry.blames += 1;
      if (entry.blames < MOST_BLAMES) return 0;
      entries.splice(next, 1);
      count(waiting, entry.batch, -1);
      return entry.batch.ends.length;
    },
  };

  function count(sum: { messages: number; bytes: number }, { bytes, ends }: Batch, sign: 1 | -1): void {
    sum.messages += sign * ends.length;
    sum.bytes += sign * bytes.length;
  }

  function forgetFirst(): void {
    count(sent, entries[first]!.batch, -1);
    // its bytes go now, not when the list is moved
    entries[first] = undefined;
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
