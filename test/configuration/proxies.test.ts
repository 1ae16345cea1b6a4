import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decoyWith, problemsOf, withKeys } from './support.ts';

const proxiesOf = (items: string) => decoyWith(`proxy_protocol: ${items}`).proxies.map(({ text }) => text);

test('without proxy_protocol, and with off, no proxy is believed', () => {
  assert.deepEqual(decoyWith('capture: 1').proxies, []);
  assert.deepEqual(proxiesOf('off'), []);
});

test('proxies are addresses and networks of both families, in the order of the file', () => {
  assert.deepEqual(proxiesOf('[10.0.0.0/8, 192.0.2.7, "2001:DB8::/32", "::1", "::ffff:192.0.2.0/120"]'), [
    '10.0.0.0/8',
    '192.0.2.7/32',
    '2001:db8::/32',
    '::1/128',
    '192.0.2.0/24',
  ]);
});

test('proxies stand beside every behaviour', () => {
  for (const keys of ['banner: x', 'tarpit: true', 'response: { command: [/r] }', 'hold: 1s']) {
    const { behaviour, proxies } = decoyWith(`${keys}\nproxy_protocol: [10.0.0.1]`);
    assert.ok(behaviour, `${keys} has no behaviour`);
    assert.equal(proxies.length, 1, keys);
  }
});

test('at most 1000 proxies are taken', () => {
  const list = (count: number) => `[${Array.from({ length: count }, (_, n) => `10.0.${n >> 8}.${n & 255}`)}]`;
  assert.equal(proxiesOf(list(1000)).length, 1000);
  assert.deepEqual(problemsOf(withKeys(`proxy_protocol: ${list(1001)}`)), [
    'F:3:21: decoys[0].proxy_protocol: expected a list of 1 to 1000 addresses and networks such as 10.0.0.0/8, got 1001',
  ]);
});

const EVERYBODY = 'expected a network of proxies, not of everybody: whoever is in it can name any source';

/** The value of `proxy_protocol`, from line 3, column 21 on, and every problem that must come of it. */
const FAULTS: readonly (readonly [title: string, items: string, ...problems: string[]])[] = [
  [
    'an address outside of a list',
    '10.0.0.1',
    'F:3:21: decoys[0].proxy_protocol: expected a list of 1 to 1000 addresses and networks such as 10.0.0.0/8, or off, got "10.0.0.1"',
  ],
  [
    'a list of nobody',
    '[]',
    'F:3:21: decoys[0].proxy_protocol: expected a list of 1 to 1000 addresses and networks such as 10.0.0.0/8, got []',
  ],
  [
    'a host name, a zone and a number',
    '[proxy.example, "fe80::1%eth0", 10]',
    'F:3:22: decoys[0].proxy_protocol[0]: expected an address or a network such as 10.0.0.0/8, got "proxy.example"',
    'F:3:37: decoys[0].proxy_protocol[1]: expected an address or a network such as 10.0.0.0/8, got "fe80::1%eth0"',
    'F:3:53: decoys[0].proxy_protocol[2]: expected an address or a network such as 10.0.0.0/8, got 10',
  ],
  [
    'what looks like a network and is none',
    '[10.0.0.1/8, 10.0.0.0/33, 192.0.2.300]',
    'F:3:22: decoys[0].proxy_protocol[0]: expected no bits beyond the prefix, as in 10.0.0.0/8, got "10.0.0.1/8"',
    'F:3:34: decoys[0].proxy_protocol[1]: expected a prefix length up to 32, got "10.0.0.0/33"',
    'F:3:47: decoys[0].proxy_protocol[2]: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "192.0.2.300"',
  ],
  [
    'a network of everybody',
    '[10.0.0.1, 0.0.0.0/0, "::/0", "::ffff:0:0/96"]',
    `F:3:32: decoys[0].proxy_protocol[1]: ${EVERYBODY}, got "0.0.0.0/0"`,
    `F:3:43: decoys[0].proxy_protocol[2]: ${EVERYBODY}, got "::/0"`,
    `F:3:51: decoys[0].proxy_protocol[3]: ${EVERYBODY}, got "::ffff:0:0/96"`,
  ],
];

for (const [title, items, ...problems] of FAULTS) {
  test(`${title} is reported at its place`, () => {
    assert.deepEqual(problemsOf(withKeys(`proxy_protocol: ${items}`)), problems);
  });
}
