import type { Event } from '../event.ts';
import { type Field, fieldsOf } from './fields.ts';
import type { Origin } from './line.ts';
import { concernsConnection } from './line-keys.ts';
import { MEANINGS, sentenceOf } from './meaning.ts';

/** ArcSight's Common Event Format, version 0 (revision 25), without a syslog header. */
export function createCefFormatter({
  sensor,
  pid,
  version,
}: Origin & { version: string }): (event: Event) => string {
  const product = `CEF:0|Honeyport|honeyport|${escapeHeader(version)}|`;
  const device = ` deviceDirection=0 dvchost=${escapeExtension(sensor)} dvcpid=${pid}`;
  return (event) => {
    const { number, name, weight } = MEANINGS[event.kind];
    const fields = fieldsOf(event).map(([key, value]) => extension(event.kind, key, value));
    const transport = concernsConnection(event.kind) ? ' proto=TCP' : '';
    const message = escapeExtension(sentenceOf(event));
    return (
      `${product}${number}|${escapeHeader(name)}|${weight}|rt=${event.time} act=${event.kind} cat=decoy` +
      `${transport}${fields.join('')}${device} msg=${message}`
    );
  };
}

/** Keys that CEF has a name for; the others go into its custom fields, each with a label. */
const KEYS: Readonly<Record<string, string>> = {
  spt: 'spt',
  dpt: 'dpt',
  id: 'externalId',
  reason: 'reason',
  guess: 'app',
  rx: 'in',
  tx: 'out',
  count: 'cnt',
  result: 'outcome',
  signal: 'reason',
};

const CUSTOM_KEYS: Readonly<Record<string, string>> = {
  decoy: 'cs1',
  syn: 'cs2',
  by: 'cs3',
  text: 'cs4',
  receiver: 'cs6',
  ttl: 'cn1',
  bytes: 'cn1',
  duration_ms: 'cn1',
  schema: 'cn1',
  win: 'cn2',
  decoys: 'cn2',
  ports: 'cn3',
};

/** A version 6 address has keys of its own: `src` and `dst` are of version 4 by definition. */
const ADDRESS_KEYS: Readonly<Record<string, readonly [key: string, label: string]>> = {
  src: ['c6a2', 'Source IPv6 Address'],
  dst: ['c6a3', 'Destination IPv6 Address'],
};

function extension(kind: Event['kind'], name: string, value: Field[1]): string {
  const text = escapeExtension(`${value}`);
  const address = ADDRESS_KEYS[name];
  if (address !== undefined) {
    const [key, label] = address;
    return text.includes(':') ? ` ${key}=${text} ${key}Label=${label}` : ` ${name}=${text}`;
  }
  // the version is in the header; the ports of many connections are no port
  if (name === 'version') return '';
  if (kind === 'suppressed' && name === 'dpt') return ` cs5=${text} cs5Label=dpt`;
  const custom = CUSTOM_KEYS[name];
  return custom === undefined
    ? ` ${KEYS[name] ?? name}=${text}`
    : ` ${custom}=${text} ${custom}Label=${name}`;
}

function escapeHeader(value: string): string {
  return value.replace(/[\\|]/g, '\\$&');
}

function escapeExtension(value: string): string {
  return value.replace(/[\\=]/g, '\\$&');
}
