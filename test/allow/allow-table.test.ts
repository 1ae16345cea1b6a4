import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../src/address.ts';
import { applies, createAllowTable } from '../../src/allow/allow-table.ts';
import type { AllowedNetwork } from '../../src/configuration/allow-entry.ts';
import { addressKey, parseNetwork } from '../../src/network.ts';

type Limits = Partial<Pick<AllowedNetwork, 'ports' | 'until'>>;

function allowed(text: string, { ports, until }: Limits = {}, source = text): AllowedNetwork {
  const network = parseNetwork(text);
  assert.ok(!('expected' in network), text);
  return { source, network, ports, until };
}

/** The source of what is found. */
function findIn(
  networks: readonly AllowedNetwork[],
  address: string,
  port = 22,
  now = 0,
): string | undefined {
  return createAllowTable(networks).find(addressKey(address), port, now)?.source;
}

test('an empty table finds nothing', () => {
  assert.equal(findIn([], '192.0.2.1'), undefined);
  assert.deepEqual(createAllowTable([]).findAll(addressKey('::1')), []);
});

test('the longest prefix is found first, whatever the order of the networks', () => {
  const networks = ['0.0.0.0/0', '192.0.2.0/24', '192.0.0.0/16', '192.0.2.7'].map((text) => allowed(text));
  for (const order of [networks, networks.toReversed()]) {
    assert.equal(findIn(order, '192.0.2.7'), '192.0.2.7');
    assert.equal(findIn(order, '192.0.2.8'), '192.0.2.0/24');
    assert.equal(findIn(order, '192.0.3.1'), '192.0.0.0/16');
    assert.equal(findIn(order, '255.0.0.1'), '0.0.0.0/0');
  }
});

test('among equal networks the first that applies is found', () => {
  const ssh = { ports: [{ first: 22, last: 22 }] };
  const networks = [
    allowed('192.0.2.7', { until: 5 }, 'ended'),
    allowed('192.0.2.7', ssh, 'ssh'),
    allowed('192.0.2.7/32', {}, 'first'),
    allowed('192.0.2.7', {}, 'second'),
  ];
  assert.equal(findIn(networks, '192.0.2.7', 22, 0), 'ended');
  assert.equal(findIn(networks, '192.0.2.7', 22, 5), 'ssh');
  assert.equal(findIn(networks, '192.0.2.7', 23, 5), 'first');
});

test('a longer prefix that is limited to other ports or has ended gives way to a shorter one', () => {
  const networks = [
    allowed('192.0.2.0/24'),
    allowed('192.0.2.7', { ports: [{ first: 80, last: 90 }], until: 1000 }),
  ];
  assert.equal(findIn(networks, '192.0.2.7', 80, 999), '192.0.2.7');
  assert.equal(findIn(networks, '192.0.2.7', 90, 999), '192.0.2.7');
  assert.equal(findIn(networks, '192.0.2.7', 79, 999), '192.0.2.0/24');
  assert.equal(findIn(networks, '192.0.2.7', 91, 999), '192.0.2.0/24');
  assert.equal(findIn(networks, '192.0.2.7', 80, 1000), '192.0.2.0/24');
});

test('an entry counts up to the millisecond before its end', () => {
  const entry = allowed('192.0.2.7', { until: 1000 });
  assert.deepEqual(
    [0, 999, 1000, 1001].map((now) => applies(entry, 22, now)),
    [true, true, false, false],
  );
});

test('any of several ranges of ports is enough', () => {
  const ports = [
    { first: 22, last: 22 },
    { first: 80, last: 90 },
  ];
  const entry = allowed('192.0.2.7', { ports });
  assert.deepEqual(
    [21, 22, 23, 80, 85, 90, 91].filter((port) => applies(entry, port, 0)),
    [22, 80, 85, 90],
  );
});

test('everything of one family is nothing of the other', () => {
  const networks = [allowed('0.0.0.0/0'), allowed('2001:db8::/32')];
  assert.equal(findIn(networks, '2001:db8::1'), '2001:db8::/32');
  assert.equal(findIn(networks, '2001:db9::1'), undefined);
  assert.equal(findIn([allowed('::/0')], '192.0.2.1'), undefined);
  assert.equal(findIn([allowed('::/0')], '2001:db9::1'), '::/0');
});

test('findAll has all that cover an address, the longest prefix first, whatever their ports and end', () => {
  const networks = [
    allowed('192.0.0.0/16'),
    allowed('192.0.2.7', { until: 0 }, 'ended'),
    allowed('192.0.2.7', { ports: [{ first: 1, last: 1 }] }, 'limited'),
    allowed('192.0.2.8'),
    allowed('::/0'),
    allowed('0.0.0.0/0'),
  ];
  assert.deepEqual(
    createAllowTable(networks)
      .findAll(addressKey('192.0.2.7'))
      .map(({ source }) => source),
    ['ended', 'limited', '192.0.0.0/16', '0.0.0.0/0'],
  );
});

/** Whether a network has an address, by the bits of both as text: no key has a hand in it. */
function has({ network }: AllowedNetwork, address: string): boolean {
  const { bytes, family } = parseAddress(address)!;
  const base = parseAddress(network.text.split('/')[0]!)!;
  const bits = (of: Uint8Array) => [...of].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return family === base.family && bits(bytes).startsWith(bits(base.bytes).slice(0, network.length));
}

/** The table's promise, as a search through everything. */
function findSlowly(networks: readonly AllowedNetwork[], address: string, port: number, now: number) {
  return networks
    .filter((entry) => has(entry, address))
    .filter(({ until }) => until === undefined || now < until)
    .filter(({ ports }) => ports?.some(({ first, last }) => port >= first && port <= last) ?? true)
    .toSorted((one, other) => other.network.length - one.network.length)[0];
}

/** Few enough that networks nest and repeat. */
const bits = fc.constantFrom(0, 1, 2, 127, 128, 255);
const ipv4 = fc.tuple(fc.constantFrom(10, 192), bits, bits, bits).map((bytes) => bytes.join('.'));
const ipv6 = fc
  .tuple(bits, bits, bits)
  .map(
    ([a, b, c]) => parseAddress(`2001:db8:${a.toString(16)}:0:0:0:${b.toString(16)}:${c.toString(16)}`)!.text,
  );

const network = fc
  .tuple(fc.oneof(ipv4, ipv6), fc.nat(128), fc.boolean())
  .map(([address, anyLength, isAlone]) => {
    const { bytes } = parseAddress(address)!;
    const length = isAlone ? bytes.length * 8 : anyLength % (bytes.length * 8 + 1);
    const found = parseNetwork(`${address}/${length}`);
    return 'expected' in found ? /as in (\S+)$/.exec(found.expected)![1]! : found.text;
  });

const limits = fc.record({
  ports: fc.constantFrom(undefined, undefined, [{ first: 1, last: 5 }], [{ first: 4, last: 4 }]),
  until: fc.constantFrom(undefined, undefined, 10, 20),
});

test('a table finds what a search through all of its networks finds', () => {
  const entries = fc.array(fc.tuple(network, limits), { maxLength: 40 });
  const question = fc.tuple(
    fc.oneof(ipv4, ipv6),
    fc.integer({ min: 1, max: 6 }),
    fc.constantFrom(9, 10, 19, 20),
  );
  fc.assert(
    fc.property(entries, fc.array(question, { minLength: 10 }), (wanted, questions) => {
      const networks = wanted.map(([text, limit], index) => allowed(text, limit, `${index}`));
      const table = createAllowTable(networks);
      for (const [address, port, now] of questions) {
        const expected = findSlowly(networks, address, port, now);
        assert.equal(table.find(addressKey(address), port, now), expected);
        const all = networks.filter((entry) => has(entry, address));
        all.sort((one, other) => other.network.length - one.network.length);
        assert.deepEqual(table.findAll(addressKey(address)), all);
      }
    }),
    { numRuns: 300 },
  );
});

test('a hundred thousand entries give the answers of a search through all of them', () => {
  const count = 100_000;
  const textOf = (n: number) => {
    if (n % 4 === 0) return `2001:db8:${(n >> 8).toString(16)}:${(n & 255).toString(16)}::/64`;
    const address = `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
    return n % 4 === 1 ? address : parseAddressNetwork(address, 32 - (n % 9));
  };
  const networks = Array.from({ length: count }, (_, n) =>
    allowed(textOf(n), n % 5 === 0 ? { until: 10 } : {}, `${n}`),
  );
  const table = createAllowTable(networks);
  // for each network of the slow search, its first and its last address as numbers
  const spans = networks.map((entry) => ({ entry, ...spanOf(entry) }));
  for (let n = 0; n < 40; n++) {
    const at = (n * 7919) % count;
    const address =
      n % 2 === 0
        ? `10.${at >> 16}.${(at >> 8) & 255}.${(at + n) & 255}`
        : parseAddress(`2001:db8:${(at >> 8).toString(16)}:${(at & 252).toString(16)}::${n}`)!.text;
    const value = bitsOf(address);
    let expected: AllowedNetwork | undefined;
    for (const { entry, first, last, family } of spans) {
      if (family !== value.family || value.value < first || value.value > last) continue;
      if (entry.until !== undefined && entry.until <= 10) continue;
      if (expected === undefined || entry.network.length > expected.network.length) expected = entry;
    }
    assert.equal(table.find(addressKey(address), 22, 10), expected, address);
  }
});

function parseAddressNetwork(address: string, length: number): string {
  const found = parseNetwork(`${address}/${length}`);
  return 'expected' in found ? /as in (\S+)$/.exec(found.expected)![1]! : found.text;
}

function bitsOf(address: string) {
  const { bytes, family } = parseAddress(address)!;
  return { family, value: BigInt(`0x${Buffer.from(bytes).toString('hex')}`) };
}

function spanOf({ network: { text, length } }: AllowedNetwork) {
  const { family, value } = bitsOf(text.split('/')[0]!);
  return { family, first: value, last: value + (1n << BigInt((family === 4 ? 32 : 128) - length)) - 1n };
}
