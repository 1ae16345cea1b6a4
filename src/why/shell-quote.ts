/** Characters that mean themselves to every shell, anywhere in a word. */
const PLAIN = /^[A-Za-z0-9_@%+:,./-]+$/;
const PRINTABLE = /^[ -~]*$/;

/**
 * A text as one word of a command for any POSIX shell, in printable ASCII: whoever copies it from the terminal has the
 * text's bytes.
 */
export function quoteForShell(text: string): string {
  if (PLAIN.test(text)) return text;
  if (PRINTABLE.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  // dash has no $'...', and printf(1) knows octal everywhere; line feeds at the end, which $(...) drops, are in no name
  return `"$(printf '${Array.from(Buffer.from(text), octal).join('')}')"`;
}

function octal(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9 _.]/.test(character) ? character : `\\${byte.toString(8).padStart(3, '0')}`;
}
