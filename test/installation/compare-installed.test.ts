import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { compareInstalled, isCutOff, isOurs } from '../../src/installation/compare-installed.ts';
import { JOURNAL_FILE, MANIFEST_FILE } from '../../src/installation/manifest.ts';
import { listPackageFiles, senderTemplate } from '../../src/installation/package-files.ts';
import { SENDER_KINDS } from '../../src/setup/generated-files.ts';
import { install, makeRoot } from '../setup/support.ts';

const FILTER = '/etc/fail2ban/filter.d/honeyport.conf';
const JAIL = '/etc/fail2ban/jail.d/honeyport.conf';
const ROTATION = '/etc/fail2ban/action.d/honeyport_rotation.py';
const LOGROTATE = '/etc/logrotate.d/honeyport';
const UNIT = '/usr/local/lib/systemd/system/honeyport.service';

test('every file that is copied says near its beginning that it is ours', () => {
  const files = [...listPackageFiles(), ...SENDER_KINDS.map((kind) => senderTemplate(kind))];
  for (const { source } of files) assert.ok(isOurs(readFileSync(source)), source);
});

test('the mark of our files counts in a comment near the beginning, and nowhere else', () => {
  const filler = `${'# x\n'.repeat(1100)}`;
  assert.equal(isOurs(Buffer.from('# Author:  the honeyport project\n')), true);
  assert.equal(isOurs(Buffer.from(`${filler}# Author:  the honeyport project\n`)), false);
  assert.equal(isOurs(Buffer.from('text = "Author:  the honeyport project"\n')), false);
});

test('what is installed is told apart: the same, missing, older, edited, and somebody else’s', async (context) => {
  const root = makeRoot(context);
  await install(root);
  assert.ok(
    compareInstalled(root).every(({ state }) => state === 'same'),
    'after an installation all is the same',
  );
  rmSync(join(root, FILTER));
  writeFileSync(join(root, JAIL), '# Author:  the honeyport project\n[honeyport]\n');
  writeFileSync(join(root, ROTATION), 'mine\n');
  rmSync(join(root, LOGROTATE));
  symlinkSync('/dev/null', join(root, LOGROTATE));
  rewriteManifest(root, UNIT, '# of an older version\n');
  const states = Object.fromEntries(compareInstalled(root).map(({ path, state }) => [path, state]));
  assert.equal(states[FILTER], 'missing');
  assert.equal(states[JAIL], 'edited');
  assert.equal(states[ROTATION], 'foreign');
  assert.equal(states[LOGROTATE], 'foreign');
  assert.equal(states[UNIT], 'other version');
});

test('files of programs that the host has not are no finding', (context) => {
  const root = makeRoot(context);
  for (const folder of ['etc/fail2ban', 'etc/logrotate.d', 'usr/lib/systemd'])
    rmSync(join(root, folder), { recursive: true });
  assert.deepEqual(compareInstalled(root), []);
});

test('a journal tells that an installation was cut off', (context) => {
  const root = makeRoot(context);
  assert.equal(isCutOff(root), false);
  mkdirSync(join(root, 'var/lib/honeyport'));
  writeFileSync(join(root, JOURNAL_FILE), '{}');
  assert.equal(isCutOff(root), true);
});

test('a manifest that names files elsewhere is refused', (context) => {
  for (const path of ['/root/.bashrc', '/etc/fail2ban/../shadow']) {
    const file = { path, sha256: '0'.repeat(64), kind: 'shipped' };
    const manifest = { version: '1.0.0', files: [file], directories: [], users: [] };
    const root = makeRoot(context, { [MANIFEST_FILE]: JSON.stringify(manifest) });
    assert.throws(() => compareInstalled(root), /expected version, files, directories and users/, path);
  }
});

/** Puts a file into the place of one of ours, as if it had been installed by an older version. */
function rewriteManifest(root: string, path: string, text: string): void {
  const manifest = JSON.parse(readFileSync(join(root, MANIFEST_FILE), 'utf8'));
  writeFileSync(join(root, path), text);
  const file = manifest.files.find((one: { path: string }) => one.path === path);
  file.sha256 = sha256(text);
  writeFileSync(join(root, MANIFEST_FILE), JSON.stringify(manifest));
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
