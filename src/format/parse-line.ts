import type { Event } from '../event.ts';
import type { Origin } from './line.ts';
import { concernsConnection, LINE_KEYS, type LineKey, PROTOCOL } from './line-keys.ts';
import { parsePairs } from './parse-pairs.ts';

const HEAD =
  /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00) ([A-Za-z0-9._-]{1,255}) honeyport\[(\d+)\]: ([a-z]+)(?= |$)/;

/**
 * Reads a line that the line formatter made; keys that a later formatter added at its end are passed over.
 * @returns undefined when it is no such line
 */
export function parseLine(line: string): (Origin & { event: Event }) | undefined {
  const head = HEAD.exec(line);
  if (head === null) return undefined;
  const [whole, time, sensor, pid, kind] = head as unknown as [string, string, string, string, Event['kind']];
  const keys = Object.hasOwn(LINE_KEYS, kind) ? LINE_KEYS[kind] : undefined;
  const pairs = keys && parsePairs(line, whole.length);
  if (pairs === undefined || keys === undefined) return undefined;
  if (concernsConnection(kind) && pairs.get('proto') !== PROTOCOL.slice('proto='.length)) return undefined;
  const values = readKeys(keys, pairs);
  if (values === undefined) return undefined;
  return { sensor, pid: Number(pid), event: { kind, time: Date.parse(time), ...values } as unknown as Event };
}

function readKeys(
  keys: readonly LineKey[],
  pairs: Map<string, string>,
): Record<string, string | number> | undefined {
  const values: Record<string, string | number> = {};
  for (const { name, type } of keys) {
    const value = pairs.get(name);
    if (value === undefined) continue;
    if (type === 'number' && !/^\d+$/.test(value)) return undefined;
    values[name] = type === 'number' ? Number(value) : value;
  }
  return values.id === undefined ? undefined : values;
}
