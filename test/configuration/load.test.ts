import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { safeHostName } from '../../src/configuration/complete.ts';
import { builtInConfiguration, loadConfiguration, parsePortArguments } from '../../src/configuration/load.ts';
import { ConfigurationError, UserError } from '../../src/errors.ts';
import { bytesOf, configurationOf } from './support.ts';

const directory = mkdtempSync(join(tmpdir(), 'honeyport-configuration-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function fileWith(name: string, content: string | Uint8Array): string {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
}

/** The only problem of a file that cannot be read. */
function refusalOf(file: string): ConfigurationError {
  try {
    loadConfiguration(file);
  } catch (error) {
    assert.ok(error instanceof ConfigurationError, `not of the configuration: ${error}`);
    assert.equal(error.exitCode, 2);
    assert.equal(error.problems.length, 1);
    return error;
  }
  return assert.fail(`${file} was read`);
}

/** A decoy that closes what it has logged. */
const SILENT = { behaviour: undefined, proxies: [], unused: undefined };

const DEFAULT_LIMITS = {
  pendingLines: 100_000,
  conversations: 1024,
  responses: 64,
  linesPerSource: { lines: 100, windowMs: 10_000 },
  lines: { lines: 20_000, windowMs: 1000 },
};

test('a short file is completed with every default', () => {
  const file = fileWith('short.yaml', 'decoys: [{ ports: 22 }]\n');
  assert.deepEqual(loadConfiguration(file), {
    file,
    sensor: safeHostName(hostname()),
    decoys: [{ name: 'port-22', ports: [22], address: undefined, ...SILENT }],
    log: { file: { path: '/var/log/honeyport/honeyport.log', mode: 0o640 }, console: 'auto', syslog: [] },
    limits: DEFAULT_LIMITS,
    cookies: 'withhold',
    mark: 0x686f6e65,
    user: undefined,
    allow: [],
    partFiles: [],
    guard: true,
    brake: undefined,
  });
});

test('every available key is taken over', () => {
  const text = `sensor: web-1
decoys:
  - { name: telnet, ports: [2323, 23, 5900-5902], address: "::FFFF:192.0.2.1", banner: "login: ", capture: 512, hold: 1m, proxy_protocol: [10.0.0.0/8] }
  - { name: six, ports: 23, address: "2001:DB8::1" }
log: { file: { path: /tmp/x.log, mode: "600" }, console: json }
limits: { pending_lines: 1000, conversations: 1, responses: 2, lines_per_source: 3/100ms, lines: off }
cookies: count
allow:
  - 192.0.2.7
  - { source: scanner.example.net, ports: [22, 80-90], until: 2027-01-31, comment: weekly scan }
guard: off
brake: { sources: 200, window: 1m }
mark: 0x7
user: honeyport
`;
  assert.deepEqual(configurationOf(text), {
    file: 'F',
    sensor: 'web-1',
    decoys: [
      {
        name: 'telnet',
        ports: [2323, 23, 5900, 5901, 5902],
        address: '192.0.2.1',
        behaviour: {
          kind: 'talk',
          banner: bytesOf('login: '),
          capturedBytes: 512,
          holdMs: 60_000,
          staysOpen: true,
        },
        proxies: [{ text: '10.0.0.0/8', family: 4, length: 8, key: 10 }],
        unused: undefined,
      },
      { name: 'six', ports: [23], address: '2001:db8::1', ...SILENT },
    ],
    log: { file: { path: '/tmp/x.log', mode: 0o600 }, console: 'json', syslog: [] },
    limits: {
      pendingLines: 1000,
      conversations: 1,
      responses: 2,
      linesPerSource: { lines: 3, windowMs: 100 },
      lines: undefined,
    },
    cookies: 'count',
    mark: 7,
    user: 'honeyport',
    allow: [
      {
        source: '192.0.2.7',
        network: { text: '192.0.2.7/32', family: 4, length: 32, key: 0xc0000207 },
        ports: undefined,
        until: undefined,
        comment: undefined,
        file: 'F',
        line: 9,
      },
      {
        source: 'scanner.example.net',
        network: undefined,
        ports: [
          { first: 22, last: 22 },
          { first: 80, last: 90 },
        ],
        until: Date.parse('2027-02-01T00:00:00Z'),
        comment: 'weekly scan',
        file: 'F',
        line: 10,
      },
    ],
    partFiles: [],
    guard: false,
    brake: { sources: 200, windowMs: 60_000 },
  });
});

test('a port may stand once for each address', () => {
  const { decoys } = configurationOf(
    'decoys:\n  - { ports: 22, address: 192.0.2.1 }\n  - { name: b, ports: 22, address: 192.0.2.2 }\n  - { name: c, ports: 22, address: "::" }\n',
  );
  assert.deepEqual(
    decoys.map(({ name, address }) => [name, address]),
    [
      ['port-22', '192.0.2.1'],
      ['b', '192.0.2.2'],
      ['c', '::'],
    ],
  );
});

test('all 65535 ports can be one decoy', () => {
  const { decoys } = configurationOf('decoys: [{ ports: 1-65535 }]');
  assert.equal(decoys[0]?.ports.length, 65_535);
  assert.equal(decoys[0]?.ports.at(-1), 65_535);
});

test('YAML is read as 1.2 even where the file asks for 1.1', () => {
  const { sensor, decoys } = configurationOf('%YAML 1.1\n---\nsensor: on\ndecoys: [{ ports: 010 }]\n');
  assert.equal(sensor, 'on');
  assert.deepEqual(decoys[0]?.ports, [10]);
});

test('a byte order mark, Windows line ends and aliases are no trouble', () => {
  const { decoys } = configurationOf(
    '\ufeffdecoys:\r\n  - ports: &p [1, 2]\r\n    address: 192.0.2.1\r\n  - { name: b, ports: *p, address: 192.0.2.2 }\r\n',
  );
  assert.deepEqual(
    decoys.map(({ ports }) => ports),
    [
      [1, 2],
      [1, 2],
    ],
  );
});

test('the name of the host is made fit for the log', () => {
  assert.equal(safeHostName('web_1.example'), 'web_1.example');
  assert.equal(safeHostName('w\u00e9b 1\u{1f600}'), 'w-b-1-');
  assert.equal(safeHostName('a'.repeat(300)).length, 255);
  assert.equal(safeHostName(''), 'localhost');
});

test('the built-in default listens on unprivileged ports and logs into the working directory', () => {
  assert.deepEqual(builtInConfiguration(), {
    file: undefined,
    sensor: safeHostName(hostname()),
    decoys: [{ name: 'default', ports: [2222, 2323, 31337], address: undefined, ...SILENT }],
    log: { file: { path: join(process.cwd(), 'honeyport.log'), mode: 0o640 }, console: 'pretty', syslog: [] },
    limits: DEFAULT_LIMITS,
    cookies: 'withhold',
    mark: undefined,
    user: undefined,
    allow: [],
    partFiles: [],
    guard: true,
    brake: undefined,
  });
});

test('ports from the command line become one decoy named after the first', () => {
  const { decoys } = builtInConfiguration([31337, 2000]);
  assert.deepEqual(decoys, [{ name: 'port-31337', ports: [31337, 2000], address: undefined, ...SILENT }]);
});

test('-p takes numbers, ranges and lists, in the order given', () => {
  assert.deepEqual(
    parsePortArguments(['31337', '2000-2003', '22,23,80-81']),
    [31337, 2000, 2001, 2002, 2003, 22, 23, 80, 81],
  );
  assert.deepEqual(parsePortArguments([]), []);
});

const BAD_ARGUMENTS: readonly (readonly [string[], string])[] = [
  [['70000'], '-p 70000: expected a port between 1 and 65535, got 70000'],
  [['0'], '-p 0: expected a port between 1 and 65535, got 0'],
  [['22,0'], '-p 22,0: expected a port between 1 and 65535, got 0'],
  [['30-20'], '-p 30-20: expected a range that rises, got 30-20'],
  [['1-70000'], '-p 1-70000: expected a range between 1 and 65535, got 1-70000'],
  [['ssh'], '-p ssh: expected a port between 1 and 65535 or a range such as 5900-5910, got "ssh"'],
  [['22,'], '-p 22,: expected a port between 1 and 65535 or a range such as 5900-5910, got ""'],
  [[''], '-p "": expected a port between 1 and 65535 or a range such as 5900-5910, got ""'],
  [['-22'], '-p -22: expected a port between 1 and 65535 or a range such as 5900-5910, got "-22"'],
  [['2000-2010', '2005'], '-p 2005: expected each port once, got 2005 again'],
  [['22,22'], '-p 22,22: expected each port once, got 22 again'],
];

for (const [texts, message] of BAD_ARGUMENTS) {
  test(`-p ${texts.join(' -p ')} is refused`, () => {
    assert.throws(
      () => parsePortArguments(texts),
      (error) => {
        assert.ok(error instanceof UserError, `not the user's: ${error}`);
        assert.equal(error.message, message);
        return error.exitCode === 2;
      },
    );
  });
}

test('a file that is not there is named, with what to do instead', () => {
  const { message, hint } = refusalOf('/nowhere/honeyport.yaml');
  assert.equal(message, '/nowhere/honeyport.yaml: no such file');
  assert.match(hint ?? '', /docs\/honeyport\.yaml/);
});

test('a path through a file is refused', () => {
  const file = join(fileWith('plain', ''), 'honeyport.yaml');
  assert.equal(refusalOf(file).message, `${file}: no such file, a part of its path is not a directory`);
});

test('a directory is refused', () => {
  const path = join(directory, 'directory');
  mkdirSync(path);
  assert.equal(refusalOf(path).message, `${path}: expected a regular file, got a directory`);
});

test('a FIFO is refused at once', () => {
  const path = join(directory, 'fifo');
  execFileSync('mkfifo', [path]);
  assert.equal(refusalOf(path).message, `${path}: expected a regular file, got a FIFO`);
});

test('devices are refused', () => {
  assert.equal(refusalOf('/dev/zero').message, '/dev/zero: expected a regular file, got a device');
  assert.equal(refusalOf('/dev/null').message, '/dev/null: expected a regular file, got a device');
});

test('a socket is refused', async () => {
  const path = join(directory, 'socket');
  const server = createServer().listen(path);
  await new Promise((resolve) => server.once('listening', resolve));
  assert.equal(refusalOf(path).message, `${path}: expected a regular file, got a socket or a device`);
  await new Promise((resolve) => server.close(resolve));
});

test('a loop of symbolic links is refused', () => {
  const path = join(directory, 'loop');
  symlinkSync(path, path);
  assert.equal(refusalOf(path).message, `${path}: too many symbolic links`);
});

test('a name that no file can have is refused', () => {
  assert.equal(refusalOf('a\0b').message, 'a\\x00b: not the name of a file');
  const long = `/${'x'.repeat(300)}`;
  assert.equal(refusalOf(long).message, `${long}: the name is too long`);
});

test('a file of more than 1 MiB is refused, one of just 1 MiB is read', () => {
  const text = 'decoys: [{ ports: 22 }]\n#';
  const file = fileWith('large.yaml', text.padEnd(1024 * 1024, '#'));
  assert.equal(loadConfiguration(file).decoys.length, 1);
  writeFileSync(file, text.padEnd(1024 * 1024 + 1, '#'));
  assert.equal(refusalOf(file).message, `${file}: expected at most 1 MiB, got more`);
});

test('a file that the user may not read is refused, with what to do about it', () => {
  // Root may read everything, so the one who tries is nobody.
  const file = fileWith('secret.yaml', 'decoys: []\n');
  execFileSync('chmod', ['000', file]);
  execFileSync('chmod', ['755', directory]);
  const { message, hint } = asNobody(() => refusalOf(file));
  assert.equal(message, `${file}: permission denied`);
  assert.match(hint ?? '', /read the file/);
});

/** Runs as an ordinary user where the tests run as root. */
function asNobody<T>(action: () => T): T {
  if (process.geteuid?.() !== 0) return action();
  process.seteuid?.('nobody');
  try {
    return action();
  } finally {
    process.seteuid?.(0);
  }
}

test('mark: off marks nothing', () => {
  assert.equal(configurationOf('{ decoys: [{ ports: 22 }], mark: off }').mark, undefined);
});

test('user: off is the same as no user', () => {
  assert.equal(configurationOf('{ decoys: [{ ports: 22 }], user: off }').user, undefined);
});
