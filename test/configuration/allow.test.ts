import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AllowEntry } from '../../src/configuration/allow-entry.ts';
import { parseAllowFile } from '../../src/configuration/allow-file.ts';
import { durationMs } from '../../src/configuration/duration.ts';
import { parseConfiguration } from '../../src/configuration/load.ts';
import { ConfigurationError } from '../../src/errors.ts';
import { configurationOf, PARTS, problemsOf } from './support.ts';

/** A configuration whose `allow` begins on line 2. */
const withAllow = (text: string) => `decoys: [{ ports: 22 }]\n${text}\n`;
const entriesOf = (text: string) => configurationOf(withAllow(text)).allow;

/** Reads the configuration with list files that are texts by their paths. */
function readWithLists(text: string, lists: Readonly<Record<string, string>>) {
  const readList = (path: string) => parseAllowFile(Buffer.from(lists[path]!), path);
  return parseConfiguration(Buffer.from(text), 'F', { ...PARTS, readList });
}

function refusalOf(read: () => unknown): ConfigurationError {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof ConfigurationError, `not of the configuration: ${error}`);
    return error;
  }
  return assert.fail('the configuration was read');
}

test('without allow, with allow off and with an empty list nobody is allowed', () => {
  for (const text of ['', 'allow: off', 'allow: []']) {
    const { allow, partFiles } = configurationOf(withAllow(text));
    assert.deepEqual([allow, partFiles], [[], []]);
  }
});

test('an item is an address, a network or a host name, each with its line', () => {
  const entries = entriesOf(`allow:
  - 192.0.2.7
  - 198.51.100.0/24
  - "2001:DB8::/32"
  - ::ffff:192.0.2.0/120
  - Scanner.example.net
  - localhost
  - _dmarc.a_b.x-y
  - 4.example
  - "on"`);
  assert.deepEqual(
    entries.map(({ source, network, line }) => [source, network?.text, line]),
    [
      ['192.0.2.7', '192.0.2.7/32', 3],
      ['198.51.100.0/24', '198.51.100.0/24', 4],
      ['2001:DB8::/32', '2001:db8::/32', 5],
      ['::ffff:192.0.2.0/120', '192.0.2.0/24', 6],
      ['Scanner.example.net', undefined, 7],
      ['localhost', undefined, 8],
      ['_dmarc.a_b.x-y', undefined, 9],
      ['4.example', undefined, 10],
      ['on', undefined, 11],
    ],
  );
  for (const { ports, until, comment, file } of entries) {
    assert.deepEqual(
      { ports, until, comment, file },
      { ports: undefined, until: undefined, comment: undefined, file: 'F' },
    );
  }
});

test('a mapping limits a source to ports and to the end of a day, and says why', () => {
  const [one, range, list] = entriesOf(`allow:
  - { source: 192.0.2.7, ports: 22 }
  - { source: 192.0.2.7, ports: 5900-5910, until: 2028-02-29 }
  - source: example.net
    ports: [22, 80-90, 1-65535]
    comment: "weekly\\tscan"`);
  assert.deepEqual(one!.ports, [{ first: 22, last: 22 }]);
  assert.equal(one!.until, undefined);
  assert.deepEqual(range!.ports, [{ first: 5900, last: 5910 }]);
  assert.equal(range!.until, Date.UTC(2028, 2, 1));
  assert.deepEqual(list!.ports, [
    { first: 22, last: 22 },
    { first: 80, last: 90 },
    { first: 1, last: 65_535 },
  ]);
  assert.deepEqual([list!.comment, list!.network, list!.line], ['weekly\tscan', undefined, 5]);
});

test('the entries of a list file stand in its place, with its name and their own lines', () => {
  const text = withAllow('allow: [192.0.2.1, { file: /a }, 192.0.2.2, { file: /b }, { file: /a }]');
  const { allow, partFiles } = readWithLists(text, {
    '/a': '# us\n10.0.0.1\n10.0.0.2\n',
    '/b': '# nobody\n',
  });
  assert.deepEqual(
    allow.map(({ source, file, line }) => `${file}:${line} ${source}`),
    ['F:2 192.0.2.1', '/a:2 10.0.0.1', '/a:3 10.0.0.2', 'F:2 192.0.2.2', '/a:2 10.0.0.1', '/a:3 10.0.0.2'],
  );
  assert.deepEqual(partFiles, ['/a', '/b', '/a']);
});

/** What `allow` says from line 2 on, and every problem that must come of it. */
const CASES: readonly (readonly [title: string, text: string, ...problems: string[]])[] = [
  [
    'a network with bits beyond its prefix',
    'allow: [192.0.2.1/24]',
    'F:2:9: allow[0]: expected no bits beyond the prefix, as in 192.0.2.0/24, got "192.0.2.1/24"',
  ],
  [
    'a prefix that is too long for IPv4',
    'allow:\n  - 192.0.2.0/33',
    'F:3:5: allow[0]: expected a prefix length up to 32, got "192.0.2.0/33"',
  ],
  [
    'a prefix that is too long for IPv6',
    'allow:\n  - ::1\n  - 2001:db8::/129',
    'F:4:5: allow[1]: expected a prefix length up to 128, got "2001:db8::/129"',
  ],
  [
    'an address with a part above 255',
    'allow: [192.0.2.300]',
    'F:2:9: allow[0]: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "192.0.2.300"',
  ],
  [
    'half an address',
    'allow: ["10", 192.0.2.]',
    'F:2:9: allow[0]: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "10"',
    'F:2:15: allow[1]: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "192.0.2."',
  ],
  [
    'a range of addresses',
    'allow: [192.0.2.1-192.0.2.9]',
    'F:2:9: allow[0]: expected an address, a network or a host name, got "192.0.2.1-192.0.2.9"',
  ],
  [
    'what can be no host name',
    `allow: [a..b, -a, a-, a., "a b", "", "${'a'.repeat(64)}.x"]`,
    'F:2:9: allow[0]: expected an address, a network or a host name, got "a..b"',
    'F:2:15: allow[1]: expected an address, a network or a host name, got "-a"',
    'F:2:19: allow[2]: expected an address, a network or a host name, got "a-"',
    'F:2:23: allow[3]: expected an address, a network or a host name, got "a."',
    'F:2:27: allow[4]: expected an address, a network or a host name, got "a b"',
    'F:2:34: allow[5]: expected an address, a network or a host name, got ""',
    `F:2:38: allow[6]: expected an address, a network or a host name, got "${'a'.repeat(56)}...`,
  ],
  [
    'an address with a zone',
    'allow: [fe80::1%eth0]',
    'F:2:9: allow[0]: expected an address, a network or a host name, got "fe80::1%eth0"',
  ],
  [
    'a day that its month does not have',
    'allow: [{ source: ::1, until: 2027-02-30 }, { source: ::1, until: 2027-02-29 }, { source: ::1, until: 2027-04-31 }]',
    'F:2:31: allow[0].until: expected a day such as 2027-01-31, got "2027-02-30"',
    'F:2:67: allow[1].until: expected a day such as 2027-01-31, got "2027-02-29"',
    'F:2:103: allow[2].until: expected a day such as 2027-01-31, got "2027-04-31"',
  ],
  [
    'what is no day',
    'allow: [{ source: ::1, until: 2027-13-01 }, { source: ::1, until: tomorrow }, { source: ::1, until: 2027 }]',
    'F:2:31: allow[0].until: expected a day such as 2027-01-31, got "2027-13-01"',
    'F:2:67: allow[1].until: expected a day such as 2027-01-31, got "tomorrow"',
    'F:2:101: allow[2].until: expected a day such as 2027-01-31, got 2027',
  ],
  [
    'a range of ports that falls',
    'allow: [{ source: 192.0.2.1, ports: 30-20 }]',
    'F:2:37: allow[0].ports: expected a range that rises, got 30-20',
  ],
  [
    'each bad port of a list',
    'allow: [{ source: 192.0.2.1, ports: [22, 30-20, 60000-70000, 0, x] }]',
    'F:2:42: allow[0].ports[1]: expected a range that rises, got 30-20',
    'F:2:49: allow[0].ports[2]: expected a range between 1 and 65535, got 60000-70000',
    'F:2:62: allow[0].ports[3]: expected a port between 1 and 65535, got 0',
    'F:2:65: allow[0].ports[4]: expected a port between 1 and 65535 or a range such as 5900-5910, got "x"',
  ],
  [
    'a list without a port',
    'allow: [{ source: 192.0.2.1, ports: [] }]',
    'F:2:37: allow[0].ports: expected at least one port, got []',
  ],
  [
    'an unknown key',
    'allow:\n  - { source: 192.0.2.1, prots: 22 }\n  - { source: 192.0.2.1, zzz: 22 }',
    'F:3:26: allow[0].prots: unknown key, did you mean ports?',
    'F:4:26: allow[1].zzz: unknown key, expected one of comment, ports, source, until',
  ],
  [
    'an item without a source',
    'allow: [{}, { ports: 22 }]',
    'F:2:9: allow[0]: expected a key source',
    'F:2:13: allow[1]: expected a key source',
  ],
  [
    'a comment that is no text',
    'allow: [{ source: 192.0.2.1, comment: 5 }]',
    'F:2:39: allow[0].comment: expected a text of at most 255 characters, got 5',
  ],
  [
    'a list file without an absolute path',
    'allow: [{ file: allow.list }]',
    'F:2:17: allow[0].file: expected an absolute path such as /etc/honeyport/allow.list, got "allow.list"',
  ],
  [
    'a number, which YAML makes of half an address',
    'allow: [10, 192.0]',
    'F:2:9: allow[0]: expected an address, a network, a host name, or a mapping with the key source or file, got 10',
    'F:2:13: allow[1]: expected an address, a network, a host name, or a mapping with the key source or file, got 192',
  ],
  [
    'something else than a list',
    'allow: 192.0.2.1',
    'F:2:8: allow: expected a list of sources, or off, got "192.0.2.1"',
  ],
];

for (const [title, text, ...problems] of CASES) {
  test(`${title} is reported at its place`, () => assert.deepEqual(problemsOf(withAllow(text)), problems));
}

test('a source within a mapping is reported where the source stands', () => {
  assert.deepEqual(problemsOf(withAllow('allow:\n  - comment: us\n    source: 192.0.2.1/24')), [
    'F:4:13: allow[0].source: expected no bits beyond the prefix, as in 192.0.2.0/24, got "192.0.2.1/24"',
  ]);
});

test('an item with both source and file is a bad entry, and no file is read for it', () => {
  const text = withAllow('allow: [{ source: 192.0.2.1, file: 5 }]');
  const { problems } = refusalOf(() =>
    parseConfiguration(Buffer.from(text), 'F', { ...PARTS, readList: (path) => assert.fail(`read ${path}`) }),
  );
  assert.deepEqual(problems, [
    'F:2:30: allow[0].file: unknown key, expected one of comment, ports, source, until',
  ]);
});

test('problems of list files come after those of the main file, in the order of the files', () => {
  const text = withAllow('allow: [{ file: /b }, 192.0.2.300, { file: /a }]\nguard: true');
  const { problems, exitCode } = refusalOf(() =>
    readWithLists(text, { '/a': '10.0.0.1/8\n', '/b': 'x y\n192.0.2.1 until=never\n' }),
  );
  assert.equal(exitCode, 2);
  assert.deepEqual(problems, [
    'F:2:23: allow[1]: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "192.0.2.300"',
    'F:3:8: guard: expected on or off, got true',
    '/b:1:3: expected ports=, until= or a comment after #, got "y"',
    '/b:2:11: until: expected a day such as 2027-01-31, got "never"',
    '/a:1:1: expected no bits beyond the prefix, as in 10.0.0.0/8, got "10.0.0.1/8"',
  ]);
});

test('a list file that cannot be read is a problem with what to do about it', () => {
  const text = withAllow('allow: [{ file: /nonexistent/allow.list }]');
  const { problems, hint } = refusalOf(() => parseConfiguration(Buffer.from(text), 'F'));
  assert.deepEqual(problems, ['/nonexistent/allow.list: no such file']);
  assert.equal(hint, 'a file with a comment alone (# nobody yet) is a list without entries');
});

test('what a reader of lists throws for reasons of its own is passed on', () => {
  const error = new Error('of our own');
  const text = withAllow('allow: [{ file: /a }]');
  assert.throws(
    () =>
      parseConfiguration(Buffer.from(text), 'F', {
        ...PARTS,
        readList: () => {
          throw error;
        },
      }),
    error,
  );
});

/** So many entries of a list file, all alike. */
function manyEntries(count: number, source: string): AllowEntry[] {
  const [entry] = parseAllowFile(Buffer.from(`${source}\n`), '/a');
  return new Array<AllowEntry>(count).fill(entry!);
}

test('at most 250,000 entries are taken, those of list files among them', () => {
  const read = (count: number, file = 'F') =>
    parseConfiguration(Buffer.from(withAllow('allow: [192.0.2.1, { file: /a }]')), file, {
      ...PARTS,
      readList: () => manyEntries(count, '192.0.2.7'),
    });
  assert.equal(read(249_999).allow.length, 250_000);
  const tooMany = 'allow: expected at most 250000 entries with those of its files, got 250001';
  assert.deepEqual(refusalOf(() => read(250_000)).problems, [`F: ${tooMany}`]);
});

test('at most 1,000 host names are taken, those of list files among them', () => {
  const read = (count: number) =>
    parseConfiguration(Buffer.from(withAllow('allow: [a.example, 192.0.2.1, { file: /a }]')), 'F', {
      ...PARTS,
      readList: () => manyEntries(count, 'b.example'),
    });
  assert.equal(read(999).allow.length, 1001);
  assert.deepEqual(refusalOf(() => read(1000)).problems, [
    'F: allow: expected at most 1000 host names with those of its files, got 1001',
  ]);
});

test('the name of the file cannot break the line that tells of too many entries', () => {
  const text = withAllow('allow: [{ file: /a }]');
  const { problems } = refusalOf(() =>
    parseConfiguration(Buffer.from(text), 'a\nb', {
      ...PARTS,
      readList: () => manyEntries(250_001, '192.0.2.7'),
    }),
  );
  assert.deepEqual(problems, [
    'a\\x0ab: allow: expected at most 250000 entries with those of its files, got 250001',
  ]);
});

test('a duration is so many milliseconds', () => {
  const texts = ['1ms', '500ms', '10s', '5m', '2h', '1d'];
  assert.deepEqual(texts.map(durationMs), [1, 500, 10_000, 300_000, 7_200_000, 86_400_000]);
});

test('the ports and ranges of an entry, and of all, have a bound', () => {
  const ports = (count: number) => Array.from({ length: count }, (_, index) => index + 1);
  const entry = (count: number) => `{ source: 192.0.2.1, ports: [${ports(count)}] }`;
  const file = (entries: readonly string[]) => `decoys: [{ ports: 22 }]\nallow: [${entries.join(', ')}]`;
  assert.deepEqual(problemsOf(file([entry(100)])), []);
  assert.deepEqual(problemsOf(file([entry(101)])), [
    'F:2:37: allow[0].ports: expected at most 100 ports and ranges, got 101',
  ]);
  const most = Array.from({ length: 81 }, () => entry(100));
  assert.deepEqual(problemsOf(file([...most, entry(92)])), []);
  assert.deepEqual(problemsOf(file([...most, entry(93)])), [
    'F: allow: expected at most 8192 ports and ranges with those of its files, got 8193',
  ]);
  const line = (count: number) => Buffer.from(`192.0.2.1 ports=${ports(count)}\n`);
  assert.equal(parseAllowFile(line(100), 'F')[0]?.ports?.length, 100);
  assert.throws(() => parseAllowFile(line(101), 'F'), {
    problems: ['F:1:11: ports: expected at most 100 ports and ranges, got 101'],
  });
});
