import type { Event } from '../event.ts';
import { formatEventText } from './event-text.ts';
import { type Field, fieldsOf, sequenceOf } from './fields.ts';
import { concernsConnection, PROTOCOL } from './line-keys.ts';

/** RFC 5424 lets sequenceId wrap to 1 after this. */
const MOST_SEQUENCE = 2_147_483_647;

/**
 * STRUCTURED-DATA with every key of the event, and the text of its log line as the message.
 *
 * @param enterprise the number after @ in the names of our elements; IANA gives them out
 */
export function createRfc5424Formatter(version: string, enterprise: number): (event: Event) => string {
  const origin = element('origin', [
    ['software', 'honeyport'],
    ['swVersion', version],
  ]);
  return (event) => {
    const name = concernsConnection(event.kind) ? 'conn' : 'honeyport';
    const sequenceId = ((sequenceOf(event) - 1) % MOST_SEQUENCE) + 1;
    const data =
      element(`${name}@${enterprise}`, withProtocol(event)) +
      origin +
      element('meta', [['sequenceId', sequenceId]]);
    return `${data} ${formatEventText(event)}`;
  };
}

/** `proto` has its place before `decoy`, as in the line. */
function withProtocol(event: Event): Field[] {
  const fields = fieldsOf(event);
  if (!concernsConnection(event.kind)) return fields;
  const at = fields.findIndex(([name]) => name === 'decoy');
  return fields.toSpliced(at, 0, PROTOCOL.split('=') as [string, string]);
}

function element(name: string, fields: readonly Field[]): string {
  const parameters = fields.map(([key, value]) => ` ${key}="${escapeParameter(`${value}`)}"`);
  return `[${name}${parameters.join('')}]`;
}

function escapeParameter(value: string): string {
  return value.replace(/["\\\]]/g, '\\$&');
}
