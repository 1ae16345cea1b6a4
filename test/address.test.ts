import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressFromBytes, parseAddress } from '../src/address.ts';

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
/** IPv6 with runs of zeros, as addresses have them. */
const sparseBytes = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));

/** The canonical text according to the URL standard, which follows RFC 5952 but for IPv4-mapped addresses. */
function urlText(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((bytes[2 * index]! << 8) | bytes[2 * index + 1]!).toString(16),
  );
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

test('IPv4 bytes become a dotted quad that reads back as the same bytes', () => {
  fc.assert(
    fc.property(bytesOf(4), (bytes) => {
      const text = addressFromBytes(bytes, 0, 4);
      assert.equal(text, bytes.join('.'));
      assert.deepEqual(parseAddress(text), { text, family: 4, bytes });
    }),
  );
});

test('IPv6 bytes become the text that the URL standard gives them, and read back as the same bytes', () => {
  fc.assert(
    fc.property(fc.oneof(bytesOf(16), sparseBytes), (bytes) => {
      const text = addressFromBytes(bytes, 0, 16);
      fc.pre(!text.includes('.'));
      assert.equal(text, urlText(bytes));
      assert.deepEqual(parseAddress(text), { text, family: 6, bytes });
    }),
    { numRuns: 2000 },
  );
});

test('the canonical text of an address is its own canonical text', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const address = parseAddress(text);
      assert.ok(address);
      assert.deepEqual(parseAddress(address.text), address);
    }),
  );
});

test('what node takes for an address without a zone is an address, and nothing else is', () => {
  const piece = fc.constantFrom(
    '0',
    '1',
    'ffff',
    '00a1',
    '12345',
    ':',
    '::',
    ':',
    '1.2.3.4',
    '01.2.3.4',
    '256.1.1.1',
    '%lo',
    'x',
    '.',
  );
  const text = fc.oneof(
    fc.array(piece, { maxLength: 16 }).map((pieces) => pieces.join('')),
    fc.string(),
    fc.ipV6(),
    fc.ipV4Extended(),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      const isAddress = isIP(candidate) !== 0 && !candidate.includes('%');
      assert.equal(parseAddress(candidate) !== undefined, isAddress, candidate);
    }),
    { numRuns: 5000 },
  );
});

test('IPv6 in any spelling is the address that the URL standard takes it for', () => {
  const piece = fc.constantFrom('0', '1', 'FFFF', '00a1', '::', '::ffff:', '192.0.2.1');
  const text = fc.oneof(
    fc.array(piece, { minLength: 2, maxLength: 8 }).map((pieces) => pieces.join(':').replace(/:::+/g, '::')),
    fc.ipV6(),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      fc.pre(isIP(candidate) === 6);
      const canonical = new URL(`http://[${candidate}]/`).hostname.slice(1, -1);
      assert.deepEqual(parseAddress(candidate), parseAddress(canonical));
    }),
    { numRuns: 2000 },
  );
});

test('an IPv4-mapped address is the IPv4 address that it carries', () => {
  for (const text of ['::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:c000:0201']) {
    assert.deepEqual(parseAddress(text), {
      text: '192.0.2.1',
      family: 4,
      bytes: Uint8Array.of(192, 0, 2, 1),
    });
  }
  const bytes = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]);
  assert.equal(addressFromBytes(bytes, 0, 16), '192.0.2.1');
});

test('an address that carries IPv4 in another way stays IPv6', () => {
  assert.equal(parseAddress('::192.0.2.1')?.text, '::c000:201');
  assert.equal(parseAddress('64:ff9b::192.0.2.1')?.text, '64:ff9b::c000:201');
  assert.equal(parseAddress('2001:db8::ffff:192.0.2.1')?.text, '2001:db8::ffff:c000:201');
  assert.equal(parseAddress('0:0:0:0:1:ffff:192.0.2.1')?.text, '::1:ffff:c000:201');
});

test('bytes are read from the offset', () => {
  const bytes = Uint8Array.from([9, 9, 192, 0, 2, 1, 9, ...new Array(15).fill(0), 1]);
  assert.equal(addressFromBytes(bytes, 2, 4), '192.0.2.1');
  assert.equal(addressFromBytes(bytes, 7, 16), '::1');
});

test('RFC 5952: lower case, no leading zeros, the longest run of zeros shortened, the first of two equal ones', () => {
  assert.equal(parseAddress('2001:0DB8:0:0:0:0:2:1')?.text, '2001:db8::2:1');
  assert.equal(parseAddress('2001:db8:0:1:1:1:1:1')?.text, '2001:db8:0:1:1:1:1:1');
  assert.equal(parseAddress('2001:0:0:1:0:0:0:1')?.text, '2001:0:0:1::1');
  assert.equal(parseAddress('2001:db8:0:0:1:0:0:1')?.text, '2001:db8::1:0:0:1');
});

const LAX = [
  '1.2',
  '1',
  '0x7f.0.0.1',
  '0177.0.0.1',
  '192.0.2.01',
  '3221225985',
  '192.0.2.1.',
  ' 192.0.2.1',
  '192.0.2.1/32',
];
const LAX_IPV6 = [
  'fe80::1%eth0',
  '::1%1',
  '[::1]',
  '::ffff:010.0.0.1',
  '::ffff:0x7f.0.0.1',
  '::1/128',
  ':::',
  '1::2::3',
  '',
];

for (const text of [...LAX, ...LAX_IPV6]) {
  test(`${JSON.stringify(text)} is not an address`, () => assert.equal(parseAddress(text), undefined));
}
