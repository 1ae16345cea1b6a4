import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { guessProtocol, UNKNOWN } from '../../src/conversation/guess-protocol.ts';
import { GUESSES } from '../../src/conversation/guesses.ts';

interface Greeting {
  readonly client: string;
  readonly command: string;
  readonly guess: string;
  readonly bytes: string;
}

const read = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8');
/** What record-greetings.ts has heard. */
const RECORDED = JSON.parse(read('greetings.json')) as readonly Greeting[];
const PAGE = read('../../docs/guesses.md');

const WORDS = GUESSES.map(({ word }) => word);

/** Greetings of which there is no recording, or not of this form; a character is a byte. */
const WRITTEN: Readonly<Record<string, readonly string[]>> = {
  tls: [
    '\x16\x03\x01',
    '\x16\x03\x01\x02\x00\x01\x00\x01',
    // SSL 2 that offers TLS 1.0
    '\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10\x01\0\x80',
  ],
  http: [
    'GET /\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n',
    'POST /cgi-bin/.%2e/bin/sh HTTP/1.1\r\n',
    `GET /${'a'.repeat(5000)}`,
    'OPTIONS * HTTP/1.1\r\n',
    'TRACE / HTTP/1.0\r\n',
    'CONNECT [2001:db8::1]:443 HTTP/1.1\r\n',
    'M-SEARCH * HTTP/1.1\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET http://192.0.2.1/ HTTP/1.1\r\n',
    'OPTIONS rtsp://192.0.2.1/ HTTP/1.1\r\n',
  ],
  smtp: ['helo a\r\n', 'MAIL FROM:<a@example.org>\r\n'],
  pop3: ['STLS\r\n', 'APOP guest c4c9334bac560ecc979e58001b3e22fb\r\n'],
  imap: ['a LOGIN guest guest\r\n', '. starttls\r\n', 'tag1 AUTHENTICATE PLAIN\r\n'],
  sip: ['REGISTER sip:192.0.2.1 SIP/2.0\r\n', 'INVITE sips:a@example.org'],
  rtsp: ['DESCRIBE rtsp://192.0.2.1:554/live RTSP/1.0\r\n', 'DESCRIBE rtsp://192.0', 'GET / RTSP/1.0\r\n'],
  irc: ['CAP LS 302\r\n', 'PASS a\r\nNICK b\r\nUSER c 0 * :d\r\n', 'USER a 0 * :b\r\n'],
  xmpp: ["<stream:stream to='example.org' version='1.0'>"],
  ssh: ['SSH-2.0-Go\r\n', 'SSH-1.5-a\n'],
  telnet: ['\xff\xfd\x03\xff\xfb\x18', '\xff\xfc\x01root\r\n'],
  rdp: [
    '\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0',
    '\x03\0\0\x2c\x27\xe0\0\0\0\0\0Cookie: msts=3640205228.15629.0000\r\n',
  ],
  vnc: ['RFB 003.003\n'],
  x11: ['B\0\0\x0b\0\0\0\x12\0\x10\0\0'],
  adb: ['0012host:transport-any', '001chost-serial:a:get-state'],
  socks: [
    // 4 and 4A, with a user
    '\x04\x01\x01\xbb\xc0\0\x02\x01guest\0',
    '\x04\x02\0\x50\0\0\0\x01guest\0example.org\0',
    // 5, to a user's password and to a request, without waiting
    '\x05\x01\x02\x01\x05guest\x05guest',
    '\x05\x01\0\x05\x01\0\x01\xc0\0\x02\x01\0\x50',
    '\x05\x02\x02\0',
  ],
  'proxy-protocol': ['PROXY UNKNOWN\r\n', 'PROXY TCP6 ::1 ::1 1 2\r\n', '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c'],
  smb: [`\x81\0\0\x44 ${'CKFDENECFDEFFCFGEFFCCACACACACACA'}\0`],
  ftp: ['user anonymous\r\n', 'AUTH TLS\r\n', 'OPTS UTF8 ON\r\n'],
  git: ['0033git-upload-archive /a\0host=example.org\0'],
  rpc: ['\x80\0\0\x28\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\x86\xa0\0\0\0\x02\0\0\0\x04'],
  msrpc: ['\x05\0\x0b\x07\x10\0\0\0\xa0\0\0\0'],
  ldap: ['\x30\x84\0\0\0\x10\x02\x01\x01\x60\x84\0\0\0\x07\x02\x01\x03\x04\0\x80\0'],
  dns: [
    // a name that fills the question, and the root
    '\0\x2d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x1baaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0\x01\0\x01',
    '\0\x11\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01',
  ],
  // CONNECT of version 3.13 of the protocol
  oracle: ['\0\x3a\0\0\x01\0\0\0\x01\x39\x01\x2c\0\0\x08\0\x7f\xff\x7f\x08\0\0\0\x01'],
  'java-rmi': ['JRMI\0\x02K'],
  pjl: ['\x1b%-12345X@PJL INFO STATUS\r\n'],
  redis: [
    'PING\r\n',
    'INFO\r\n',
    'info server\n',
    'CONFIG SET dir /var/spool/cron\r\n',
    'SLAVEOF 192.0.2.1 6379\r\n',
    'KEYS *\r\n',
    '*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n',
  ],
  memcached: [
    'set a 0 900 1\r\nb\r\n',
    'stats settings\r\n',
    'gets a\r\n',
    'incr a 1\r\n',
    // a get of "a"
    '\x80\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0a',
  ],
  postgres: [
    '\0\0\0\x08\x04\xd2\x16\x30',
    '\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02',
    '\0\0\0\x13\0\x03\0\x02user\0a\0\0',
  ],
  mongodb: ['\x2e\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0'],
  cassandra: ['\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0', '\x05\x10\0\0\x05\0\0\0\0'],
  zookeeper: ['ruok', 'srvr\n', 'mntr\r\n'],
  kafka: [
    '\0\0\0\x10\0\x03\0\0\0\0\0\x01\0\x02me\0\0\0\0',
    // without a client's name
    '\0\0\0\x0e\0\x03\0\0\0\0\0\x01\xff\xff\0\0\0\0',
  ],
  amqp: ['AMQP\x03\x01\0\0', 'AMQP\x01\x01\0\x0a'],
  stomp: ['CONNECT\naccept-version:1.2\nhost:a\n\n\0'],
  'java-object': ['\xac\xed\0\x05sr\0\x11java.util.HashMap'],
  'weblogic-t3': ['t3 10.3.6\nAS:255\nHL:19\n\n', 't3s 12.2.1\n'],
  'json-rpc': [
    '{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"x","pass":"x","agent":"a"}}\n',
    '{"method": "eth_blockNumber", "params": [], "id": 1, "jsonrpc": "2.0"}',
    '{"id": 1, "method": "mining.subscribe", "params": []}\n',
  ],
  modbus: ['\0\x01\0\0\0\x05\xff\x2b\x0e\x01\0', '\0\x02\0\0\0\x06\x01\x05\0\x01\xff\0'],
  s7: [
    '\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02',
    '\x03\0\0\x24\x1f\xe0\0\0\0\x01\0\xc1\x02\x06\0\xc2\x0fSIMATIC-ROOT-ES\xc0\x01\x0a',
  ],
  'iec-104': ['\x68\x04\x07\0\0\0'],
  'ethernet-ip': [`e\0\x04\0${'\0'.repeat(20)}\x01\0\0\0`],
  bitcoin: ['\x0b\x11\x09\x07version\0\0\0\0\0\x66\0\0\0'],
  bittorrent: ['\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05'],
};

/** What several protocols begin with, or none. */
const AMBIGUOUS: readonly string[] = [
  // FTP and POP3, and whatever else has users
  'USER guest\r\n',
  'AUTH guest\r\n',
  'QUIT\r\n',
  'HELP\r\n',
  'STAT\r\n',
  // ClamAV, and Redis
  'PING\n',
  // memcached, and Redis
  'get a\r\n',
  // HTTP, RTSP and SIP, before their names
  'OPTIONS /',
  'OPTIONS * ',
  'GET ',
  'CONNECT 192.0.2.1:80 ',
  // RDP and S7, before their parameters
  '\x03\0\0\x16\x11\xe0\0\0\0\x14\0',
  // ISO transport to something that is not S7
  '\x03\0\0\x16\x11\xe0\0\0\0\x14\0\xc1\x02\0\x01\xc2\x02\0\x01\xc0\x01\x0a',
  // PostgreSQL and Kafka, before the name of a parameter or of a client
  '\0\0\0\x1d\0\x03\0\0',
  // text in UTF-16
  '\xff\xfeh\0i\0\r\0\n\0',
  '\xff\xfe\r\0\n\0',
  // somebody at a terminal
  'root\r\n',
  'id; uname -a\n',
  '/bin/busybox a\n',
  '\x1b[A',
  '\x03',
  '{"a": 1}',
  '<?xml version="1.0"?><a/>',
];

const bytesOf = (text: string) => Buffer.from(text, 'latin1');
const greetingBytes = RECORDED.map(({ bytes }) => Buffer.from(bytes, 'hex'));
const writtenBytes = Object.values(WRITTEN).flat().map(bytesOf);

const anyBytes = fc.uint8Array({ maxLength: 600, size: 'max' });
/** A greeting with some of its bytes replaced, then cut off, doubled, or followed by anything. */
const mutatedGreeting = fc
  .record({
    bytes: fc.constantFrom(...greetingBytes, ...writtenBytes),
    changes: fc.array(fc.tuple(fc.nat(48), fc.nat(255)), { maxLength: 4 }),
    length: fc.nat(600),
    tail: anyBytes,
  })
  .map(({ bytes, changes, length, tail }) => {
    const mutated = Buffer.concat([bytes.subarray(0, length), tail]);
    for (const [index, byte] of changes) mutated[index % Math.max(1, mutated.length)] = byte;
    return mutated;
  });

/** Which words fit, whatever their order. */
function fittingWords(bytes: Uint8Array): readonly string[] {
  const text = Buffer.from(bytes).toString('latin1');
  const fitting = GUESSES.filter(({ greetings }) => greetings.some((greeting) => greeting.test(text)));
  return fitting.map(({ word }) => word);
}

/** Pseudo-random bytes, the same in every run: xorshift, https://www.jstatsoft.org/article/view/v008i14. */
function createRandomBytes(seed: number): (length: number) => Uint8Array {
  let state = seed;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  };
  return (length) => Uint8Array.from({ length }, next);
}

test('what real clients say first is guessed', () => {
  for (const [index, { client, command, guess }] of RECORDED.entries())
    assert.equal(guessProtocol(greetingBytes[index]!), guess, `${client}: ${command}`);
});

test('what the documents of a protocol say is guessed, where no client was recorded', () => {
  for (const [word, greetings] of Object.entries(WRITTEN))
    for (const text of greetings) assert.equal(guessProtocol(bytesOf(text)), word, JSON.stringify(text));
});

test('what several protocols begin with is unknown', () => {
  for (const text of AMBIGUOUS) assert.equal(guessProtocol(bytesOf(text)), UNKNOWN, JSON.stringify(text));
});

test('a greeting that is cut off is guessed as before or unknown, never as another protocol', () => {
  for (const [index, { client, command, guess }] of RECORDED.entries()) {
    const bytes = greetingBytes[index]!;
    for (let length = 0; length < bytes.length; length++) {
      const found = guessProtocol(bytes.subarray(0, length));
      assert.ok(
        [guess, UNKNOWN].includes(found),
        `${length} bytes of ${client}: ${command}: ${found} instead of ${guess}`,
      );
    }
  }
});

test('eight bytes are enough for what decoys hear most', () => {
  const enough = (client: string, guess: string) => {
    const index = RECORDED.findIndex((entry) => entry.client.startsWith(client) && entry.guess === guess);
    assert.equal(guessProtocol(greetingBytes[index]!.subarray(0, 8)), guess, client);
  };
  enough('openssl', 'tls');
  enough('curl', 'http');
  enough('openssh', 'ssh');
  enough('smbclient', 'smb');
  enough('curl', 'telnet');
  enough('redis', 'redis');
  enough('postgresql', 'postgres');
  enough('mosquitto', 'mqtt');
});

test('no greeting fits two words', () => {
  for (const bytes of [...greetingBytes, ...writtenBytes]) {
    const words = fittingWords(bytes);
    assert.ok(words.length <= 1, `${words.join(', ')}: ${JSON.stringify(bytes.toString('latin1'))}`);
  }
});

test('every word has a sample, and only words have one', () => {
  const sampled = new Set([...RECORDED.map(({ guess }) => guess), ...Object.keys(WRITTEN)]);
  sampled.delete(UNKNOWN);
  assert.deepEqual([...sampled].sort(), [...WORDS].sort());
});

test('words are few letters for one log key, each once', () => {
  for (const word of [...WORDS, UNKNOWN]) assert.match(word, /^[a-z0-9]+(?:-[a-z0-9]+)*$/);
  assert.equal(new Set([...WORDS, UNKNOWN]).size, WORDS.length + 1);
});

test('no bytes, one byte and two bytes are unknown', () => {
  assert.equal(guessProtocol(new Uint8Array()), UNKNOWN);
  for (let first = 0; first < 256; first++) {
    assert.equal(guessProtocol(Uint8Array.of(first)), UNKNOWN, `${first}`);
    for (let second = 0; second < 256; second++)
      assert.equal(guessProtocol(Uint8Array.of(first, second)), UNKNOWN, `${first} ${second}`);
  }
});

test('one byte again and again is unknown, whichever it is', () => {
  for (let byte = 0; byte < 256; byte++)
    for (let length = 1; length < 64; length++)
      assert.equal(guessProtocol(new Uint8Array(length).fill(byte)), UNKNOWN, `${length} times ${byte}`);
});

test('random bytes and random letters are hardly ever guessed', () => {
  const randomBytes = createRandomBytes(20_240_229);
  const toLetter = (byte: number) => 32 + (byte % 95);
  for (const length of [8, 16, 64, 512]) {
    const samples = Array.from({ length: 2_000 }, () => randomBytes(length));
    const guessed = [...samples, ...samples.map((sample) => sample.map(toLetter))].map(guessProtocol);
    const wrong = guessed.filter((word) => word !== UNKNOWN);
    assert.ok(
      wrong.length <= 2,
      `${wrong.length} of ${guessed.length} with ${length} bytes: ${wrong.join(', ')}`,
    );
  }
});

test('whatever a peer sends, the answer is a word of the list or unknown', () => {
  const answers = new Set([...WORDS, UNKNOWN]);
  fc.assert(
    fc.property(fc.oneof(anyBytes, mutatedGreeting), (bytes) => {
      assert.ok(answers.has(guessProtocol(bytes)), 'not a word of the list');
    }),
    { numRuns: 2_000 },
  );
});

test('a changed greeting does not become what fits two words', () => {
  fc.assert(
    fc.property(mutatedGreeting, (bytes) => {
      const words = fittingWords(bytes.subarray(0, 1024));
      assert.ok(words.length <= 1, words.join(', '));
    }),
    { numRuns: 2_000 },
  );
});

test('bytes are not changed, and a view into a larger buffer is enough', () => {
  const memory = Buffer.from('xxSSH-2.0-a\r\nxx');
  assert.equal(guessProtocol(new Uint8Array(memory.buffer, memory.byteOffset + 2, 11)), 'ssh');
  assert.equal(memory.toString(), 'xxSSH-2.0-a\r\nxx');
});

test('64 KiB that were made to be slow come to an end', () => {
  const pieces = [...WRITTEN.http!, ...WRITTEN['json-rpc']!, ...AMBIGUOUS, ...Object.values(WRITTEN).flat()];
  const endless = ['{"method"', '{"jsonrpc":', 'A', '*1', '\xc1\x02aa', 'GET ', 'USER a ', ' ', '\x05', '\0'];
  const hostile = [...pieces, ...endless].map((piece) => Buffer.alloc(64 * 1024, bytesOf(piece)));
  const s7 = Buffer.concat([
    bytesOf('\x03\0\0\x16\x11\xe0\0\0\0\x14\0'),
    Buffer.alloc(65_000, bytesOf('\xc1\x02aa')),
  ]);
  // a pattern that tries its repetitions in every way would take longer than this file has
  for (const bytes of [...hostile, s7]) assert.match(guessProtocol(bytes), /^[a-z0-9-]+$/);
});

test('docs/guesses.md has a row for every word, in the order of the list, and says who was recorded', () => {
  const rows = [...PAGE.matchAll(/^\| `([^`]+)` +\| (.*?) +\| (.*?) +\|$/gm)].map(([, ...cells]) => cells);
  const expected = GUESSES.map(({ word, what }) => [word, what, recordedFrom(word)]);
  assert.deepEqual(rows, expected);
});

function recordedFrom(word: string): string {
  const clients = RECORDED.filter(({ guess }) => guess === word).map(({ client }) => client.split(' ')[0]!);
  return clients.length > 0
    ? [...new Set(clients)].join(', ')
    : "not recorded: from the protocol's specification";
}

test('docs/guesses.md wraps its lines, and says which versions were recorded', () => {
  for (const line of PAGE.split('\n')) assert.ok(line.length <= 130, line);
  const shown = /^Recorded: (.*?)\.$/ms.exec(PAGE)?.[1]?.replaceAll(/\s+/g, ' ').split(', ');
  assert.deepEqual(shown, [...new Set(RECORDED.map(({ client }) => client))].sort());
});
