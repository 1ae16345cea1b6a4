import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Event } from '../../src/event.ts';
import { LINE_KEYS } from '../../src/format/line-keys.ts';
import { createSyslogFormatter, type SyslogFormat } from '../../src/format/syslog.ts';

const DOCUMENT = readFileSync(fileURLToPath(new URL('../../docs/siem.md', import.meta.url)), 'utf8');
const ORIGIN = {
  sensor: 'web-1',
  pid: 812,
  version: '9.8.7',
  facility: 'local0',
  enterprise: 32473,
} as const;

const ENDS = { src: '198.51.100.7', spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' };

/** Every key of every event, each value unlike all others. */
const EVENTS: readonly Event[] = [
  { kind: 'connect', time: 1, id: 'x.1', ...ENDS, ttl: 52, win: 64240, syn: 'mss:1460' },
  { kind: 'allowed', time: 1, id: 'x.2', ...ENDS, by: 'guard:own' },
  { kind: 'withheld', time: 1, id: 'x.3', ...ENDS, reason: 'cookie', proxy: '10.0.0.5', proxy_spt: 50123 },
  { kind: 'data', time: 1, id: 'x.4', ...ENDS, bytes: 777, guess: 'http', text: 'GET' },
  { kind: 'close', time: 1, id: 'x.5', ...ENDS, duration_ms: 1234, rx: 555, tx: 666, by: 'peer' },
  { kind: 'suppressed', time: 1, id: 'x.6', src: '192.0.2.9', count: 333, dpt: '22,80-90', reason: 'rate' },
  { kind: 'suppressed', time: 1, id: 'x.7', count: 333, reason: 'queue', receiver: 'tcp://a:1' },
  { kind: 'start', time: 1, id: 'x.8', version: '9.8.7', schema: 111, decoys: 22, ports: 3456 },
  { kind: 'reload', time: 1, id: 'x.9', result: 'applied', decoys: 22, ports: 3456 },
  { kind: 'stop', time: 1, id: 'x.10', signal: 'SIGTERM' },
];

/** The table's rows, by key: for each format the names in code type. */
const ROWS = new Map(
  [
    ...DOCUMENT.matchAll(/^\| `([a-z_]+)`(, ranges)? *\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$/gm),
  ].map(([, key, ranges, ...cells]) => [
    key! + (ranges ?? ''),
    cells.map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!)),
  ]),
);
const COLUMNS: readonly SyslogFormat[] = ['rfc5424', 'cef', 'leef', 'ecs', 'ocsf'];

test('docs/siem.md has a row for each key of the log line, and none besides', () => {
  const keys = new Set(Object.values(LINE_KEYS).flatMap((list) => list.map(({ name }) => name)));
  assert.deepEqual([...ROWS.keys()].sort(), [...keys, 'proto', 'dpt, ranges'].sort());
});

for (const [column, format] of COLUMNS.entries()) {
  test(`docs/siem.md says where each key is in ${format}`, () => {
    const formatEvent = createSyslogFormatter(format, ORIGIN);
    for (const event of EVENTS) {
      const message = formatEvent(event);
      for (const { name } of LINE_KEYS[event.kind]) {
        const value = (event as unknown as Record<string, string | number | undefined>)[name];
        if (value === undefined) continue;
        const row = event.kind === 'suppressed' && name === 'dpt' ? 'dpt, ranges' : name;
        const places = ROWS.get(row)![column]!;
        // the product's version is in CEF's header
        const where = places.length === 0 ? message : valueAt(format, message, places[0]!);
        const wanted = format === 'ecs' && name === 'duration_ms' ? 1_234_000_000 : value;
        assert.ok(`${where}`.includes(`${wanted}`), `${event.kind} ${name} in ${places[0]}: ${where}`);
      }
    }
  });
}

/** What a message has at the place that the table names. */
function valueAt(format: SyslogFormat, message: string, place: string): unknown {
  switch (format) {
    case 'rfc5424':
      return new RegExp(` ${place}="([^"]*)"`).exec(message)?.[1];
    case 'cef':
      return new RegExp(` ${place}=(.*?)(?: \\w+=|$)`).exec(message)?.[1];
    case 'leef':
      return new RegExp(`[\\^|]${place}=([^^]*)`).exec(message)?.[1];
    default: {
      const document = JSON.parse(message.slice(message.indexOf('{'))) as unknown;
      return place.split('.').reduce((value, key) => (value as Record<string, unknown>)?.[key], document);
    }
  }
}
