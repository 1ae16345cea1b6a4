import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBanLine } from '../../src/why/parse-ban-line.ts';

const HEAD = '2026-11-22T03:04:59.004+00:00 web-1 honeyport[640]: ';
const TIME = Date.parse('2026-11-22T03:04:59.004Z');
const REST = 'count=1 jail=honeyport id=k2v90qzd.7 cause=7f3k9q2x.42';

test('the lines of docs/log.md are read', () => {
  const ban = `${HEAD}ban src=198.51.100.7 until=2026-11-23T03:04:58.000+00:00 ${REST}`;
  assert.deepEqual(parseBanLine(ban), {
    kind: 'ban',
    time: TIME,
    jail: 'honeyport',
    src: '198.51.100.7',
    net: undefined,
  });
  const unban = `${HEAD}unban src=198.51.100.7 reason=expired jail=honeyport id=k2v90qzd.8`;
  assert.equal(parseBanLine(unban)!.kind, 'unban');
  for (const kind of ['prolong', 'would-ban', 'would-prolong', 'would-unban'])
    assert.equal(parseBanLine(ban.replace(' ban ', ` ${kind} `))!.kind, kind);
});

test('a network, the prefix around an address, a jail in quotes and later keys are read', () => {
  const line = `${HEAD}ban src=2001:db8::7 until=never count=1 jail="a \\"b\\" \\xc3\\xb6" id=k.7 net=2001:db8::/64 later=1`;
  assert.deepEqual(parseBanLine(line), {
    kind: 'ban',
    time: TIME,
    jail: 'a "b" \u00f6',
    src: '2001:db8::7',
    net: '2001:db8::/64',
  });
  assert.equal(parseBanLine(`${HEAD}ban src=198.51.100.0/24 until=never ${REST}`)!.src, '198.51.100.0/24');
});

test('a value cannot pass for a key', () => {
  const line = `${HEAD}ban src=192.0.2.9 until=never count=1 jail="x src=198.51.100.7 net=198.51.100.0/24" id=k.7`;
  assert.deepEqual(parseBanLine(line), {
    kind: 'ban',
    time: TIME,
    jail: 'x src=198.51.100.7 net=198.51.100.0/24',
    src: '192.0.2.9',
    net: undefined,
  });
});

const OTHERS = [
  '',
  'x',
  `${HEAD}ban`,
  `${HEAD}ban until=never ${REST}`,
  `${HEAD}ban src=198.51.100.7 until=never id=k.7`,
  `${HEAD}ban src=198.51.100.7 src=192.0.2.9 until=never ${REST}`,
  `${HEAD}ban src=198.51.100.7 until=never jail="torn`,
  `${HEAD}ban src=198.51.100.7  until=never`,
  `${HEAD}bans src=198.51.100.7 until=never ${REST}`,
  `${HEAD}suppressed count=3 reason=queue id=k.7`,
  `${HEAD}connect src=198.51.100.7 spt=1 dst=192.0.2.1 dpt=23 proto=tcp decoy=a id=k.7`,
  ` ${HEAD}ban src=198.51.100.7 until=never ${REST}`,
  `${HEAD.replace('honeyport', 'other')}ban src=198.51.100.7 until=never ${REST}`,
  `2026-11-22 web-1 honeyport[640]: ban src=198.51.100.7 until=never ${REST}`,
];

for (const line of OTHERS) {
  test(`no line of a ban: ${line}`, () => {
    assert.equal(parseBanLine(line), undefined);
  });
}
