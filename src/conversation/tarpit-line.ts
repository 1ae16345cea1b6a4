const LEAST_CHARACTERS = 3;
const MOST_CHARACTERS = 32;
/** The printable ones of ASCII, without the blank. */
const FIRST_CHARACTER = 0x21;
const CHARACTERS = 0x7e - FIRST_CHARACTER + 1;

/**
 * A line of an endless banner: 3 to 32 printable characters and CRLF. RFC 4253, section 4.2, lets an SSH server send any
 * lines before the one that begins with `SSH-`, which this never does, and clients of other protocols wait for the end of
 * theirs.
 * @param random gives a number from 0 to below 1
 */
export function tarpitLine(random: () => number): Uint8Array {
  const length = LEAST_CHARACTERS + Math.floor(random() * (MOST_CHARACTERS - LEAST_CHARACTERS + 1));
  const text = Array.from({ length }, () =>
    String.fromCharCode(FIRST_CHARACTER + Math.floor(random() * CHARACTERS)),
  ).join('');
  return Buffer.from(`${text.startsWith('SSH-') ? text.toLowerCase() : text}\r\n`, 'latin1');
}
