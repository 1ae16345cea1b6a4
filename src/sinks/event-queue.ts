import type { Event } from '../event.ts';

/** Events on their way to a receiver: those that were sent and may have to be sent again, then those that wait. */
export interface EventQueue {
  /** Events that wait. */
  readonly waiting: number;
  add(event: Event): void;
  /** The next events, at most `most`; they count as sent at `now`. */
  take(most: number, now: number): Event[];
  /** Forgets what was sent before `time`: the receiver has read it, as far as anybody can tell. */
  forgetSentBefore(time: number): void;
  /**
   * What was sent waits again, in its place, since the connection broke and nobody knows what was read.
   * @returns the number of events that are given up, because that happened to them too often
   */
  sendAgain(): number;
}

interface Entry {
  readonly event: Event;
  sends: number;
  sentAt: number;
}

/**
 * A receiver that breaks the connection over one message must not keep all others from it for ever. Each time takes a
 * longer wait, so that one that only restarts is never counted as lacking what it has.
 */
const MOST_SENDS = 10;
/** More than fit between two kernels: about 800 KiB of messages of 300 bytes, with the buffer that stream.ts allows. */
const MOST_SENT = 10_000;

export function createEventQueue(): EventQueue {
  /** Forgotten before `first`, sent before `next`, waiting from there on. */
  let entries: Entry[] = [];
  let first = 0;
  let next = 0;

  return {
    get waiting() {
      return entries.length - next;
    },
    add: (event) => void entries.push({ event, sends: 0, sentAt: 0 }),
    take(most, now) {
      const taken = entries.slice(next, next + most);
      for (const entry of taken) {
        entry.sends += 1;
        entry.sentAt = now;
      }
      next += taken.length;
      forgetUntil(next - MOST_SENT);
      return taken.map(({ event }) => event);
    },
    forgetSentBefore(time) {
      let end = first;
      while (end < next && entries[end]!.sentAt < time) end += 1;
      forgetUntil(end);
    },
    sendAgain() {
      const sent = entries.slice(first, next);
      const again = sent.filter(({ sends }) => sends < MOST_SENDS);
      entries = [...again, ...entries.slice(next)];
      first = 0;
      next = 0;
      return sent.length - again.length;
    },
  };

  function forgetUntil(end: number): void {
    first = Math.max(first, end);
    // moving what is left is worth it only now and then
    if (first < 1024 || first * 2 < entries.length) return;
    entries = entries.slice(first);
    next -= first;
    first = 0;
  }
}
