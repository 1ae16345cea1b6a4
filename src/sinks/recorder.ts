import { randomBytes } from 'node:crypto';
import type { Event, Unrecorded } from '../event.ts';
import type { BoundedSink, Sink } from './sink.ts';

/** The one door through which events reach the sinks. */
export interface Recorder {
  /**
   * Names the event, which becomes the recorder's own, and hands it to every sink; counts it while the log has no room.
   * @returns its id, undefined when it was only counted
   */
  record(event: Unrecorded): string | undefined;
  /** Ends a batch: one write per sink, and the number of what was lost as soon as there is room to say it. */
  flush(): void;
  /** Replaces sinks at a reload; the ids go on. */
  use(sinks: RecorderSinks): void;
  /** Counts lines that a sink took and could not write; a later line tells of them. */
  lose(lines: number): void;
  /** Events lost that no line tells of yet. */
  readonly lost: number;
}

export interface RecorderSinks {
  /** Its room decides what is recorded: a line that cannot be logged must not have an id. */
  readonly file: BoundedSink;
  readonly others: readonly Sink[];
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** @param instance the random part of the ids, new for each start */
export function createRecorder(initial: RecorderSinks, instance: string = randomInstance()): Recorder {
  let { file, others } = initial;
  let count = 0;
  let lost = 0;

  return {
    record,
    flush,
    use: (sinks) => {
      ({ file, others } = sinks);
    },
    lose: (lines) => {
      lost += lines;
    },
    get lost() {
      return lost;
    },
  };

  function record(event: Unrecorded): string | undefined {
    if (!file.hasRoom()) {
      // a summary that is lost takes what it counts with it
      lost += event.kind === 'suppressed' ? event.count : 1;
      return undefined;
    }
    if (lost > 0) tellLoss();
    return write(event);
  }

  function flush(): void {
    flushSinks();
    if (lost === 0 || !file.hasRoom()) return;
    tellLoss();
    flushSinks();
  }

  function tellLoss(): void {
    const told = lost;
    lost = 0;
    write({ kind: 'suppressed', time: Date.now(), count: told, reason: 'queue' });
  }

  function write(unrecorded: Unrecorded): string {
    count += 1;
    // the event was made for this call alone: naming it in place spares the hot path a copy
    const event = unrecorded as Event & { id: string };
    event.id = `${instance}.${count}`;
    file.write(event);
    for (const sink of others) sink.write(event);
    return event.id;
  }

  function flushSinks(): void {
    file.flush();
    for (const sink of others) sink.flush();
  }
}

/** 40 random bits as eight characters, which sets the ids of one start apart from those of any other. */
function randomInstance(): string {
  return Array.from(randomBytes(8), (byte) => ALPHABET[byte & 31]).join('');
}
