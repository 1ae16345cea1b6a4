import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makeLog, undoFileChange } from '../../src/setup/change-files.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { snapshot } from './support.ts';

const PATH = '/file';
const STAGED = '.file.honeyport-new~';
const KEPT = '.file.honeyport-old~';
const ME = { uid: process.getuid!(), gid: process.getgid!() };

/** How far a replacement can have come when it is cut off. */
const REPLACING: Readonly<Record<string, (root: string) => void>> = {
  'before it': () => {},
  'after the new file was written in part': (root) => writeFileSync(join(root, STAGED), 'ne'),
  'after the old one got its second name': (root) => {
    writeFileSync(join(root, STAGED), 'new');
    linkSync(join(root, 'file'), join(root, KEPT));
  },
  'after the new one took its place': (root) => {
    writeFileSync(join(root, STAGED), 'new');
    linkSync(join(root, 'file'), join(root, KEPT));
    renameSync(join(root, STAGED), join(root, 'file'));
  },
  'within the way back': (root) => {
    linkSync(join(root, 'file'), join(root, KEPT));
  },
};

for (const [moment, cutOff] of Object.entries(REPLACING)) {
  test(`a replacement that was cut off ${moment} leads back to the old file, once and twice`, (context) => {
    const root = makeDirectory(context, 'old');
    const before = snapshot(root);
    cutOff(root);
    undoFileChange(root, { kind: 'file', path: PATH, isNew: false }, false);
    assert.deepEqual(snapshot(root), before);
    undoFileChange(root, { kind: 'file', path: PATH, isNew: false }, false);
    assert.deepEqual(snapshot(root), before);
  });
}

const ADDING: Readonly<Record<string, (root: string) => void>> = {
  'before it': () => {},
  'after the new file was written in part': (root) => writeFileSync(join(root, STAGED), 'ne'),
  'after it took its place': (root) => {
    writeFileSync(join(root, STAGED), 'new');
    linkSync(join(root, STAGED), join(root, 'file'));
  },
};

for (const [moment, cutOff] of Object.entries(ADDING)) {
  test(`an addition that was cut off ${moment} leads back to no file`, (context) => {
    const root = makeDirectory(context);
    cutOff(root);
    undoFileChange(root, { kind: 'file', path: PATH, isNew: true }, false);
    assert.deepEqual(snapshot(root), {});
  });
}

test('the way back from an addition leaves what somebody else put there', (context) => {
  const root = makeDirectory(context, 'theirs');
  writeFileSync(join(root, STAGED), 'new');
  undoFileChange(root, { kind: 'file', path: PATH, isNew: true }, false);
  assert.deepEqual(Object.keys(snapshot(root)), ['file']);
  assert.equal(readFileSync(join(root, 'file'), 'utf8'), 'theirs');
});

test('the way back leaves a log in which somebody else wrote, and other files beside it', (context) => {
  const root = makeDirectory(context);
  mkdirSync(join(root, 'log'));
  writeFileSync(join(root, 'log/honeyport.log'), 'a line\n');
  undoFileChange(root, { kind: 'log', path: '/log/honeyport.log' }, false);
  assert.ok(existsSync(join(root, 'log/honeyport.log')), 'our service has not run');
  writeFileSync(join(root, 'log/others.txt'), 'x');
  undoFileChange(root, { kind: 'directory', path: '/log', isUsers: true }, true);
  assert.deepEqual(Object.keys(snapshot(root)), ['log', 'log/others.txt']);
});

test('an empty log is made through no link, and over nothing', (context) => {
  const root = makeDirectory(context);
  const log = { kind: 'log', path: '/honeyport.log', mode: 0o640, user: 'honeyport' } as const;
  symlinkSync(join(root, 'elsewhere'), join(root, 'honeyport.log'));
  assert.throws(() => makeLog(root, log, ME), /EEXIST/);
  assert.equal(existsSync(join(root, 'elsewhere')), false);
  const free = makeDirectory(context);
  makeLog(free, log, ME);
  assert.match(snapshot(free)['honeyport.log']!, /^file 640 /);
});

function makeDirectory(context: TestContext, text?: string): string {
  const root = temporaryDirectory(context);
  if (text === undefined) return root;
  writeFileSync(join(root, 'file'), text, { mode: 0o604 });
  utimesSync(join(root, 'file'), 1_000_000_000, 1_000_000_000);
  return root;
}
