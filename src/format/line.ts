import type { Event } from '../event.ts';
import { formatEventText } from './event-text.ts';
import { createTimeFormatter } from './time.ts';

/** Who writes the lines. */
export interface Origin {
  /** The host that logs: `[A-Za-z0-9._-]{1,255}`. */
  readonly sensor: string;
  readonly pid: number;
}

/** Gives an event as one line of printable ASCII, without a line feed. */
export type LineFormatter = (event: Event) => string;

/** The formatter of the log line. */
export function createLineFormatter({ sensor, pid }: Origin): LineFormatter {
  const formatTime = createTimeFormatter();
  const tag = ` ${sensor} honeyport[${pid}]: `;
  return (event) => formatTime(event.time) + tag + formatEventText(event);
}
