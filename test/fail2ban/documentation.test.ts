import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findAddresses, makeConfiguration, SHIPPED_DIR, temporaryDirectory } from '../support/fail2ban.ts';

const DOCUMENT = readFileSync(fileURLToPath(new URL('../../docs/fail2ban.md', import.meta.url)), 'utf8');
const JAIL = readFileSync(join(SHIPPED_DIR, 'jail.d/honeyport.conf'), 'utf8');

test('the documented try of the filter prints the address', (context) => {
  const directory = temporaryDirectory();
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  makeConfiguration(join(directory, 'etc'));
  const [, line, filter] = /^ {4}fail2ban-regex -o ip '([^']+)' (\S+)$/m.exec(DOCUMENT)!;
  assert.deepEqual(findAddresses('host', directory, line!, filter), ['198.51.100.7']);
});

test('every documented form, with the rest of a line, is taken', (context) => {
  const directory = temporaryDirectory();
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  makeConfiguration(join(directory, 'etc'));
  const forms = [...DOCUMENT.matchAll(/^\|[^|]+\| `([^`]*honeyport[^`]*)` *\|$/gm)].map(([, form]) => form!);
  const rest =
    'connect src=2001:db8::7 spt=40112 dst=2001:db8::5 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42 ttl=52';
  assert.equal(forms.length, 6);
  for (const form of forms) {
    assert.deepEqual(findAddresses('host', directory, form + rest), ['2001:db8::7'], form);
  }
});

test('the documented settings are those of the shipped jail', () => {
  const change = DOCUMENT.slice(DOCUMENT.indexOf('## Change'), DOCUMENT.indexOf('## Whom not to block'));
  const rows = [...change.matchAll(/^\| `([a-z.]+)` *\| `([^`]+)` *\|/gm)];
  assert.deepEqual(
    rows.map(([, key]) => key),
    [
      'backend',
      'logpath',
      'maxretry',
      'findtime',
      'bantime',
      'bantime.increment',
      'bantime.maxtime',
      'usedns',
      'banaction',
      'action',
    ],
  );
  for (const [, key, value] of rows) {
    const setting = JAIL.split('\n').find((line) => new RegExp(`^${key}\\s*=`).test(line));
    assert.equal(setting?.split('=').slice(1).join('=').trim(), value);
  }
});

test('the documented options of the action are all that it takes, with their defaults', () => {
  const action = readFileSync(join(SHIPPED_DIR, 'action.d/honeyport_nftables.py'), 'utf8');
  const parameters = /def __init__\(self, (table=[^)]*), \*\*/.exec(action)![1]!;
  const taken = [...parameters.matchAll(/(\w+)=(?:"([^"]*)"|None)/g)].map(
    ([, name, value]) => `${name} = ${value ?? "the host's name"}`,
  );
  const table = DOCUMENT.slice(DOCUMENT.indexOf('| option'), DOCUMENT.indexOf('### With mail'));
  const documented = [...table.matchAll(/^\| `(\w+)` *\| (?:`([^`]+)`|([^|]+?)) *\|/gm)].map(
    ([, name, value, words]) => `${name} = ${value ?? words}`,
  );
  assert.deepEqual(documented.sort(), taken.sort());
});

test('the shipped jail is off and leaves ignoreip to the administrator', () => {
  assert.match(JAIL, /^enabled = false$/m);
  assert.doesNotMatch(JAIL, /^\s*ignoreip/m);
});

test("the documented jail for some decoys is the one in the shipped jail's comment", () => {
  const example = (text: string, indentation: string) => {
    const lines = text.slice(text.indexOf(`${indentation}[honeyport-ssh]`)).split('\n');
    return lines
      .slice(
        0,
        lines.findIndex((line) => !line.startsWith(indentation)),
      )
      .map((line) => line.slice(indentation.length));
  };
  assert.deepEqual(example(DOCUMENT, '    '), example(JAIL, '#   '));
  assert.equal(example(JAIL, '#   ').length, 11);
});
