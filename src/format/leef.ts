import type { Event } from '../event.ts';
import { type Field, fieldsOf } from './fields.ts';
import type { Origin } from './line.ts';
import { concernsConnection } from './line-keys.ts';
import { MEANINGS, sentenceOf } from './meaning.ts';
import { createTimeFormatter } from './time.ts';

const DELIMITER = '^';

/** IBM's Log Event Extended Format 2.0, without a syslog header. Keys that LEEF has no name for keep theirs. */
export function createLeefFormatter({
  sensor,
  version,
}: Origin & { version: string }): (event: Event) => string {
  const formatTime = createTimeFormatter();
  const product = `LEEF:2.0|Honeyport|honeyport|${version.replaceAll('|', '_')}|`;
  return (event) => {
    const attributes: Field[] = [
      ['devTime', formatTime(event.time).replace('+00:00', '+0000')],
      ['devTimeFormat', "yyyy-MM-dd'T'HH:mm:ss.SSSZ"],
      ['cat', event.kind],
      ['sev', MEANINGS[event.kind].weight],
      ['identHostName', sensor],
      ...(concernsConnection(event.kind) ? [['proto', 'TCP'] as const] : []),
      ...fieldsOf(event).map(([name, value]) => [nameOf(event.kind, name), value] as const),
      ['msg', sentenceOf(event)],
    ];
    const text = attributes.map(([name, value]) => `${name}=${escapeValue(`${value}`)}`).join(DELIMITER);
    return `${product}${event.kind.toUpperCase()}|${DELIMITER}|${text}`;
  };
}

const NAMES: Readonly<Record<string, string>> = {
  spt: 'srcPort',
  dpt: 'dstPort',
  rx: 'srcBytes',
  tx: 'dstBytes',
};

/** The ports of many connections are no port. */
function nameOf(kind: Event['kind'], name: string): string {
  return kind === 'suppressed' ? name : (NAMES[name] ?? name);
}

/** LEEF has no escape for its delimiter; this one is that of our texts for any byte. */
function escapeValue(value: string): string {
  return value.replaceAll(DELIMITER, '\\x5e');
}
