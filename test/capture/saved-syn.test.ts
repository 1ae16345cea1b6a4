import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSavedSyn } from '../../src/capture/saved-syn.ts';

const LINUX_OPTIONS = '020405b40402080a000000000000000001030307';

/** A TCP header with these options, padded to whole words as it is on the wire. */
function tcp(options: string, words = 5 + Math.ceil(options.length / 8)): string {
  return `9c90001700000000000000${`00${(words << 4).toString(16)}`.slice(0, 4)}02faf00000${'0000'}${options}`;
}

const IPV4 = '4500003c000040003406000 0c6336407cb007105'.replaceAll(' ', '');
const IPV6 = `6000000000280640${'20010db8000000000000000000000007'}${'20010db8000000000000000000000005'}`;

function parse(hex: string) {
  const bytes = Buffer.from(hex, 'hex');
  return parseSavedSyn(bytes, bytes.length);
}

test('an IPv4 SYN gives its time to live, window and options', () => {
  assert.deepEqual(parse(IPV4 + tcp(LINUX_OPTIONS)), {
    ttl: 52,
    win: 64_240,
    syn: 'mss:1460,sok,ts,nop,ws:7',
  });
});

test('an IPv6 SYN gives its hop limit', () => {
  assert.deepEqual(parse(IPV6 + tcp('020405a0')), { ttl: 64, win: 64_240, syn: 'mss:1440' });
});

test('IPv6 extension headers are passed over', () => {
  const withDestinationOptions = IPV6.replace('0640', '3c40');
  const options = `0600${'010400000000'}`;
  assert.equal(parse(withDestinationOptions + options + tcp('020405a0'))?.syn, 'mss:1440');
});

test('a SYN without options says so', () => {
  assert.equal(parse(IPV4 + tcp(''))?.syn, 'none');
});

test('options without a name are numbers, padding is counted, an option that overruns the header is bad', () => {
  assert.equal(parse(IPV4 + tcp('1e04000a'))?.syn, 'opt30');
  assert.equal(parse(IPV4 + tcp('01000000'))?.syn, 'nop,eol+2');
  assert.equal(parse(IPV4 + tcp('01010209'))?.syn, 'nop,nop,bad');
  assert.equal(parse(IPV4 + tcp('01010200'))?.syn, 'nop,nop,bad');
  assert.equal(parse(IPV4 + tcp('01010102'))?.syn, 'nop,nop,nop,bad');
});

test('less than the two headers gives nothing', () => {
  const whole = Buffer.from(IPV4 + tcp(LINUX_OPTIONS), 'hex');
  for (let length = 0; length < 40; length++) assert.equal(parseSavedSyn(whole, length), undefined);
});

test('whatever the bytes, only digits and option names come out, and nothing is thrown', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x00),
      (bytes, first) => {
        const buffer = Buffer.from([first, ...bytes]);
        const result = parseSavedSyn(buffer, buffer.length);
        if (result !== undefined) assert.match(result.syn, /^[a-z0-9:,+]{1,300}$/);
      },
    ),
    { numRuns: 5000 },
  );
});
