import type { Event } from '../event.ts';
import { escapeBytes, isBare } from './escape.ts';
import { LINE_KEYS } from './line-keys.ts';

/** A key of the log line and its value; texts are printable ASCII as `escapeBytes` makes it. */
export type Field = readonly [name: string, value: string | number];

/** The keys that an event has in its line, in their order, and what they say; without `proto`, which is always tcp. */
export function fieldsOf(event: Event): Field[] {
  const values = event as unknown as Record<string, string | number | undefined>;
  const fields: Field[] = [];
  for (const { name } of LINE_KEYS[event.kind]) {
    const value = values[name];
    if (value !== undefined) fields.push([name, typeof value === 'string' ? printableOf(value) : value]);
  }
  return fields;
}

function printableOf(value: string): string {
  return isBare(value) ? value : escapeBytes(value);
}

/** The fields that `names` does not name, as an object; a connection's port is none of them, those of many are. */
export function fieldsWithout(event: Event, names: ReadonlySet<string>): Record<string, string | number> {
  const isElsewhere = (name: string) => names.has(name) || (name === 'dpt' && 'spt' in event);
  return Object.fromEntries(fieldsOf(event).filter(([name]) => !isElsewhere(name)));
}

/** The number in an event's id: 1 for the first line of a start, without gaps. */
export function sequenceOf({ id }: Event): number {
  return Number(id.slice(id.lastIndexOf('.') + 1));
}
