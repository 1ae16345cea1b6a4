/** Whether a character may stand in a bare value; a table, since a regular expression per value shows in the bench. */
const BARE = Uint8Array.from({ length: 128 }, (_, code) =>
  /[A-Za-z0-9._:,/+@-]/.test(String.fromCharCode(code)) ? 1 : 0,
);

/** Whether a value can stand without quotes, in the log line and in every other format. */
export function isBare(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (BARE[value.charCodeAt(i)] !== 1) return false;
  return value !== '';
}

const PRINTABLE = /^[\x20-\x7e]*$/;

/**
 * A text as printable ASCII from which its bytes can be read back: `\\` and `\xNN`. A character above 0xff stands for
 * its UTF-8 bytes: events speak of bytes.
 */
export function escapeBytes(value: string): string {
  const marked = value.replaceAll('\\', '\\\\');
  return PRINTABLE.test(marked) ? marked : marked.replace(/[^\x20-\x7e]/gu, escapeCharacter);
}

/** For bytes; made once, since a peer decides how many of them there are. */
const ESCAPES = Array.from({ length: 256 }, (_, byte) => `\\x${byte.toString(16).padStart(2, '0')}`);

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  if (code <= 0xff) return ESCAPES[code]!;
  return Array.from(Buffer.from(character, 'utf8'), (byte) => ESCAPES[byte]).join('');
}
