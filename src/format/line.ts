import type { Event } from '../event.ts';
import { concernsConnection, LINE_KEYS, type LineKey, PROTOCOL } from './line-keys.ts';

/** Who writes the lines. */
export interface Origin {
  /** The host that logs: `[A-Za-z0-9._-]{1,255}`. */
  readonly sensor: string;
  readonly pid: number;
}

/** Gives an event as one line of printable ASCII, without a line feed. */
export type LineFormatter = (event: Event) => string;

/** Whether a character may stand in a bare value; a table, since a regular expression per value shows in the bench. */
const BARE = Uint8Array.from({ length: 128 }, (_, code) =>
  /[A-Za-z0-9._:,/+@-]/.test(String.fromCharCode(code)) ? 1 : 0,
);
const PRINTABLE = /^[\x20-\x7e]*$/;

/** The formatter of the log line, the one place where its shape is written down in code. */
export function createLineFormatter({ sensor, pid }: Origin): LineFormatter {
  const formatTime = createTimeFormatter();
  const tag = ` ${sensor} honeyport[${pid}]: `;
  return (event) => formatTime(event.time) + tag + FORMATTERS[event.kind](event);
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
  return !quoted && isBare(value) ? value : `"${escapeText(value)}"`;
}

function isBare(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (BARE[value.charCodeAt(i)] !== 1) return false;
  return value !== '';
}

/** Only `\"`, `\\` and `\xNN`. A character above 0xff stands for its UTF-8 bytes: a line speaks of bytes. */
function escapeText(value: string): string {
  const marked = value.replace(/["\\]/g, '\\$&');
  return PRINTABLE.test(marked) ? marked : marked.replace(/[^\x20-\x7e]/gu, escapeCharacter);
}

function escapeCharacter(character: string): string {
  const bytes = Buffer.from(character, character.codePointAt(0)! > 0xff ? 'utf8' : 'latin1');
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}

/**
 * RFC 3339 in UTC with milliseconds and numeric offset: the shape of rsyslog's RSYSLOG_FileFormat. Everything down to
 * the second is kept, since a busy second has thousands of lines.
 */
function createTimeFormatter(): (time: number) => string {
  let second = Number.NaN;
  let prefix = '';
  return (time) => {
    const milliseconds = ((time % 1000) + 1000) % 1000;
    if (time - milliseconds !== second) {
      second = time - milliseconds;
      prefix = new Date(second).toISOString().slice(0, -4);
    }
    const digits = milliseconds < 10 ? '00' : milliseconds < 100 ? '0' : '';
    return `${prefix}${digits}${milliseconds}+00:00`;
  };
}
