import { asciiJson } from './ascii-json.ts';
import type { LineFormatter, Origin } from './line.ts';

/** An event as one JSON object on one line, in the keys of the log line and printable ASCII. */
export function createJsonFormatter({ sensor, pid }: Origin): LineFormatter {
  return ({ time, ...event }) => asciiJson({ time: new Date(time).toISOString(), sensor, pid, ...event });
}
