/** When a task runs next: one at a time, with pauses. By a clock that nobody sets. */
export interface Schedule {
  /** Milliseconds until the next run. */
  readonly dueInMs: number;
  /** When the last run began, in milliseconds of `performance.now()`. */
  readonly lastRunAt: number | undefined;
  /** Has it run in that time, if it is not to run before; not while a pause lasts. */
  runWithin(ms: number): void;
  /** From now on a pause lasts that long, whatever was said before. */
  pause(ms: number): void;
  /** No run begins any more; resolves when the last one has ended. */
  stop(): Promise<void>;
}

/**
 * @param task says by `runWithin` when it is to run again; what it is told while it runs counts, too. Never rejects.
 */
export function createSchedule(task: () => Promise<void>): Schedule {
  let timer: NodeJS.Timeout | undefined;
  let nextAt = Number.POSITIVE_INFINITY;
  let earliestAt = 0;
  let lastRunAt: number | undefined;
  let running: Promise<void> | undefined;
  let isStopped = false;
  return {
    get dueInMs() {
      return Math.max(0, nextAt - performance.now());
    },
    get lastRunAt() {
      return lastRunAt;
    },
    runWithin(ms) {
      nextAt = Math.max(earliestAt, Math.min(nextAt, performance.now() + ms));
      restartTimer();
    },
    pause(ms) {
      earliestAt = performance.now() + ms;
      nextAt = Math.max(earliestAt, nextAt);
      restartTimer();
    },
    async stop() {
      isStopped = true;
      clearTimeout(timer);
      await running;
    },
  };

  function restartTimer(): void {
    clearTimeout(timer);
    if (isStopped || running !== undefined || nextAt === Number.POSITIVE_INFINITY) return;
    timer = setTimeout(run, Math.max(0, nextAt - performance.now()));
  }

  function run(): void {
    lastRunAt = performance.now();
    nextAt = Number.POSITIVE_INFINITY;
    running = task().finally(() => {
      running = undefined;
      restartTimer();
    });
  }
}
