const BEYOND_ASCII = /[\x7f-\uffff]/;

/** JSON of printable ASCII on one line. */
export function asciiJson(value: unknown): string {
  const text = JSON.stringify(value);
  return BEYOND_ASCII.test(text) ? text.replace(/[\x7f-\uffff]/g, escapeCharacter) : text;
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
