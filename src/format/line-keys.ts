import type { Event } from '../event.ts';

/** One key of a line: its name there and in the event, and how its value reads. */
export interface LineKey {
  readonly name: string;
  readonly type: 'number' | 'text';
  /** Quoted even where its value could stand bare, because it is free text. */
  readonly quoted?: true;
}

const number = (name: string): LineKey => ({ name, type: 'number' });
const text = (name: string): LineKey => ({ name, type: 'text' });

/** Stands after `spt`, `dst` and `dpt` of every line that concerns a connection; no key of the event. */
export const PROTOCOL = 'proto=tcp';

const ENDPOINTS = [text('src'), number('spt'), text('dst'), number('dpt'), text('decoy'), text('id')];

const PROXY = [text('proxy'), number('proxy_spt')];

/**
 * The keys of each event's line, in their order: the schema, version 1. Within a version keys may be added at the end
 * of a list and nothing else may change; `proto=tcp` follows the first `dpt` of a connection's line.
 */
export const LINE_KEYS: { readonly [K in Event['kind']]: readonly LineKey[] } = {
  connect: [...ENDPOINTS, number('ttl'), number('win'), text('syn'), ...PROXY],
  allowed: [...ENDPOINTS, text('by'), ...PROXY],
  withheld: [...ENDPOINTS, text('reason'), ...PROXY],
  data: [...ENDPOINTS, number('bytes'), text('guess'), { ...text('text'), quoted: true }],
  close: [...ENDPOINTS, number('duration_ms'), number('rx'), number('tx'), text('by')],
  suppressed: [text('src'), number('count'), text('dpt'), text('reason'), text('id'), text('receiver')],
  start: [text('version'), number('schema'), number('decoys'), number('ports'), text('id')],
  reload: [text('result'), number('decoys'), number('ports'), text('id')],
  stop: [text('signal'), text('id')],
};

/** The events that concern one connection, whose lines all begin with its endpoints. */
export function concernsConnection(kind: Event['kind']): boolean {
  return LINE_KEYS[kind][1]!.name === 'spt';
}
