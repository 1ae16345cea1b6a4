import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { tarpitLine } from '../../src/conversation/tarpit-line.ts';

/** Random numbers that make the line begin with these characters, and as long as it may be. */
function forcing(text: string): () => number {
  const numbers = [0.999, ...Array.from(text, (character) => (character.charCodeAt(0) - 0x21 + 0.5) / 94)];
  return () => numbers.shift() ?? 0.5;
}

test('whatever the random numbers are, a line is short and printable, and no SSH greeting', () => {
  fc.assert(
    fc.property(
      fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
      (numbers) => {
        const line = Buffer.from(tarpitLine(() => numbers.next().value)).toString('latin1');
        assert.match(line, /^(?!SSH-)[\x21-\x7e]{3,32}\r\n$/);
      },
    ),
  );
});

test('a line that would be a greeting is none', () => {
  assert.match(Buffer.from(tarpitLine(forcing('SSH-2.0-x'))).toString('latin1'), /^ssh-2\.0-x/);
});
