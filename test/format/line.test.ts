import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Event } from '../../src/event.ts';
import { createJsonFormatter } from '../../src/format/json.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import { parseLine } from '../../src/format/parse-line.ts';
import { createPrettyFormatter } from '../../src/format/pretty.ts';
import { anyEvent } from '../support/events.ts';

const ORIGIN = { sensor: 'web-1', pid: 812 };
const format = createLineFormatter(ORIGIN);

const ENDPOINTS = { src: '198.51.100.7', spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' };
const TIME = Date.UTC(2026, 10, 22, 3, 4, 58, 123);
const HEAD = '2026-11-22T03:04:58.123+00:00 web-1 honeyport[812]: ';

const EXAMPLES: [Event, string][] = [
  [
    {
      kind: 'connect',
      time: TIME,
      ...ENDPOINTS,
      id: '7f3k9q2x.42',
      ttl: 52,
      win: 64240,
      syn: 'mss:1460,sok,ts,nop,ws:7',
    },
    'connect src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42 ttl=52 win=64240 syn=mss:1460,sok,ts,nop,ws:7',
  ],
  [
    { kind: 'connect', time: TIME, ...ENDPOINTS, src: '2001:db8::7', id: 'x.1' },
    'connect src=2001:db8::7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=x.1',
  ],
  [
    { kind: 'connect', time: TIME, ...ENDPOINTS, id: 'x.1', proxy: '10.0.0.5', proxy_spt: 50_123 },
    'connect src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=x.1 proxy=10.0.0.5 proxy_spt=50123',
  ],
  [
    { kind: 'allowed', time: TIME, ...ENDPOINTS, id: 'x.1', by: 'guard:gateway' },
    'allowed src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=x.1 by=guard:gateway',
  ],
  [
    { kind: 'withheld', time: TIME, ...ENDPOINTS, id: 'x.1', reason: 'cookie' },
    'withheld src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=x.1 reason=cookie',
  ],
  [
    { kind: 'data', time: TIME, ...ENDPOINTS, id: 'x.1', bytes: 9, guess: 'http', text: 'a "b\\\n\x00é' },
    'data src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=x.1 bytes=9 guess=http text="a \\"b\\\\\\x0a\\x00\\xe9"',
  ],
  [
    { kind: 'close', time: TIME, ...ENDPOINTS, id: 'x.1', duration_ms: 10, rx: 1, tx: 2, by: 'peer' },
    'close src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=x.1 duration_ms=10 rx=1 tx=2 by=peer',
  ],
  [
    {
      kind: 'suppressed',
      time: TIME,
      src: '198.51.100.7',
      count: 3,
      dpt: '22,80-90',
      reason: 'rate',
      id: 'x.1',
    },
    'suppressed src=198.51.100.7 count=3 dpt=22,80-90 reason=rate id=x.1',
  ],
  [
    { kind: 'suppressed', time: TIME, count: 3, reason: 'queue', id: 'x.1' },
    'suppressed count=3 reason=queue id=x.1',
  ],
  [
    { kind: 'start', time: TIME, version: '0.1.0', schema: 1, decoys: 2, ports: 12, id: 'x.1' },
    'start version=0.1.0 schema=1 decoys=2 ports=12 id=x.1',
  ],
  [
    { kind: 'reload', time: TIME, result: 'applied', decoys: 2, ports: 12, id: 'x.1' },
    'reload result=applied decoys=2 ports=12 id=x.1',
  ],
  [{ kind: 'stop', time: TIME, signal: 'SIGTERM', id: 'x.1' }, 'stop signal=SIGTERM id=x.1'],
];

for (const [event, line] of EXAMPLES) {
  test(`the ${event.kind} event is the line: ${line}`, () => {
    assert.equal(format(event), HEAD + line);
  });
}

test('any event, whatever bytes its strings hold, is one printable line that parses back to the same event', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const line = format(event);
      assert.match(line, /^[\x20-\x7e]+$/);
      assert.deepEqual(parseLine(line), { ...ORIGIN, event });
    }),
    { numRuns: 3000 },
  );
});

test('no string of an event can begin a second key, end its quotes or forge another event word', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const outsideQuotes = format(event).replace(/"(?:[^"\\]|\\.)*"/g, '""');
      const words = outsideQuotes.slice(outsideQuotes.indexOf(']: ') + 3).split(' ');
      assert.equal(words[0], event.kind);
      for (const word of words.slice(1)) assert.match(word, /^[a-z_]+=(?:[A-Za-z0-9._:,/+@-]+|"")$/);
    }),
    { numRuns: 3000 },
  );
});

test('a character that is no byte is written as the bytes of its UTF-8 form', () => {
  const event: Event = { kind: 'data', time: TIME, ...ENDPOINTS, id: 'x.1', bytes: 3, guess: '-', text: '€' };
  assert.match(format(event), /text="\\xe2\\x82\\xac"$/);
});

test('keys that a later schema adds at the end are passed over', () => {
  const parsed = parseLine(`${HEAD}stop signal=SIGTERM id=x.1 later=1 also="a b"`);
  assert.deepEqual(parsed?.event, { kind: 'stop', time: TIME, signal: 'SIGTERM', id: 'x.1' });
});

test('what the formatter never writes is not parsed', () => {
  const good = `${HEAD}${EXAMPLES[0]![1]}`;
  assert.notEqual(parseLine(good), undefined);
  const bad = [
    '',
    good.replace('+00:00', 'Z'),
    good.replace('honeyport[812]', 'sshd[812]'),
    good.replace('connect', 'constructor'),
    good.replace(' id=7f3k9q2x.42', ''),
    good.replace('proto=tcp', 'proto=udp'),
    good.replace('spt=40112', 'spt=4e4'),
    good.replace('spt=40112', 'spt=1 spt=2'),
    `${good} `,
    `${good} "`,
  ];
  for (const line of bad) assert.equal(parseLine(line), undefined, line);
});

test('times are right across seconds, days and years, in any order', () => {
  const time = fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) });
  fc.assert(
    fc.property(fc.array(time, { minLength: 1 }), (times) => {
      for (const at of times) {
        const line = format({ kind: 'stop', time: at, signal: 'SIGINT', id: 'x.1' });
        assert.equal(line.slice(0, 29), new Date(at).toISOString().replace('Z', '+00:00'));
      }
    }),
  );
});

test('no control character and nothing but ASCII reaches a terminal, in pretty and in json', () => {
  for (const formatConsole of [createPrettyFormatter(), createJsonFormatter(ORIGIN)]) {
    fc.assert(
      fc.property(anyEvent, (event) => {
        assert.match(formatConsole(event), /^[\x20-\x7e]+$/);
      }),
      { numRuns: 1000 },
    );
  }
});

test('captured bytes do not fill the terminal', () => {
  const text = 'x'.repeat(65_536);
  const event: Event = {
    kind: 'data',
    time: TIME,
    ...ENDPOINTS,
    id: 'x.1',
    bytes: 65_536,
    guess: 'unknown',
    text,
  };
  assert.match(createPrettyFormatter()(event), / text=x{200}\.\.\.$/);
});

test('json holds the event in the keys of the line', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const { time, sensor, pid, ...rest } = JSON.parse(createJsonFormatter(ORIGIN)(event));
      assert.deepEqual({ sensor, pid, event: { time: Date.parse(time), ...rest } }, { ...ORIGIN, event });
    }),
  );
});
