import type { Event } from '../event.ts';
import type { LineFormatter, Origin } from './line.ts';

/** An event as one JSON object on one line, in the keys of the log line and printable ASCII. */
export function createJsonFormatter({ sensor, pid }: Origin): LineFormatter {
  return ({ time, ...event }: Event) => {
    const text = JSON.stringify({ time: new Date(time).toISOString(), sensor, pid, ...event });
    return text.replace(/[\x7f-\uffff]/g, escapeCharacter);
  };
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
