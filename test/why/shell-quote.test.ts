import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { quoteForShell } from '../../src/why/shell-quote.ts';

/** The bytes of the one word that a shell makes of a text. */
function readBack(shell: string, words: readonly string[]): string[] {
  const script = `printf '%s\\0' ${words.join(' ')}`;
  const { stdout, stderr } = spawnSync(shell, ['-c', script], {
    encoding: 'utf8',
    env: { LC_ALL: 'C' },
    // bash reads .bashrc where its input is a socket, as Node's pipes are
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  assert.equal(stderr, '');
  return stdout.split('\0').slice(0, -1);
}

test('what is plain stays as it is', () => {
  for (const text of ['honeyport', 'sshd-ddos_2', '198.51.100.0/24', '2001:db8::7'])
    assert.equal(quoteForShell(text), text);
});

const HOSTILE = [
  '',
  ' ',
  "it's",
  'a b',
  '$(id)',
  '`id`',
  '$HOME',
  '"',
  '\\',
  '*',
  '~',
  '#x',
  '!x',
  ';id',
  '&',
  '|',
  '>x',
  '(',
  '{a,b}',
];
const FOREIGN = ['größe', 'сети', '\x1b[2J', 'a\tb', "ö'$(id)%s\\n", '-ö', '\x7f', '\u{1f41d}'];

for (const shell of ['dash', 'bash']) {
  test(`${shell} reads back what was quoted`, () => {
    const texts = [...HOSTILE, ...FOREIGN];
    assert.deepEqual(readBack(shell, texts.map(quoteForShell)), texts);
  });
}

test('whatever the text, it is one word of printable ASCII that a shell reads back', () => {
  const text = fc
    .string({ unit: 'binary', maxLength: 20 })
    .filter((text) => !/\0|\n$|\p{Surrogate}/u.test(text));
  fc.assert(
    fc.property(fc.array(text, { minLength: 50, maxLength: 50 }), (texts) => {
      const words = texts.map(quoteForShell);
      assert.match(words.join(' '), /^[ -~]*$/);
      assert.deepEqual(readBack('sh', words), texts);
    }),
    { numRuns: 20 },
  );
});
