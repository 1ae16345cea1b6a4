import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseAllowFile, readAllowFile } from '../../src/configuration/allow-file.ts';
import { ConfigurationError } from '../../src/errors.ts';
import { temporaryDirectory } from '../support/directory.ts';

const entriesOf = (text: string | Uint8Array) => parseAllowFile(Buffer.from(text), 'L');

function refusalOf(read: () => unknown): ConfigurationError {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof ConfigurationError, `not of the configuration: ${error}`);
    return error;
  }
  return assert.fail('the list was read');
}

const problemsOf = (text: string | Uint8Array) => refusalOf(() => entriesOf(text)).problems;

test('a line is a source, with ports, a last day and a comment where wanted', () => {
  assert.deepEqual(entriesOf('192.0.2.7 ports=22,80-90 until=2027-01-31 # weekly # scan \n'), [
    {
      source: '192.0.2.7',
      network: { text: '192.0.2.7/32', family: 4, length: 32, key: 0xc0000207 },
      ports: [
        { first: 22, last: 22 },
        { first: 80, last: 90 },
      ],
      until: Date.UTC(2027, 1, 1),
      comment: 'weekly # scan',
      file: 'L',
      line: 1,
    },
  ]);
});

test('a source alone is an entry for all ports and for ever', () => {
  assert.deepEqual(entriesOf('scanner.example.net\n'), [
    {
      source: 'scanner.example.net',
      network: undefined,
      ports: undefined,
      until: undefined,
      comment: undefined,
      file: 'L',
      line: 1,
    },
  ]);
});

test('sources are addresses, networks and host names of both families', () => {
  const sources = [
    '10.0.0.0/8',
    '2001:DB8::1',
    '2001:db8::/32',
    '::ffff:192.0.2.0/120',
    '0.0.0.0/0',
    'a-b.example',
  ];
  assert.deepEqual(
    entriesOf(`${sources.join('\n')}\n`).map(({ source, network }) => [source, network?.text]),
    [
      ['10.0.0.0/8', '10.0.0.0/8'],
      ['2001:DB8::1', '2001:db8::1/128'],
      ['2001:db8::/32', '2001:db8::/32'],
      ['::ffff:192.0.2.0/120', '192.0.2.0/24'],
      ['0.0.0.0/0', '0.0.0.0/0'],
      ['a-b.example', undefined],
    ],
  );
});

test('options may stand in any order', () => {
  const [one, other] = entriesOf('::1 ports=22 until=2027-01-31\n::1 until=2027-01-31 ports=22\n');
  assert.deepEqual({ ...one, line: 2 }, other);
});

test('empty lines, comments, white space and Windows line ends count for nothing, but lines are counted', () => {
  const text =
    '# us\r\n\r\n \t \n\t192.0.2.1\t ports=22 \t# a \r\n#192.0.2.9\n192.0.2.2\r\n192.0.2.3#c\n192.0.2.4 #\n\n';
  assert.deepEqual(
    entriesOf(text).map(({ source, line, comment }) => [source, line, comment]),
    [
      ['192.0.2.1', 4, 'a'],
      ['192.0.2.2', 6, undefined],
      ['192.0.2.3', 7, 'c'],
      ['192.0.2.4', 8, ''],
    ],
  );
});

test('a byte order mark is no part of the first source', () => {
  assert.deepEqual(
    entriesOf('\ufeff192.0.2.1\n').map(({ source }) => source),
    ['192.0.2.1'],
  );
});

test('a file without an entry is a list without entries', () => {
  for (const text of ['\n', '\r\n', '# nobody yet\n']) assert.deepEqual(entriesOf(text), []);
});

const NO_END =
  'expected a line feed at the end of the file, got none: the line may be half of what was meant';
const OPTION = 'expected ports=, until= or a comment after #, got';

/** What is wrong, the list, and every line that must come of it. */
const CASES: readonly (readonly [title: string, text: string | Uint8Array, ...problems: string[]])[] = [
  [
    'an empty file',
    '',
    'L:1:1: expected entries or a comment, got an empty file, as of an editor that is still writing',
  ],
  ['bytes that are not UTF-8', Buffer.from('192.0.2.1 # \xe4\n', 'latin1'), 'L:1:1: not UTF-8'],
  ['a last line without an end', '192.0.2.1\n192.0.2.1', `L:2:10: ${NO_END}`],
  ['a first line without an end', '192.0.2.1', `L:1:10: ${NO_END}`],
  ['a comment without an end', '192.0.2.1\n# x', `L:2:4: ${NO_END}`],
  ['an old Macintosh line end', '192.0.2.1\r192.0.2.2\n', `L:1:11: ${OPTION} "192.0.2.2"`],
  [
    'a network with bits beyond its prefix',
    '  192.0.2.1/24\n',
    'L:1:3: expected no bits beyond the prefix, as in 192.0.2.0/24, got "192.0.2.1/24"',
  ],
  [
    'a prefix that is too long',
    '192.0.2.0/33\n',
    'L:1:1: expected a prefix length up to 32, got "192.0.2.0/33"',
  ],
  [
    'an address that is none',
    '192.0.2.300\n',
    'L:1:1: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "192.0.2.300"',
  ],
  [
    'an address with a zone',
    'fe80::1%eth0\n',
    'L:1:1: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "fe80::1%eth0"',
  ],
  [
    'a list with commas',
    '192.0.2.1, 192.0.2.2\n',
    'L:1:1: expected an address, a network or a host name, got "192.0.2.1,"',
    `L:1:12: ${OPTION} "192.0.2.2"`,
  ],
  ['an unknown option', '192.0.2.1 prots=22\n', `L:1:11: ${OPTION} "prots=22"`],
  ['an option in capitals', '192.0.2.1 PORTS=22\n', `L:1:11: ${OPTION} "PORTS=22"`],
  ['an option without a value', '192.0.2.1 ports\n', `L:1:11: ${OPTION} "ports"`],
  [
    'an empty value',
    '192.0.2.1 ports= until=\n',
    'L:1:11: ports: expected a port between 1 and 65535 or a range such as 5900-5910, got ""',
    'L:1:18: until: expected a day such as 2027-01-31, got ""',
  ],
  [
    'a space within ports',
    '192.0.2.1 ports=22, 23\n',
    'L:1:11: ports: expected a port between 1 and 65535 or a range such as 5900-5910, got ""',
    `L:1:21: ${OPTION} "23"`,
  ],
  [
    'a range that falls',
    '192.0.2.1 ports=22,30-20\n',
    'L:1:11: ports: expected a range that rises, got 30-20',
  ],
  [
    'a port out of range',
    '192.0.2.1 ports=65536\n',
    'L:1:11: ports: expected a port between 1 and 65535, got 65536',
  ],
  [
    'a day that its month does not have',
    '192.0.2.1 until=2027-02-30\n',
    'L:1:11: until: expected a day such as 2027-01-31, got "2027-02-30"',
  ],
  ['ports twice', '192.0.2.1 ports=22 ports=23\n', 'L:1:20: expected ports= once, got it again'],
  ['the same ports twice', '192.0.2.1 ports=22 ports=22\n', 'L:1:20: expected ports= once, got it again'],
  [
    'a last day twice',
    '192.0.2.1 until=2027-01-31 ports=22 until=2028-01-31\n',
    'L:1:37: expected until= once, got it again',
  ],
  ['an option that stands within the source', '192.0.2.7 2\n', `L:1:11: ${OPTION} "2"`],
  ['the same bad option twice', '192.0.2.7 x x\n', `L:1:11: ${OPTION} "x"`, `L:1:13: ${OPTION} "x"`],
  [
    'what has to be escaped',
    '\x1b[2J\n192.0.2.1 \u00e4\n',
    'L:1:1: expected an address, a network or a host name, got "\\u001b[2J"',
    `L:2:11: ${OPTION} "\\xe4"`,
  ],
  [
    'everything at once',
    '192.0.2.1/24\n\n# good\n10.0.0.1\nx=y\n192.0.2.1 ports=0 until=x foo\r\n',
    'L:1:1: expected no bits beyond the prefix, as in 192.0.2.0/24, got "192.0.2.1/24"',
    'L:5:1: expected an address, a network or a host name, got "x=y"',
    'L:6:11: ports: expected a port between 1 and 65535, got 0',
    'L:6:19: until: expected a day such as 2027-01-31, got "x"',
    `L:6:27: ${OPTION} "foo"`,
  ],
];

for (const [title, text, ...problems] of CASES) {
  test(`${title} is reported at its place`, () => assert.deepEqual(problemsOf(text), problems));
}

test('after a hundred problems a line says how many more there are', () => {
  const problems = problemsOf('10\n'.repeat(250));
  assert.equal(problems.length, 101);
  assert.equal(problems[100], 'L: 150 more problems');
});

test('the name of the file cannot break the line', () => {
  assert.throws(() => parseAllowFile(Buffer.from('10\n'), 'a\nb'), {
    problems: ['a\\x0ab:1:1: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "10"'],
  });
});

function fileWith(context: TestContext, content: string): string {
  const file = join(temporaryDirectory(context), 'allow.list');
  writeFileSync(file, content);
  return file;
}

test('entries bear the file that they were read from', (context) => {
  const file = fileWith(context, '# us\n192.0.2.1\n');
  assert.deepEqual(
    readAllowFile(file).map((entry) => [entry.file, entry.line, entry.source]),
    [[file, 2, '192.0.2.1']],
  );
});

test('a list of a hundred thousand entries is read whole', (context) => {
  const count = 100_000;
  const lines = Array.from(
    { length: count },
    (_, n) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255} # ${n}\n`,
  );
  const entries = readAllowFile(fileWith(context, lines.join('')));
  assert.equal(entries.length, count);
  const { source, line, comment } = entries.at(-1)!;
  assert.deepEqual([source, line, comment], ['10.1.134.159', count, `${count - 1}`]);
});

test('a file that is missing is a problem with what to do about it', (context) => {
  const file = join(temporaryDirectory(context), 'missing');
  const { problems, hint } = refusalOf(() => readAllowFile(file));
  assert.deepEqual(problems, [`${file}: no such file`]);
  assert.equal(hint, 'a file with a comment alone (# nobody yet) is a list without entries');
});

test('what is no regular file is refused at once, a FIFO without a writer too', (context) => {
  const directory = temporaryDirectory(context);
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  mkdirSync(join(directory, 'sub'));
  const problemOf = (file: string) => refusalOf(() => readAllowFile(file)).problems;
  assert.deepEqual(problemOf(fifo), [`${fifo}: expected a regular file, got a FIFO`]);
  assert.deepEqual(problemOf(join(directory, 'sub')), [
    `${join(directory, 'sub')}: expected a regular file, got a directory`,
  ]);
  assert.deepEqual(problemOf('/dev/null'), ['/dev/null: expected a regular file, got a device']);
  assert.deepEqual(problemOf(join(fifo, 'x')), [
    `${join(fifo, 'x')}: no such file, a part of its path is not a directory`,
  ]);
});

test('a file of 16 MiB is read, and one with a byte more is not', (context) => {
  const file = fileWith(context, '');
  const most = 16 * 1024 * 1024;
  writeFileSync(file, `192.0.2.1 #${'x'.repeat(most - 12)}\n`);
  assert.equal(readAllowFile(file).length, 1);
  truncateSync(file, most + 1);
  assert.deepEqual(refusalOf(() => readAllowFile(file)).problems, [
    `${file}: expected at most 16 MiB, got more`,
  ]);
});
