/** Says what went wrong with the programs of decoys, without a line for each peer that makes one fail. */
export interface ResponseFailures {
  report(decoy: string, message: string): void;
  /** Says what is counted and not yet said. */
  close(): void;
}

const PAUSE_MS = 60_000;

interface Reported {
  /** Failures since the last one that was said. */
  more: number;
  last: string;
  readonly timer: NodeJS.Timeout;
}

/** The first failure of a decoy is said at once; those of the minute that follows are counted. */
export function createResponseFailures(say: (message: string) => void): ResponseFailures {
  const reported = new Map<string, Reported>();

  return {
    report(decoy, message) {
      const before = reported.get(decoy);
      if (before === undefined) {
        say(`the response of decoy ${decoy} failed: ${message}`);
        const timer = setTimeout(() => forget(decoy), PAUSE_MS).unref();
        reported.set(decoy, { more: 0, last: message, timer });
        return;
      }
      before.more += 1;
      before.last = message;
    },
    close() {
      for (const decoy of [...reported.keys()]) forget(decoy);
    },
  };

  function forget(decoy: string): void {
    const { more, last, timer } = reported.get(decoy)!;
    clearTimeout(timer);
    reported.delete(decoy);
    if (more > 0) {
      const times = more === 1 ? 'once more' : `${more} times more`;
      say(`the response of decoy ${decoy} failed ${times} within a minute, last: ${last}`);
    }
  }
}
