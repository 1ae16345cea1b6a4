import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressFromBytes, parseAddress } from '../src/address.ts';
import { addressKey, maskBytes, type Network, parseNetwork, prefixKey } from '../src/network.ts';

/** What a text is taken for: the canonical network, or what was expected instead. */
function verdictOf(text: string): string {
  const network = parseNetwork(text);
  return 'expected' in network ? `expected ${network.expected}` : network.text;
}

const NONE = 'expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24';
const TO_32 = 'expected a prefix length up to 32';
const TO_128 = 'expected a prefix length up to 128';

const VERDICTS: readonly (readonly [text: string, verdict: string])[] = [
  ['192.0.2.1', '192.0.2.1/32'],
  ['192.0.2.1/32', '192.0.2.1/32'],
  ['192.0.2.0/24', '192.0.2.0/24'],
  ['0.0.0.0', '0.0.0.0/32'],
  ['255.255.255.255', '255.255.255.255/32'],
  ['128.0.0.0/1', '128.0.0.0/1'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  ['::/0', '::/0'],
  ['::', '::/128'],
  ['2001:DB8::', '2001:db8::/128'],
  ['2001:0db8:0:0:0:0:0:0/32', '2001:db8::/32'],
  ['2001:db8::8000/113', '2001:db8::8000/113'],
  ['fe80::1', 'fe80::1/128'],
  // IPv4-mapped
  ['::ffff:192.0.2.1', '192.0.2.1/32'],
  ['::ffff:192.0.2.0/120', '192.0.2.0/24'],
  ['::FFFF:c000:200/120', '192.0.2.0/24'],
  ['::ffff:0:0/96', '0.0.0.0/0'],
  ['::ffff:0:0/95', TO_128],
  ['::ffff:192.0.2.0/24', TO_128],
  ['::ffff:192.0.2.1/129', TO_128],
  // bits beyond the prefix
  ['192.0.2.1/24', 'expected no bits beyond the prefix, as in 192.0.2.0/24'],
  ['192.0.2.1/31', 'expected no bits beyond the prefix, as in 192.0.2.0/31'],
  ['10.0.0.1/0', 'expected no bits beyond the prefix, as in 0.0.0.0/0'],
  ['2001:db8::1/64', 'expected no bits beyond the prefix, as in 2001:db8::/64'],
  ['2001:db8:0:0:0:0:0:3/127', 'expected no bits beyond the prefix, as in 2001:db8::2/127'],
  ['::ffff:192.0.2.1/120', 'expected no bits beyond the prefix, as in 192.0.2.0/24'],
  // lengths
  ['192.0.2.0/33', TO_32],
  ['192.0.2.0/08', TO_32],
  ['192.0.2.0/', TO_32],
  ['192.0.2.0/-1', TO_32],
  ['192.0.2.0/24/24', TO_32],
  ['192.0.2.0/255.255.255.0', TO_32],
  ['192.0.2.0/1e1', TO_32],
  ['192.0.2.0/ 24', TO_32],
  ['192.0.2.0/24 ', TO_32],
  ['192.0.2.0/24\n', TO_32],
  ['192.0.2.0/99999999999', TO_32],
  ['2001:db8::/129', TO_128],
  ['2001:db8::/064', TO_128],
  ['2001:db8::/', TO_128],
  // no addresses
  ['', NONE],
  ['/', NONE],
  ['/24', NONE],
  ['localhost', NONE],
  ['192.0.2', NONE],
  ['192.0.2/24', NONE],
  ['192.0.2.300', NONE],
  ['192.0.2.01', NONE],
  ['192.0.2.1.', NONE],
  ['.192.0.2.1', NONE],
  ['192.0.2.1.1', NONE],
  [' 192.0.2.1', NONE],
  ['192.0.2.1\n', NONE],
  ['0xc0000201', NONE],
  ['3221225985', NONE],
  ['192.0.2.*', NONE],
  ['192.0.2.1-192.0.2.9', NONE],
  ['fe80::1%eth0', NONE],
  ['fe80::%eth0/64', NONE],
  ['[2001:db8::1]', NONE],
  ['2001:db8::1::2/64', NONE],
  ['1'.repeat(100_000), NONE],
];

for (const [text, verdict] of VERDICTS) {
  const shown = text.length > 60 ? `${text.slice(0, 20)}...` : JSON.stringify(text);
  test(`${shown} is read as it should be: ${verdict}`, () => assert.equal(verdictOf(text), verdict));
}

const IPV4_BITS = 32;
const IPV6_BITS = 128;

interface Bits {
  readonly family: 4 | 6;
  readonly value: bigint;
}

const ipv4Bits = fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }).map((value): Bits => ({ family: 4, value }));
/** Not the ones that carry IPv4: those are IPv4. */
const ipv6Bits = fc
  .oneof(
    fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
    fc.bigInt({ min: 0n, max: (1n << 20n) - 1n }),
    fc.bigInt({ min: 0n, max: (1n << 16n) - 1n }).map((group) => group << 112n),
  )
  .filter((value) => value >> 32n !== 0xffffn)
  .map((value): Bits => ({ family: 6, value }));
const anyBits = fc.oneof(ipv4Bits, ipv6Bits);

const widthOf = (family: 4 | 6) => (family === 4 ? IPV4_BITS : IPV6_BITS);

/** An address in text that no function under test had a hand in; `parseAddress` makes it canonical. */
function textOf({ family, value }: Bits): string {
  const step = family === 4 ? 8 : 16;
  const parts = Array.from({ length: widthOf(family) / step }, (_, index) =>
    Number((value >> BigInt(widthOf(family) - step * (index + 1))) & ((1n << BigInt(step)) - 1n)),
  );
  return family === 4 ? parts.join('.') : parts.map((part) => part.toString(16)).join(':');
}

const canonicalOf = (bits: Bits) => parseAddress(textOf(bits))!.text;

/** The network of a length that has an address. */
function networkOf(bits: Bits, length: number): Network {
  const beyond = BigInt(widthOf(bits.family) - length);
  const network = parseNetwork(`${textOf({ ...bits, value: (bits.value >> beyond) << beyond })}/${length}`);
  assert.ok(!('expected' in network));
  return network;
}

/** An address, a network's address and length, and often an address that differs from the network's in one bit. */
const addressAndNetwork = fc
  .tuple(anyBits, anyBits, fc.nat(128), fc.nat(127), fc.constantFrom('any', 'same', 'near'))
  .map(([address, base, anyLength, anyBit, how]) => {
    const width = widthOf(base.family);
    const flipped = { ...base, value: base.value ^ (1n << BigInt(anyBit % width)) };
    const near = flipped.family === 6 && flipped.value >> 32n === 0xffffn ? base : flipped;
    const chosen = { any: address, same: base, near }[how];
    return { address: chosen, base, length: anyLength % (width + 1) };
  });

test('a prefix of the key of an address is the key of a network exactly when the network has the address', () => {
  fc.assert(
    fc.property(addressAndNetwork, ({ address, base, length }) => {
      const network = networkOf(base, length);
      const beyond = BigInt(widthOf(base.family) - length);
      const isIn = address.family === base.family && address.value >> beyond === base.value >> beyond;
      const key = addressKey(canonicalOf(address));
      const found =
        network.family === (typeof key === 'number' ? 4 : 6) &&
        prefixKey(key, network.length) === network.key;
      assert.equal(found, isIn);
    }),
    { numRuns: 5000 },
  );
});

test('an address alone is the network of its whole length, and its key is that of the address', () => {
  fc.assert(
    fc.property(anyBits, (bits) => {
      const text = canonicalOf(bits);
      const network = parseNetwork(text);
      const length = widthOf(bits.family);
      assert.deepEqual(network, {
        text: `${text}/${length}`,
        family: bits.family,
        length,
        key: addressKey(text),
      });
      assert.deepEqual(parseNetwork(`${textOf(bits)}/${length}`), network);
    }),
    { numRuns: 2000 },
  );
});

test('the text of a network is its own text, and begins with its first address in canonical form', () => {
  fc.assert(
    fc.property(anyBits, fc.nat(128), (bits, anyLength) => {
      const network = networkOf(bits, anyLength % (widthOf(bits.family) + 1));
      assert.deepEqual(parseNetwork(network.text), network);
      const [address, length] = network.text.split('/');
      assert.equal(parseAddress(address!)?.text, address);
      assert.equal(Number(length), network.length);
    }),
    { numRuns: 2000 },
  );
});

test('what is an address is a network, and without a slash nothing else is', () => {
  const piece = fc.constantFrom(
    '0',
    '1',
    '25',
    '255',
    '256',
    '01',
    '.',
    '.',
    ':',
    '::',
    'ffff',
    ' ',
    '1.2.3.4',
  );
  const text = fc.oneof(
    fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join('')),
    fc.ipV4Extended(),
    fc.ipV6(),
    fc.string().filter((candidate) => !candidate.includes('/')),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      const address = parseAddress(candidate);
      const network = parseNetwork(candidate);
      assert.equal('expected' in network, address === undefined, candidate);
      if (!('expected' in network)) {
        assert.equal(network.text, `${address!.text}/${address!.bytes.length * 8}`);
      }
    }),
    { numRuns: 5000 },
  );
});

test('a network with bits beyond its prefix is refused with the one that was meant', () => {
  fc.assert(
    fc.property(anyBits, fc.nat(127), (bits, anyLength) => {
      const length = anyLength % widthOf(bits.family);
      const beyond = BigInt(widthOf(bits.family) - length);
      fc.pre((bits.value >> beyond) << beyond !== bits.value);
      assert.deepEqual(parseNetwork(`${textOf(bits)}/${length}`), {
        expected: `no bits beyond the prefix, as in ${networkOf(bits, length).text}`,
      });
    }),
    { numRuns: 2000 },
  );
});

test('masking keeps the first bits, clears the rest, and leaves what it was given', () => {
  fc.assert(
    fc.property(anyBits, fc.nat(128), (bits, anyLength) => {
      const width = widthOf(bits.family);
      const length = anyLength % (width + 1);
      const { bytes } = parseAddress(textOf(bits))!;
      const before = Uint8Array.from(bytes);
      const masked = maskBytes(bytes, length);
      const beyond = BigInt(width - length);
      const expected = textOf({ ...bits, value: (bits.value >> beyond) << beyond });
      assert.equal(addressFromBytes(masked, 0, bits.family === 4 ? 4 : 16), parseAddress(expected)!.text);
      assert.deepEqual(bytes, before);
    }),
    { numRuns: 1000 },
  );
});
