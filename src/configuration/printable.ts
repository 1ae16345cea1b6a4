/** Longer texts are cut, so that a problem stays readable. */
const LONGEST = 60;

/** The text in printable ASCII: every other character as `\xNN` or `\u{...}`. */
export function printable(text: string): string {
  return text.replace(/[^ -~]/gu, escapeCharacter);
}

/** A value as short JSON in printable ASCII, cut after 60 characters. Takes no more time for a huge value. */
export function brief(value: unknown): string {
  let text = '';
  for (const piece of jsonPieces(value)) {
    text += printable(piece);
    if (text.length > LONGEST) break;
  }
  return cut(text);
}

/** The text in at most 60 printable characters. */
export function briefText(text: string): string {
  return cut(printable(text.slice(0, LONGEST + 1)));
}

function cut(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 3)}...` : text;
}

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** JSON in pieces, so that whoever reads them can stop early. */
function* jsonPieces(value: unknown): Generator<string> {
  if (Array.isArray(value)) yield* listPieces(value);
  else if (typeof value === 'object' && value !== null) yield* mappingPieces(value);
  else if (typeof value === 'string') yield JSON.stringify(value.slice(0, LONGEST + 1));
  else yield String(value);
}

function* listPieces(items: readonly unknown[]): Generator<string> {
  yield '[';
  for (const [index, item] of items.entries()) {
    if (index > 0) yield ',';
    yield* jsonPieces(item);
  }
  yield ']';
}

function* mappingPieces(mapping: object): Generator<string> {
  yield '{';
  let separator = '';
  for (const [key, value] of Object.entries(mapping)) {
    yield `${separator}${JSON.stringify(key.slice(0, LONGEST + 1))}:`;
    yield* jsonPieces(value);
    separator = ',';
  }
  yield '}';
}
