const PRINTABLE = /^[\x20-\x7e]*$/;

/**
 * A text as printable ASCII from which its bytes can be read back: `\\` and `\xNN`. A character above 0xff stands for
 * its UTF-8 bytes: events speak of bytes.
 */
export function escapeBytes(value: string): string {
  const marked = value.replaceAll('\\', '\\\\');
  return PRINTABLE.test(marked) ? marked : marked.replace(/[^\x20-\x7e]/gu, escapeCharacter);
}

function escapeCharacter(character: string): string {
  const bytes = Buffer.from(character, character.codePointAt(0)! > 0xff ? 'utf8' : 'latin1');
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}
