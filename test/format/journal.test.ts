import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../../src/event.ts';
import { createJournalFormatter, withoutLongLines } from '../../src/format/journal.ts';
import { createLineFormatter } from '../../src/format/line.ts';

const ENDS = { src: '198.51.100.7', spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet', id: 'abc.1' };
const CONNECT: Event = { kind: 'connect', time: 0, ...ENDS };
/** `LineMax=` of journald.conf(5). */
const JOURNALD_LINE_BYTES = 48 * 1024;

function data(text: string): Event {
  return { kind: 'data', time: 0, ...ENDS, bytes: text.length, guess: 'unknown', text };
}

test('a message for the journal has the severity and neither time nor host nor tag', () => {
  const format = createJournalFormatter();
  const ends = 'src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=abc.1';
  assert.equal(format(CONNECT), `<4>connect ${ends}`);
  assert.equal(format({ kind: 'allowed', time: 0, ...ENDS, by: 'x' }), `<6>allowed ${ends} by=x`);
});

for (const byte of ['a', '\x00', '\xff', '"', ' ']) {
  test(`journald never cuts a line, whatever a peer sends: ${JSON.stringify(byte)}`, () => {
    const event = data(byte.repeat(65_536));
    for (const format of [createJournalFormatter(), createLineFormatter({ sensor: 'web-1', pid: 1 })]) {
      const line = withoutLongLines(format)(event);
      assert.ok(line.length < JOURNALD_LINE_BYTES / 2, `${line.length}`);
      assert.match(line, / bytes=65536 .*"$/);
    }
  });
}

test('what a peer sent is whole in the journal up to 4096 bytes', () => {
  const format = withoutLongLines(createJournalFormatter());
  const whole = 'x'.repeat(4096);
  assert.ok(format(data(whole)).endsWith(` text="${whole}"`), 'it is cut');
  assert.ok(format(data(`${whole}y`)).endsWith(` text="${whole}"`), 'it is not cut');
});
