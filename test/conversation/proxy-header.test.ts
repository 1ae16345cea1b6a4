import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../src/address.ts';
import { createProxyHeaderReader, type ProxyHeader } from '../../src/conversation/proxy-header.ts';
import { encodeBinary, encodeV1, encodeV2, LOCAL_V2, type ProxiedEnds } from '../support/proxy-header.ts';

const IPV4: ProxiedEnds = { src: '192.0.2.7', spt: 56_324, dst: '198.51.100.1', dpt: 22 };
const IPV6: ProxiedEnds = { src: '2001:db8::7', spt: 1, dst: '2001:db8:1::ff', dpt: 65_535 };

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const bytes = (count: number) => Buffer.alloc(count, 0xee);
const proxied = (ends: ProxiedEnds): ProxyHeader => ({ kind: 'proxied', ...ends });
const LOCAL: ProxyHeader = { kind: 'local' };
const malformed = (why: string) => ({ kind: 'malformed', why });

interface Outcome {
  readonly header: ProxyHeader | undefined;
  /** How many bytes of the stream were consumed when the header was there, or when all had come. */
  readonly consumed: number;
}

/** Reads a stream that comes in pieces as a caller does: it peeks, takes what it is told, and peeks again. */
function read(...pieces: readonly Uint8Array[]): Outcome {
  const reader = createProxyHeaderReader();
  let waiting = Buffer.alloc(0);
  let consumed = 0;
  for (const piece of pieces) {
    waiting = Buffer.concat([waiting, piece]);
    const progress = reader.push(waiting);
    assert.ok(progress.consumed >= 0 && progress.consumed <= waiting.length, `${progress.consumed}`);
    consumed += progress.consumed;
    if (progress.header !== undefined) return { header: progress.header, consumed };
    assert.equal(progress.consumed, waiting.length, 'what waits would wake a level-triggered poll again');
    waiting = Buffer.alloc(0);
  }
  return { header: undefined, consumed };
}

const byteByByte = (stream: Uint8Array) => read(...Array.from(stream, (byte) => Uint8Array.of(byte)));

function assertHeader(stream: Uint8Array, header: ProxyHeader, what = stream.toString()): void {
  const whole = { header, consumed: stream.length };
  assert.deepEqual(read(stream), whole, what);
  assert.deepEqual(byteByByte(stream), whole, what);
  assert.deepEqual(read(Buffer.concat([stream, latin1('\r\nPROXY ')])), whole, `${what}, followed by data`);
}

/** @param consumed how many bytes come before the one that shows the fault */
function assertMalformed(stream: Uint8Array, why: string, consumed: number, what = stream.toString()): void {
  const outcome = { header: malformed(why), consumed };
  assert.deepEqual(read(stream), outcome, what);
  assert.deepEqual(byteByByte(stream), outcome, what);
  assert.deepEqual(
    read(stream.subarray(0, consumed)),
    { header: undefined, consumed },
    `${what}, until then`,
  );
}

/** A line that is wrong once it is whole: its line feed shows that. */
const assertMalformedLine = (line: string, why: string) =>
  assertMalformed(latin1(`${line}\r\n`), why, line.length + 1, JSON.stringify(line));

test('version 1 names both ends over IPv4', () => {
  assertHeader(latin1('PROXY TCP4 192.0.2.7 198.51.100.1 56324 22\r\n'), proxied(IPV4));
});

test('version 1 names both ends over IPv6, in canonical form', () => {
  const line = 'PROXY TCP6 2001:DB8:0:0:0:0:0:7 2001:0db8:0001::00ff 1 65535\r\n';
  assertHeader(latin1(line), proxied(IPV6));
});

test('version 2 names both ends over IPv4', () => {
  const header = `${'0d0a0d0a000d0a515549540a'}${'2111000c'}${'c0000207'}${'c6336401'}${'dc04'}${'0016'}`;
  assertHeader(Buffer.from(header, 'hex'), proxied(IPV4));
});

test('version 2 names both ends over IPv6', () => {
  const src = '20010db8000000000000000000000007';
  const dst = '20010db80001000000000000000000ff';
  const header = `${'0d0a0d0a000d0a515549540a'}${'21210024'}${src}${dst}${'0001'}${'ffff'}`;
  assertHeader(Buffer.from(header, 'hex'), proxied(IPV6));
});

test('an IPv4-mapped address is the IPv4 address that it carries', () => {
  for (const form of ['::ffff:192.0.2.7', '::FFFF:c000:207', '0:0:0:0:0:ffff:192.0.2.7']) {
    assertHeader(encodeV1({ ...IPV4, src: form }), proxied(IPV4));
    assertHeader(encodeV2({ ...IPV4, src: form }), proxied(IPV4));
  }
  const mixed = { ...IPV6, dst: '198.51.100.1' };
  assertHeader(encodeV1(mixed), proxied(mixed));
  assertHeader(encodeV2(mixed), proxied(mixed));
});

test('ports reach from 0 to 65535', () => {
  for (const [spt, dpt] of [[0, 65_535] as const, [65_535, 0] as const, [9, 10] as const]) {
    for (const ends of [IPV4, IPV6]) {
      assertHeader(encodeV1({ ...ends, spt, dpt }), proxied({ ...ends, spt, dpt }));
      assertHeader(encodeV2({ ...ends, spt, dpt }), proxied({ ...ends, spt, dpt }));
    }
  }
});

test('the longest lines that the specification foresees are read', () => {
  const longest = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
  const src = longest.replace(/^ffff/, 'feff');
  const ends = { src, spt: 65_535, dst: longest, dpt: 65_535 };
  assert.equal(encodeV1(ends).length, 104);
  assertHeader(encodeV1(ends), proxied(ends));
  const unknown = latin1(`PROXY UNKNOWN ${longest} ${longest} 65535 65535\r\n`);
  assert.equal(unknown.length, 107);
  assertHeader(unknown, LOCAL);
});

test('UNKNOWN is local, whatever comes before the end of the line', () => {
  const rests = ['', ' ', ' 192.0.2.7 198.51.100.1 1 2', ' \0\xff\t', ' TCP4', '\r', ' a\rb', ' a\nb', '\n'];
  for (const rest of rests) assertHeader(latin1(`PROXY UNKNOWN${rest}\r\n`), LOCAL, JSON.stringify(rest));
});

test('LOCAL is local, whatever family and block come with it', () => {
  assertHeader(LOCAL_V2, LOCAL);
  for (const family of [0x00, 0x11, 0x21, 0x31, 0x13, 0x77, 0xff]) {
    for (const size of [0, 1, 11, 12, 36, 300, 4096]) {
      assertHeader(encodeBinary(0x20, family, bytes(size)), LOCAL, `${family} ${size}`);
    }
  }
});

test('families and protocols other than TCP over IPv4 or IPv6 are local', () => {
  const blocks: readonly (readonly [familyAndProtocol: number, size: number])[] = [
    [0x00, 0], // UNSPEC
    [0x01, 0],
    [0x02, 0],
    [0x10, 0],
    [0x20, 0],
    [0x30, 0],
    [0x12, 12], // UDP
    [0x22, 36],
    [0x31, 216], // unix
    [0x32, 216],
  ];
  for (const [family, least] of blocks) {
    for (const size of [least, least + 1, 1000, 4096]) {
      assertHeader(encodeBinary(0x21, family, bytes(size)), LOCAL, `${family} ${size}`);
    }
  }
});

test('TLVs are skipped, up to a block of 4096 bytes', () => {
  for (const size of [1, 2, 3, 100, 1000, 4084]) assertHeader(encodeV2(IPV4, size), proxied(IPV4), `${size}`);
  for (const size of [1, 3, 4060]) assertHeader(encodeV2(IPV6, size), proxied(IPV6), `${size}`);
  assert.equal(encodeV2(IPV4, 4084).length, 16 + 4096);
});

test('a longer block is refused when its length is there, also of a local header', () => {
  for (const [command, family] of [[0x21, 0x11] as const, [0x21, 0x31] as const, [0x20, 0x00] as const]) {
    for (const length of [4097, 0x1100, 0x8000, 65_535]) {
      assertMalformed(encodeBinary(command, family, bytes(20), length), 'oversized', 15);
    }
  }
});

test('a block shorter than its family needs is refused when its length is there', () => {
  const least: readonly (readonly [familyAndProtocol: number, size: number])[] = [
    [0x11, 12],
    [0x12, 12],
    [0x21, 36],
    [0x22, 36],
    [0x31, 216],
    [0x32, 216],
  ];
  for (const [family, size] of least) {
    for (const length of [0, 1, size - 1]) {
      assertMalformed(
        encodeBinary(0x21, family, bytes(300), length),
        'short block',
        15,
        `${family} ${length}`,
      );
    }
  }
});

test('versions, commands, families and protocols that nobody has assigned are refused at their byte', () => {
  for (const version of [0x0, 0x1, 0x3, 0xa, 0xf]) {
    for (const command of [0, 1]) {
      assertMalformed(encodeBinary((version << 4) | command, 0x11, bytes(12)), 'unknown version', 12);
    }
  }
  for (const command of [2, 3, 8, 0xf]) {
    assertMalformed(encodeBinary(0x20 | command, 0x11, bytes(12)), 'unknown command', 12);
  }
  for (const family of [4, 8, 0xf]) {
    assertMalformed(encodeBinary(0x21, (family << 4) | 1, bytes(300)), 'unknown family', 13);
  }
  for (const protocol of [3, 4, 0xf]) {
    assertMalformed(encodeBinary(0x21, 0x10 | protocol, bytes(12)), 'unknown protocol', 13);
  }
});

test('what begins otherwise has no header, which its first differing byte shows', () => {
  const streams: readonly (readonly [stream: string, consumed: number])[] = [
    ['GET / HTTP/1.1\r\n', 0],
    ['SSH-2.0-OpenSSH_9.9\r\n', 0],
    ['\x16\x03\x01', 0],
    ['\0', 0],
    ['\n', 0],
    [' PROXY TCP4', 0],
    ['proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n', 0],
    ['POST / HTTP/1.1\r\n', 1],
    ['PROXy TCP4', 4],
    ['PROXY\tTCP4', 5],
    ['PROXY\r\n', 5],
    ['PROXY\0TCP4', 5],
    ['PROXY2 TCP4', 5],
    ['\r\r', 1],
    ['\r\n\r\nGET', 4],
    ['\r\n\r\n\0\r\nQUIT\r', 11],
  ];
  for (const [stream, consumed] of streams) assertMalformed(latin1(stream), 'no header', consumed);
});

test('every byte of both signatures counts', () => {
  for (const [header, size] of [[encodeV1(IPV4), 6] as const, [encodeV2(IPV4), 12] as const]) {
    for (let at = 0; at < size; at++) {
      const wrong = Buffer.from(header);
      wrong[at]! ^= 0x80;
      assertMalformed(wrong, 'no header', at);
    }
  }
});

test('a line may not be longer than 107 bytes, nor wait for its end beyond them', () => {
  for (const start of ['PROXY UNKNOWN ', 'PROXY TCP4 ', 'PROXY ']) {
    const line = latin1(start.padEnd(105, 'x'));
    assertMalformed(Buffer.concat([line, latin1('x\r\n')]), 'oversized', 106);
    assertMalformed(Buffer.concat([line, latin1('\r\r\n')]), 'oversized', 106);
    assertMalformed(Buffer.concat([line, bytes(5000)]), 'oversized', 106);
  }
  assertMalformed(latin1(`${'PROXY UNKNOWN'.padEnd(106, '\n')}\n`), 'oversized', 106);
});

test('a line feed alone ends no line, and is refused at once', () => {
  for (const line of ['PROXY ', 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2', 'PROXY TCP4', 'PROXY UNKNOW']) {
    assertMalformed(latin1(`${line}\n\r\n`), 'bare line feed', line.length);
  }
});

test('a carriage return alone ends no line', () => {
  assertMalformedLine('PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r', 'bad port');
  assertMalformedLine('PROXY TCP4 192.0.2.7 198.51.100.1 1 2\rGET / HTTP/1.1', 'wrong fields');
  assertMalformedLine('PROXY TCP4\r192.0.2.7 198.51.100.1 1 2', 'unknown protocol');
});

test('only TCP4 and TCP6 are protocols, in upper case', () => {
  const protocols = [
    '',
    'tcp4',
    'TCP',
    'TCP5',
    'TCP44',
    'UDP4',
    'UNIX',
    'unknown',
    'UNKNOW',
    'TCP4\0',
    '\0',
    'TCP4\t',
  ];
  for (const protocol of protocols) {
    assertMalformedLine(`PROXY ${protocol} 192.0.2.7 198.51.100.1 1 2`, 'unknown protocol');
  }
});

test('a line has its six fields, each after exactly one space', () => {
  const ends = '192.0.2.7 198.51.100.1 1 2';
  const padded = [` ${ends}`, `${ends} `, '192.0.2.7  198.51.100.1 1 2', '192.0.2.7 198.51.100.1 1  2'];
  const lines = ['', '192.0.2.7', '192.0.2.7 198.51.100.1 1', `${ends} 3`, ...padded];
  for (const line of lines) assertMalformedLine(`PROXY TCP4 ${line}`, 'wrong fields');
  assertMalformedLine('PROXY TCP4', 'wrong fields');
  assertMalformedLine('PROXY TCP6', 'wrong fields');
  assertMalformedLine(`PROXY TCP4 ${ends.replaceAll(' ', '\t')}`, 'wrong fields');
  assertMalformedLine(`PROXY  TCP4 ${ends}`, 'unknown protocol');
});

const NO_IPV4 = [
  '',
  '127.1',
  '1',
  '3221225991',
  '0x7f.0.0.1',
  '0300.0.2.7',
  '192.0.2.07',
  '192.0.2.256',
  '192.0.2.-7',
  '192.0.2.7.',
  '.192.0.2.7',
  '192.0.2.7/32',
  '192.0.2.7:80',
  '[192.0.2.7]',
  '192.0.2.7%eth0',
  '192.0.2.7\0',
  '192.0.2.7\t',
  '192.0.2.\xb2',
  'localhost',
  '2001:db8::7',
  '::ffff:192.0.2.7',
];

const NO_IPV6 = [
  '',
  '192.0.2.7',
  'fe80::1%eth0',
  'fe80::1%25eth0',
  '[2001:db8::7]',
  '2001:db8::7/128',
  '2001:db8::7\0',
  '2001:db8::7\t',
  '2001:db8:::7',
  '2001::db8::7',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '12345::',
  'g::1',
  '::ffff:192.0.2.007',
  '::ffff:127.1',
  ':',
];

test('addresses have the notation of their family, whole, and nothing beside it', () => {
  for (const text of NO_IPV4) {
    assertMalformedLine(`PROXY TCP4 ${text} 198.51.100.1 1 2`, 'bad address');
    assertMalformedLine(`PROXY TCP4 192.0.2.7 ${text} 1 2`, 'bad address');
  }
  for (const text of NO_IPV6) {
    assertMalformedLine(`PROXY TCP6 ${text} 2001:db8::1 1 2`, 'bad address');
    assertMalformedLine(`PROXY TCP6 2001:db8::7 ${text} 1 2`, 'bad address');
  }
});

test('ports are decimal numbers up to 65535, with neither sign nor leading zero', () => {
  const ports = [
    '',
    '65536',
    '99999',
    '100000',
    '00',
    '022',
    '+22',
    '-1',
    '0x16',
    '1e1',
    '2.',
    'ssh',
    '22\0',
    '22\t',
  ];
  for (const port of [...ports, '\t22', '\xb2', '99999999999999999999', 'NaN']) {
    assertMalformedLine(`PROXY TCP4 192.0.2.7 198.51.100.1 ${port} 2`, 'bad port');
    assertMalformedLine(`PROXY TCP4 192.0.2.7 198.51.100.1 1 ${port}`, 'bad port');
  }
});

const NO_SOURCES = [
  '0.0.0.0',
  '0.0.0.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  'ff00::',
  'ff02::1',
  'ffff::1',
];
const MAPPED_NO_SOURCES = ['::ffff:0.0.0.0', '::ffff:224.0.0.1', '::ffff:efff:ffff'];
const SOURCES = ['1.0.0.0', '223.255.255.255', '::1', 'feff::1', 'ff::1', 'ff:ff:ff::'];

test('nobody connects from the unspecified address or from a multicast group', () => {
  for (const src of [...NO_SOURCES, ...MAPPED_NO_SOURCES]) {
    const dst = src.includes(':') ? IPV6.dst : IPV4.dst;
    const line = encodeV1({ ...IPV4, src, dst });
    assertMalformed(line, 'no source', line.length - 1);
    const binary = encodeV2({ ...IPV4, src, dst }, 10);
    assertMalformed(binary, 'no source', binary.length - 10 - 1, src);
  }
});

test('somebody may connect from what is next to those, and to any address', () => {
  for (const src of SOURCES) {
    const ends = { ...IPV4, src };
    assertHeader(encodeV1(ends), proxied(ends));
    assertHeader(encodeV2(ends), proxied(ends));
  }
  for (const dst of NO_SOURCES) {
    const ends = { ...IPV4, dst };
    assertHeader(encodeV1(ends), proxied(ends));
    assertHeader(encodeV2(ends), proxied(ends));
  }
});

const SAMPLES: readonly (readonly [header: Buffer, means: ProxyHeader])[] = [
  [encodeV1(IPV4), proxied(IPV4)],
  [encodeV1(IPV6), proxied(IPV6)],
  [latin1('PROXY UNKNOWN\r\n'), LOCAL],
  [latin1('PROXY UNKNOWN a b\r\n'), LOCAL],
  [encodeV2(IPV4), proxied(IPV4)],
  [encodeV2(IPV6), proxied(IPV6)],
  [encodeV2(IPV4, 40), proxied(IPV4)],
  [LOCAL_V2, LOCAL],
  [encodeBinary(0x20, 0x11, bytes(12)), LOCAL],
  [encodeBinary(0x21, 0x31, bytes(216)), LOCAL],
];

test('a header that is cut short is taken as far as it goes, and says nothing', () => {
  for (const [header] of SAMPLES) {
    for (let length = 0; length < header.length; length++) {
      const outcome = { header: undefined, consumed: length };
      assert.deepEqual(read(header.subarray(0, length)), outcome, `${header}`);
    }
  }
});

test('a header may come in two pieces, cut anywhere, and of the data that follows no byte is taken', () => {
  for (const [header, means] of SAMPLES) {
    const stream = Buffer.concat([header, header]);
    for (let cut = 0; cut <= header.length; cut++) {
      const outcome = { header: means, consumed: header.length };
      assert.deepEqual(read(stream.subarray(0, cut), stream.subarray(cut)), outcome, `${cut}`);
    }
  }
});

test('nothing new waits, nothing is consumed', () => {
  const reader = createProxyHeaderReader();
  const nothing = { consumed: 0, header: undefined };
  assert.deepEqual(reader.push(bytes(0)), nothing);
  for (const byte of encodeV2(IPV4, 3).subarray(0, -1)) {
    assert.deepEqual(reader.push(Uint8Array.of(byte)), { consumed: 1, header: undefined });
    assert.deepEqual(reader.push(bytes(0)), nothing);
  }
});

test('once the header is known it stays so, and whatever comes is left alone', () => {
  const wrong = latin1('PROXY TCP4 \n');
  for (const [stream, header] of [...SAMPLES, [wrong, malformed('bare line feed')] as const]) {
    const reader = createProxyHeaderReader();
    reader.push(stream);
    for (const waiting of [bytes(0), bytes(5000), LOCAL_V2]) {
      assert.deepEqual(reader.push(waiting), { consumed: 0, header });
    }
  }
});

test('what the reader has been shown may be overwritten by its owner', () => {
  for (const [header, means] of SAMPLES) {
    const reader = createProxyHeaderReader();
    const buffer = Buffer.from(header.subarray(0, -1));
    reader.push(buffer);
    buffer.fill(0);
    assert.deepEqual(reader.push(header.subarray(-1)), { consumed: 1, header: means });
  }
});

test('readers do not disturb each other', () => {
  const [one, other] = [createProxyHeaderReader(), createProxyHeaderReader()];
  const [line, binary] = [encodeV1(IPV4), encodeV2(IPV6)];
  one.push(line.subarray(0, -1));
  other.push(binary.subarray(0, -1));
  assert.deepEqual(one.push(line.subarray(-1)), { consumed: 1, header: proxied(IPV4) });
  assert.deepEqual(other.push(binary.subarray(-1)), { consumed: 1, header: proxied(IPV6) });
});

const isSource = (text: string) =>
  !/^(0\..*|::|2(2[4-9]|[345]\d)\..*|ff[0-9a-f]{2}:.*)$/.test(canonical(text));
const canonical = (text: string) => parseAddress(text)!.text;

const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6().filter((text) => parseAddress(text) !== undefined),
);
const port = fc.integer({ min: 0, max: 65_535 });
const anyEnds = fc.record({ src: address.filter(isSource), spt: port, dst: address, dpt: port });
const anyHeader = fc.oneof(
  anyEnds.map((ends) => ({ ends, header: encodeV1(ends) })),
  fc.tuple(anyEnds, fc.nat(4060)).map(([ends, tlvBytes]) => ({ ends, header: encodeV2(ends, tlvBytes) })),
);
/** Sizes of pieces, which are taken in turn until the stream is at its end. */
const anySizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 4096 })), {
  minLength: 1,
});

function cut(stream: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < stream.length; ) {
    const size = sizes[pieces.length % sizes.length]!;
    pieces.push(stream.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

test('whatever is encoded is read, however it is cut, to its last byte and none beyond', () => {
  fc.assert(
    fc.property(anyHeader, anySizes, fc.uint8Array(), ({ ends, header }, sizes, data) => {
      const means = proxied({ ...ends, src: canonical(ends.src), dst: canonical(ends.dst) });
      const outcome = read(...cut(Buffer.concat([header, data]), sizes));
      assert.deepEqual(outcome, { header: means, consumed: header.length });
    }),
    { numRuns: 500 },
  );
});

/** Bytes that look like a header for a while: a true one with some of them changed, or its start and then anything. */
const hostile = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc
    .tuple(anyHeader, fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 }))
    .map(([{ header }, changes]) => {
      const changed = Buffer.from(header);
      for (const [at, byte] of changes) if (at < changed.length) changed[at] = byte;
      return changed;
    }),
  fc
    .tuple(anyHeader, fc.nat(60), fc.uint8Array(), fc.nat(5000))
    .map(([{ header }, kept, rest, more]) => Buffer.concat([header.subarray(0, kept), rest, bytes(more)])),
  fc
    .tuple(
      fc.constantFrom('PROXY ', 'PROXY TCP4 ', 'PROXY TCP6 ', 'PROXY UNKNOWN'),
      fc.array(fc.constantFrom(' ', '\r', '\n', '\r\n', '\0', '1', '192.0.2.7', '2001:db8::7', '\xff')),
    )
    .map(([start, parts]) => latin1(`${start}${parts.join('')}`)),
);

const WORDS =
  /^(no header|oversized|no source|bare line feed|wrong fields|bad (address|port)|unknown (version|command|family|protocol)|short block)$/;

test('any bytes give the same however they are cut, in bounds, and nothing of them is in what is said', () => {
  fc.assert(
    fc.property(hostile, anySizes, (stream, sizes) => {
      const outcome = read(stream);
      assert.deepEqual(read(...cut(stream, sizes)), outcome);
      assert.deepEqual(byteByByte(stream), outcome);
      assert.ok(outcome.consumed <= (stream[0] === 0x50 ? 107 : 16 + 4096), `${outcome.consumed} consumed`);
      const { header } = outcome;
      if (header?.kind === 'malformed') assert.match(header.why, WORDS);
      if (header?.kind === 'proxied') {
        assert.ok(isSource(header.src), `${header.src} is no source`);
        assert.deepEqual([header.src, header.dst], [canonical(header.src), canonical(header.dst)]);
      }
    }),
    { numRuns: 2000 },
  );
});
