import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { UserError } from '../../src/errors.ts';
import { openStateFile } from '../../src/system/state-file.ts';
import { temporaryDirectory } from '../support/directory.ts';

test('what was written is read again, by another one too', (context) => {
  const path = join(temporaryDirectory(context), 'state.json');
  const value = { version: 1, text: 'ä\n"', list: [1, null], nothing: undefined };
  const file = openStateFile(path);
  assert.equal(file.path, path);
  file.write(value);
  assert.deepEqual(openStateFile(path).read(), { version: 1, text: 'ä\n"', list: [1, null] });
  file.write([]);
  assert.deepEqual(file.read(), []);
  assert.equal(readFileSync(path, 'utf8'), '[]\n');
});

test('where there is no file there is nothing to read', (context) => {
  const directory = temporaryDirectory(context);
  assert.equal(openStateFile(join(directory, 'state.json')).read(), undefined);
  assert.equal(openStateFile(join(directory, 'no/directory/state.json')).read(), undefined);
});

test('the directory is made with the file, and neither is for everybody', (context) => {
  const directory = join(temporaryDirectory(context), 'a/b');
  const path = join(directory, 'state.json');
  openStateFile(path).write({});
  assert.equal(statSync(directory).mode & 0o777 & ~0o750, 0);
  assert.equal(statSync(path).mode & 0o777 & ~0o640, 0);
});

test('a file that is not JSON is refused, not taken for none', (context) => {
  const path = join(temporaryDirectory(context), 'state.json');
  for (const text of ['', '{', '{"version":1', 'null null', '\0']) {
    writeFileSync(path, text);
    assert.throws(() => openStateFile(path).read(), /expected JSON/, JSON.stringify(text));
  }
});

test('a file that cannot be read is not taken as none', (context) => {
  const directory = temporaryDirectory(context);
  const at = (name: string) => join(directory, name);
  mkdirSync(at('directory'));
  execFileSync('mkfifo', [at('fifo')]);
  writeFileSync(at('large'), `"${'x'.repeat(16 << 20)}"`);
  for (const name of ['directory', 'fifo', 'large']) {
    assert.throws(
      () => openStateFile(at(name)).read(),
      (error) => error instanceof UserError && error.message.startsWith(`${at(name)}: expected`),
      name,
    );
  }
});

test('a file is replaced, never written over, so that whoever reads it has all of the old or all of the new one', (context) => {
  const path = join(temporaryDirectory(context), 'state.json');
  const file = openStateFile(path);
  file.write('old'.repeat(1000));
  const descriptor = openSync(path, 'r');
  context.after(() => closeSync(descriptor));
  file.write('new');
  assert.equal(JSON.parse(readFileSync(descriptor, 'utf8')), 'old'.repeat(1000));
  assert.equal(file.read(), 'new');
});

test('whoever is killed while writing leaves a whole file', async (context) => {
  const path = join(temporaryDirectory(context), 'state.json');
  const tsx = import.meta.resolve('tsx/esm/api');
  const module = new URL('../../src/system/state-file.ts', import.meta.url).href;
  const text = 'x'.repeat(100_000);
  const writer = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     import(workerData.tsx).then(({ register }) => {
       register();
       return import(workerData.module);
     }).then(({ openStateFile }) => {
       const file = openStateFile(workerData.path);
       for (let n = 0; ; n++) {
         file.write({ n, text: workerData.text });
         if (n === 0) parentPort.postMessage('writing');
       }
     });`,
    { eval: true, workerData: { tsx, module, path, text } },
  );
  context.after(() => writer.terminate());
  await new Promise((resolve, reject) => writer.once('message', resolve).once('error', reject));
  const file = openStateFile(path);
  for (let look = 0; look < 100; look++) assert.equal((file.read() as { text: string }).text, text);
  await writer.terminate();
  assert.equal((file.read() as { text: string }).text, text);
});

test('what somebody left behind who was killed while writing is no hindrance', (context) => {
  const directory = temporaryDirectory(context);
  const file = openStateFile(join(directory, 'state.json'));
  writeFileSync(join(directory, 'state.json.new'), '{"half');
  assert.equal(file.read(), undefined);
  file.write(1);
  assert.equal(file.read(), 1);
  assert.deepEqual(readdirSync(directory), ['state.json']);
});

test('a link that stands in the way is removed, and what it leads to is left alone', (context) => {
  const directory = temporaryDirectory(context);
  writeFileSync(join(directory, 'precious'), 'precious');
  symlinkSync('precious', join(directory, 'state.json.new'));
  openStateFile(join(directory, 'state.json')).write(1);
  assert.equal(readFileSync(join(directory, 'precious'), 'utf8'), 'precious');
  assert.deepEqual(readdirSync(directory).sort(), ['precious', 'state.json']);
});

test('a link in the place of the file is not followed, and is replaced by what is written', (context) => {
  const directory = temporaryDirectory(context);
  const path = join(directory, 'state.json');
  writeFileSync(join(directory, 'precious'), '"precious"');
  symlinkSync('precious', path);
  const file = openStateFile(path);
  assert.throws(() => file.read(), /state\.json: expected a regular file, got a symbolic link/);
  file.write(1);
  assert.equal(file.read(), 1);
  assert.equal(readFileSync(join(directory, 'precious'), 'utf8'), '"precious"');
});

test('it has the mode that was asked for', (context) => {
  const path = join(temporaryDirectory(context), 'state.json');
  openStateFile(path, { mode: 0o600 }).write(1);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('where it cannot be written it is said, what was there stays, and nothing is left behind', (context) => {
  const directory = temporaryDirectory(context);
  const path = join(directory, 'state.json');
  const file = openStateFile(path);
  file.write('before');
  mkdirSync(join(directory, 'state.json.new/full'), { recursive: true });
  assert.throws(
    () => file.write('after'),
    (error: Error) =>
      error.message.startsWith(`cannot write ${path}: E`) ||
      error.message.startsWith(`cannot write ${path}: `),
  );
  assert.equal(file.read(), 'before');

  const below = openStateFile(join(path, 'below/state.json'));
  assert.throws(() => below.write(1), /^Error: cannot write .*\/below\/state\.json: (?:ENOTDIR|EEXIST)/);

  mkdirSync(join(directory, 'taken.json/full'), { recursive: true });
  assert.throws(() => openStateFile(join(directory, 'taken.json')).write(1), /^Error: cannot write .*taken/);
  assert.ok(!existsSync(join(directory, 'taken.json.new')), 'a file was left behind');
});

test('what JSON cannot hold is an error that names the file', (context) => {
  const path = join(temporaryDirectory(context), 'state.json');
  assert.throws(() => openStateFile(path).write(1n), /^Error: cannot write .*state\.json: /);
  assert.ok(!existsSync(path), 'a file was written');
});
