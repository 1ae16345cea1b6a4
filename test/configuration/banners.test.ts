import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { readBannerFile } from '../../src/configuration/banners.ts';
import { loadConfiguration, parseConfiguration } from '../../src/configuration/load.ts';
import { UnreadableFile } from '../../src/configuration/read.ts';
import { ConfigurationError } from '../../src/errors.ts';
import { bytesOf, configurationOf, PARTS } from './support.ts';

const directory = mkdtempSync(join(tmpdir(), 'honeyport-banners-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function fileWith(name: string, content: string | Uint8Array): string {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
}

/** Reads the configuration with banners of this reader. */
function readWith(text: string, readBanner: (file: string) => Uint8Array) {
  return parseConfiguration(Buffer.from(text), 'F', { ...PARTS, readBanner });
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

/** The reason why a file is no banner. */
function reasonOf(file: string): string {
  try {
    readBannerFile(file);
  } catch (error) {
    assert.ok(error instanceof UnreadableFile, `not of the file: ${error}`);
    return error.message;
  }
  return assert.fail(`${file} was read`);
}

test('a banner file is sent byte by byte as it is', () => {
  let n = 0;
  const content = fc.uint8Array({ minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(content, (bytes) => {
      const file = fileWith(`banner-${n++}`, bytes);
      const text = `decoys: [{ ports: 22, banner: { file: ${file} } }]`;
      const { behaviour } = loadConfiguration(fileWith('honeyport.yaml', text)).decoys[0]!;
      assert.deepEqual(behaviour?.kind === 'talk' && behaviour.banner, bytes);
    }),
    { numRuns: 50 },
  );
});

test('a banner file has at most 64 KiB, and keeps no more memory than that', () => {
  const file = fileWith('large', Buffer.alloc(65_536, 'x'));
  assert.equal(readBannerFile(file).length, 65_536);
  writeFileSync(file, Buffer.alloc(65_537, 'x'));
  assert.equal(reasonOf(file), 'expected at most 64 KiB, got more');
  assert.equal(readBannerFile(fileWith('small', 'x')).buffer.byteLength, 1);
});

test('what is no regular file is no banner, and nobody waits for it', () => {
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  assert.equal(reasonOf(fifo), 'expected a regular file, got a FIFO');
  mkdirSync(join(directory, 'directory'));
  assert.equal(reasonOf(join(directory, 'directory')), 'expected a regular file, got a directory');
  assert.equal(reasonOf('/dev/zero'), 'expected a regular file, got a device');
  const link = join(directory, 'link');
  symlinkSync(fifo, link);
  assert.equal(reasonOf(link), 'expected a regular file, got a FIFO');
});

test('a banner file that cannot be read is reported where it is named', () => {
  const file = join(directory, 'none');
  const text = `decoys:\n  - ports: 22\n    banner: { file: ${file} }\n`;
  const path = fileWith('honeyport.yaml', text);
  assert.deepEqual(refusalOf(() => loadConfiguration(path)).problems, [
    `${path}:3:21: decoys[0].banner.file: cannot read ${file}: no such file`,
  ]);
});

test('an empty banner file, as of an editor that is still writing, is reported', () => {
  const text = 'decoys: [{ ports: 22, banner: { file: /etc/x } }]';
  assert.deepEqual(refusalOf(() => readWith(text, () => new Uint8Array(0))).problems, [
    'F:1:39: decoys[0].banner.file: /etc/x is empty',
  ]);
});

test('a banner file is read once, and reported wherever it is named', () => {
  const read: string[] = [];
  const text = `decoys:
  - { ports: 1, banner: { file: /a } }
  - { ports: 2, banner: { file: /b } }
  - { ports: 3, banner: { file: /a } }
  - { ports: 0 }
`;
  const { problems, hint } = refusalOf(() =>
    readWith(text, (file) => {
      read.push(file);
      if (file === '/b') return bytesOf('b');
      throw new UnreadableFile('permission denied', 'let it be read');
    }),
  );
  assert.deepEqual(problems, [
    'F:2:33: decoys[0].banner.file: cannot read /a: permission denied',
    'F:4:33: decoys[2].banner.file: cannot read /a: permission denied',
    'F:5:14: decoys[3].ports: expected a port between 1 and 65535, got 0',
  ]);
  assert.deepEqual(read, ['/a', '/b']);
  assert.equal(hint, 'let it be read');
});

test('a file that the user may not read is refused, with what to do about it', () => {
  const file = fileWith('secret', 'x');
  execFileSync('chmod', ['000', file]);
  execFileSync('chmod', ['755', directory]);
  const text = `decoys: [{ ports: 22, banner: { file: ${file} } }]`;
  const { problems, hint } = asNobody(() => refusalOf(() => readWith(text, readBannerFile)));
  assert.deepEqual(problems, [`F:1:39: decoys[0].banner.file: cannot read ${file}: permission denied`]);
  assert.match(hint ?? '', /read the file/);
});

/** Root may read everything: runs as an ordinary user where the tests run as root. */
function asNobody<T>(action: () => T): T {
  if (process.geteuid?.() !== 0) return action();
  process.seteuid?.('nobody');
  try {
    return action();
  } finally {
    process.seteuid?.(0);
  }
}

test('what a reader of banners throws for reasons of its own is passed on', () => {
  const error = new Error('of our own');
  const text = 'decoys: [{ ports: 22, banner: { file: /a } }]';
  const fail = () => {
    throw error;
  };
  assert.throws(() => readWith(text, fail), error);
});

test('no file is read for a banner of another shape', () => {
  const text =
    'decoys: [{ ports: 1, banner: { file: a } }, { ports: 2, banner: { file: 5 } }, { ports: 3, banner: /a }]';
  const { problems } = refusalOf(() => readWith(text, (file) => assert.fail(`read ${file}`)));
  assert.equal(problems.length, 2);
});

test('banner files are parts of the configuration, after its list files and each once', () => {
  const { partFiles } = configurationOf(`decoys:
  - { ports: 1, banner: { file: /b } }
  - { ports: 2, banner: { file: /a } }
  - { ports: 3, banner: { file: /b } }
allow: [{ file: /list }]
`);
  assert.deepEqual(partFiles, ['/list', '/b', '/a']);
});

test('at most 256 banner files are read, and one more is reported where it is named first', () => {
  const decoy = (n: number) => `  - { ports: ${n}, banner: { file: /${n} } }\n`;
  const file = (count: number) =>
    `decoys:\n${Array.from({ length: count }, (_, index) => decoy(index + 1)).join('')}`;
  assert.equal(configurationOf(file(256)).partFiles.length, 256);
  const { problems } = refusalOf(() => configurationOf(file(300)));
  assert.deepEqual(problems, [
    'F:258:35: decoys[256].banner.file: expected at most 256 banner files, got more from here on',
  ]);
});
