import assert from 'node:assert/strict';
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkInstallation } from '../../src/doctor/check-installation.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { hostOf, told } from './support.ts';

function install(context: TestContext): string {
  const root = temporaryDirectory(context);
  cpSync(fileURLToPath(new URL('../../fail2ban', import.meta.url)), join(root, 'etc/fail2ban'), {
    recursive: true,
  });
  return root;
}

const look = (root: string) => told(checkInstallation(hostOf(root), '1.2.3')).join('\n');
const FILTER = 'etc/fail2ban/filter.d/honeyport.conf';

test("the installed files are this version's", (context) => {
  assert.equal(look(install(context)), 'ok: the installed files are those of version 1.2.3');
});

const CASES: readonly [string, (root: string) => void, RegExp][] = [
  [
    'one is missing',
    (root) => rmSync(join(root, FILTER)),
    /^finding: not installed: \/etc\/fail2ban\/filter\.d\/honeyport\.conf \| honeyport install; --dry-run/,
  ],
  [
    'one is edited',
    (root) => writeFileSync(join(root, FILTER), '# Author:  the honeyport project\n'),
    /^note: not as version 1\.2\.3 has it: \/\S+honeyport\.conf \| edits belong into \.local files/m,
  ],
  [
    "one is somebody else's",
    (root) => writeFileSync(join(root, FILTER), '[Definition]\n'),
    /^finding: not honeyport's, but in the place of its file: \/\S+honeyport\.conf \| move it away/,
  ],
  [
    'logrotate lacks its file',
    (root) => mkdirSync(join(root, 'etc/logrotate.d')),
    /^note: not installed: \/etc\/logrotate\.d\/honeyport \| /m,
  ],
  [
    'an installation was cut off',
    (root) => {
      mkdirSync(join(root, 'var/lib/honeyport'), { recursive: true });
      writeFileSync(join(root, 'var/lib/honeyport/install.journal'), '');
    },
    /^finding: an installation was cut off \| honeyport install rolls it back/,
  ],
  [
    'what is installed cannot be told',
    (root) => {
      mkdirSync(join(root, 'var/lib/honeyport'), { recursive: true });
      writeFileSync(join(root, 'var/lib/honeyport/installed.json'), '\x00');
    },
    /^skipped: the installed files cannot be compared: /,
  ],
];

for (const [what, breakIt, expected] of CASES) {
  test(`the installation check tells that ${what}`, (context) => {
    const root = install(context);
    breakIt(root);
    assert.match(look(root), expected);
  });
}
