import type { Event } from '../event.ts';
import { escapeBytes, isBare } from './escape.ts';
import { concernsConnection, LINE_KEYS, type LineKey, PROTOCOL } from './line-keys.ts';

/** What stands after the tag of an event's line: its name and its keys, in the order of the schema. */
export function formatEventText(event: Event): string {
  return FORMATTERS[event.kind](event);
}

type KeysFormatter = (event: Event) => string;

const FORMATTERS = Object.fromEntries(
  Object.entries(LINE_KEYS).map(([kind, keys]) => [kind, createKeysFormatter(kind as Event['kind'], keys)]),
) as { readonly [K in Event['kind']]: KeysFormatter };

function createKeysFormatter(kind: Event['kind'], keys: readonly LineKey[]): KeysFormatter {
  const parts = keys.map((key) => ({ ...key, label: label(kind, key.name) }));
  return (event) => {
    let line: string = kind;
    for (const part of parts) {
      const value = (event as unknown as Record<string, string | number | undefined>)[part.name];
      if (value === undefined) continue;
      line += part.label + (typeof value === 'number' ? value : formatText(value, part.quoted === true));
    }
    return line;
  };
}

function label(kind: Event['kind'], name: string): string {
  return name === 'decoy' && concernsConnection(kind) ? ` ${PROTOCOL} decoy=` : ` ${name}=`;
}

function formatText(value: string, quoted: boolean): string {
  return !quoted && isBare(value) ? value : `"${escapeBytes(value).replaceAll('"', '\\"')}"`;
}
