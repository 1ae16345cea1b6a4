import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createVoice } from '../src/voice.ts';

function spoken(message: string): string {
  let text = '';
  createVoice((line) => {
    text += line;
  }).warning(message);
  return text;
}

test('a message is one line, and steers no terminal', () => {
  assert.equal(spoken('a\nb\x1b[31m\x9b'), 'honeyport: warning: a\\x0ab\\x1b[31m\\x9b\n');
});

test('characters that turn or break a line are shown, letters of any script are themselves', () => {
  assert.equal(spoken('a\u202eb\u2028c\u{e0001}d'), 'honeyport: warning: a\\u{202e}b\\u{2028}c\\u{e0001}d\n');
  assert.equal(spoken('/srv/Köln/日本'), 'honeyport: warning: /srv/Köln/日本\n');
});
