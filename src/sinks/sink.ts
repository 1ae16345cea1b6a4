import type { Event } from '../event.ts';

/** Where events are written. Nothing in it may wait: the next connection is at the door. */
export interface Sink {
  /** Takes an event; it is on its way at the next `flush`. */
  write(event: Event): void;
  /** Sends what was taken, as far as that goes without waiting, and keeps the rest within the sink's bound. */
  flush(): void;
  /** Sends what is left within a bounded time, then lets go of the file or socket. */
  close(): Promise<void>;
}

/** A sink that says beforehand whether it can take an event, so that what it cannot take is counted. */
export interface BoundedSink extends Sink {
  hasRoom(): boolean;
}
