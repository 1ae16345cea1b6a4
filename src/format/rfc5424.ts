import type { Event } from '../event.ts';
import { escapeBytes, isBare } from './escape.ts';
import { formatEventText } from './event-text.ts';
import { sequenceOf } from './fields.ts';
import { concernsConnection, LINE_KEYS, PROTOCOL } from './line-keys.ts';

/** RFC 5424 lets sequenceId wrap to 1 after this. */
const MOST_SEQUENCE = 2_147_483_647;

/**
 * STRUCTURED-DATA with every key of the event, and the text of its log line as the message.
 *
 * @param enterprise the number after @ in the names of our elements; IANA gives them out
 */
export function createRfc5424Formatter(version: string, enterprise: number): (event: Event) => string {
  const origin = `[origin software="honeyport" swVersion="${escapeParameter(version)}"]`;
  const elements = Object.fromEntries(
    Object.keys(LINE_KEYS).map((kind) => [kind, createElementFormatter(kind as Event['kind'], enterprise)]),
  ) as Record<Event['kind'], (event: Event) => string>;
  return (event) => {
    const sequenceId = ((sequenceOf(event) - 1) % MOST_SEQUENCE) + 1;
    const data = `${elements[event.kind](event)}${origin}[meta sequenceId="${sequenceId}"]`;
    return `${data} ${formatEventText(event)}`;
  };
}

/** Made once for each kind of event: lists of keys and values would cost twice as much as the message itself. */
function createElementFormatter(kind: Event['kind'], enterprise: number): (event: Event) => string {
  const isConnection = concernsConnection(kind);
  const head = `[${isConnection ? 'conn' : 'honeyport'}@${enterprise}`;
  const [protocol, tcp] = PROTOCOL.split('=');
  const parts = LINE_KEYS[kind].map(({ name }) => ({
    name,
    // in its place before `decoy`, as in the line
    label: `${isConnection && name === 'decoy' ? ` ${protocol}="${tcp}"` : ''} ${name}="`,
  }));
  return (event) => {
    const values = event as unknown as Record<string, string | number | undefined>;
    let text = head;
    for (const { name, label } of parts) {
      const value = values[name];
      if (value !== undefined) text += `${label}${typeof value === 'string' ? parameterOf(value) : value}"`;
    }
    return `${text}]`;
  };
}

function parameterOf(value: string): string {
  return isBare(value) ? value : escapeParameter(escapeBytes(value));
}

function escapeParameter(value: string): string {
  return value.replace(/["\\\]]/g, '\\$&');
}
