import type { Event } from '../event.ts';
import type { LineFormatter } from './line.ts';
import { LINE_KEYS } from './line-keys.ts';

const IN_SENTENCE = new Set(['src', 'spt', 'dst', 'dpt', 'decoy']);

/** An event for the eyes of somebody at a terminal: local time, what happened, from where to where, and the rest. */
export function createPrettyFormatter(): LineFormatter {
  return (event) =>
    printable([clock(event.time), event.kind.padEnd(9), ...sentence(event), ...rest(event)].join(' '));
}

function clock(time: number): string {
  return new Date(time).toTimeString().slice(0, 8);
}

function sentence(event: Event): string[] {
  if (!('spt' in event)) return [];
  const { src, spt, dst, dpt, decoy } = event;
  return [endpoint(src, spt).padEnd(21), '->', endpoint(dst, dpt).padEnd(21), decoy];
}

function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function rest(event: Event): string[] {
  const values = event as unknown as Record<string, string | number | undefined>;
  return LINE_KEYS[event.kind]
    .filter(({ name }) => values[name] !== undefined && !('spt' in event && IN_SENTENCE.has(name)))
    .map(({ name }) => `${name}=${brief(`${values[name]}`)}`);
}

/** Captured bytes can fill many screens; the log has them all. */
const MOST_CHARACTERS = 200;

function brief(value: string): string {
  return value.length <= MOST_CHARACTERS ? value : `${value.slice(0, MOST_CHARACTERS)}...`;
}

/** A peer's bytes must not steer a terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
