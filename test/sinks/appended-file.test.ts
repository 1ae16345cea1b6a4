import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type AppendedFile, openAppendedFile } from '../../src/sinks/appended-file.ts';
import { temporaryDirectory } from '../support/directory.ts';

interface Opened {
  readonly file: AppendedFile;
  readonly path: string;
  readonly told: string[];
}

function openIn(
  context: TestContext,
  { path = join(temporaryDirectory(context), 'x.log'), mode = 0o640 } = {},
): Opened {
  const told: string[] = [];
  const file = openAppendedFile({
    path,
    mode,
    onTrouble: ({ message }) => told.push(`trouble: ${message}`),
    onRecovery: () => told.push('recovery'),
    onTornLine: () => told.push('torn'),
  });
  context.after(() => file.close(0));
  return { file, path, told };
}

function write(file: AppendedFile, ...lines: string[]): void {
  for (const line of lines) file.append(line);
  file.flush();
}

test('lines are readable as soon as flush returns', (context) => {
  const { file, path } = openIn(context);
  write(file, 'one', 'two');
  assert.equal(readFileSync(path, 'latin1'), 'one\ntwo\n');
  assert.equal(file.pendingLines, 0);
});

test('nothing is written before flush', (context) => {
  const { file, path } = openIn(context);
  file.append('one');
  assert.equal(readFileSync(path, 'latin1'), '');
  assert.equal(file.pendingLines, 1);
});

test('a file that was renamed and made anew is followed', (context) => {
  const { file, path, told } = openIn(context);
  write(file, 'one');
  renameSync(path, `${path}.1`);
  writeFileSync(path, '');
  write(file, 'two');
  assert.equal(readFileSync(`${path}.1`, 'latin1'), 'one\n');
  assert.equal(readFileSync(path, 'latin1'), 'two\n');
  assert.deepEqual(told, []);
});

test('a file that was renamed or deleted is made anew with its mode', (context) => {
  const { file, path } = openIn(context, {});
  write(file, 'one');
  renameSync(path, `${path}.1`);
  write(file, 'two');
  assert.equal(readFileSync(path, 'latin1'), 'two\n');
  rmSync(path);
  write(file, 'three');
  assert.equal(readFileSync(path, 'latin1'), 'three\n');
  assert.equal(statSync(path).mode & 0o777, 0o640);
});

test('a file that was truncated goes on at its new end', (context) => {
  const { file, path } = openIn(context);
  write(file, 'one');
  writeFileSync(path, '');
  write(file, 'two');
  assert.equal(readFileSync(path, 'latin1'), 'two\n');
});

test('a new file has the mode whatever the umask, and one that was there keeps its own', (context) => {
  const before = process.umask(0o077);
  try {
    const made = openIn(context, { mode: 0o644 });
    assert.equal(statSync(made.path).mode & 0o777, 0o644);
  } finally {
    process.umask(before);
  }
  const path = join(temporaryDirectory(context), 'x.log');
  writeFileSync(path, '', { mode: 0o600 });
  openIn(context, { path });
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('a torn last line is ended before the next line, and that is told', (context) => {
  const path = join(temporaryDirectory(context), 'x.log');
  writeFileSync(path, 'one\ntwo without e');
  const { file, told } = openIn(context, { path });
  write(file, 'three');
  assert.equal(readFileSync(path, 'latin1'), 'one\ntwo without e\nthree\n');
  assert.deepEqual(told, ['torn']);
});

test('a file whose last line is whole, and an empty one, are left as they are', (context) => {
  for (const content of ['one\n', '']) {
    const path = join(temporaryDirectory(context), 'x.log');
    writeFileSync(path, content);
    const { file, told } = openIn(context, { path });
    write(file, 'next');
    assert.equal(readFileSync(path, 'latin1'), `${content}next\n`);
    assert.deepEqual(told, []);
  }
});

test('a torn line in a file that takes the place of the log is ended, too', (context) => {
  const { file, path } = openIn(context);
  write(file, 'one');
  rmSync(path);
  writeFileSync(path, 'torn');
  write(file, 'two');
  assert.equal(readFileSync(path, 'latin1'), 'torn\ntwo\n');
});

test('what others append stays', (context) => {
  const { file, path } = openIn(context);
  write(file, 'one');
  appendFileSync(path, 'foreign\n');
  write(file, 'two');
  assert.equal(readFileSync(path, 'latin1'), 'one\nforeign\ntwo\n');
});

test('what is no regular file is refused at once, a FIFO without a reader too', (context) => {
  const directory = temporaryDirectory(context);
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  mkdirSync(join(directory, 'sub'));
  assert.throws(() => openIn(context, { path: fifo }), /is not a regular file/);
  assert.throws(() => openIn(context, { path: '/dev/null' }), /is not a regular file/);
  assert.throws(() => openIn(context, { path: join(directory, 'sub') }), { code: 'EISDIR' });
  assert.throws(() => openIn(context, { path: join(directory, 'missing', 'x.log') }), { code: 'ENOENT' });
});

test('a symbolic link to nowhere is an error and no endless loop', (context) => {
  const path = join(temporaryDirectory(context), 'link');
  symlinkSync('missing/target', path);
  assert.throws(() => openIn(context, { path }), { code: 'EEXIST' });
});

test('lines wait while the path cannot be opened, and the trouble is told once', async (context) => {
  const { file, path, told } = openIn(context);
  write(file, 'one');
  renameSync(path, `${path}.1`);
  mkdirSync(path);
  write(file, 'two');
  write(file, 'three');
  assert.equal(file.pendingLines, 2);
  assert.equal(told.length, 1);
  assert.match(told[0]!, /^trouble: EISDIR/);
  rmSync(path, { recursive: true });
  assert.equal(await file.close(2000), 0);
  assert.equal(readFileSync(path, 'latin1'), 'two\nthree\n');
  assert.equal(readFileSync(`${path}.1`, 'latin1'), 'one\n');
  assert.deepEqual(told.slice(1), ['recovery']);
});

test('at the end, lines whose path cannot be opened go to the file it named before', async (context) => {
  const { file, path } = openIn(context);
  write(file, 'one');
  renameSync(path, `${path}.1`);
  mkdirSync(path);
  write(file, 'two');
  assert.equal(await file.close(100), 0);
  assert.equal(readFileSync(`${path}.1`, 'latin1'), 'one\ntwo\n');
});
