import type { Event } from '../event.ts';
import { formatEventText } from './event-text.ts';
import type { LineFormatter } from './line.ts';
import { MEANINGS } from './meaning.ts';

/**
 * Characters of what a peer sent. journald cuts a line at LineMax=, 48 KiB by default, and takes the rest for a message
 * of its own, which the peer could have written.
 */
const MOST_TEXT = 4096;

/** An event as a message for journald, which adds time, host and tag itself and takes the severity from `<N>`. */
export function createJournalFormatter(): LineFormatter {
  return (event) => `<${MEANINGS[event.kind].severity}>${formatEventText(event)}`;
}

/** The same format, with lines that journald does not cut. */
export function withoutLongLines(format: LineFormatter): LineFormatter {
  return (event) => format(shorten(event));
}

function shorten(event: Event): Event {
  if (event.kind !== 'data' || event.text.length <= MOST_TEXT) return event;
  return { ...event, text: event.text.slice(0, MOST_TEXT) };
}
