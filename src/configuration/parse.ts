import { isUtf8 } from 'node:buffer';
import {
  type Alias,
  Composer,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  visit,
  type YAMLError,
} from 'yaml';
import { briefText } from './printable.ts';
import type { Fault, Path, Position, Problem } from './problem.ts';

/** What a file says: plain values (mappings without a prototype), and where each of them stands. */
export interface Parsed {
  readonly value: unknown;
  /** The place of the value at a path, or of the key that names it. */
  readonly positionOf: (path: Path, at?: Fault['at']) => Position;
}

/** The text is not YAML of one document, or goes beyond the bounds. */
export class ParseError extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super('not valid YAML');
    this.problems = problems;
  }
}

/**
 * A configuration nests five deep. The bound comes before the composer, which recurses: where the stack ends inside one
 * of its patterns, V8 ends the process.
 */
const DEEPEST = 64;
/** 65,535 ports in a list take five or six lexemes each; the package's time and memory grow with them. */
const MOST_LEXEMES = 400_000;
/** With aliases counted each time they are used; 65,535 ports are the most that a sane file has. */
const MOST_VALUES = 100_000;

/** YAML 1.2 whatever `%YAML` says: `on` and `off` are strings, 010 is ten. Duplicate keys are looked for below. */
const OPTIONS = {
  version: '1.2',
  schema: 'core',
  merge: false,
  resolveKnownTags: false,
  stringKeys: true,
  uniqueKeys: false,
  prettyErrors: false,
} as const;

/**
 * Parses YAML 1.2.
 *
 * @throws ParseError, with every problem at its place: syntax, encoding, duplicate keys, a second document, unknown tags,
 *   unresolved aliases, and more levels or values than a configuration can need.
 */
export function parseYaml(bytes: Uint8Array): Parsed {
  const text = new TextDecoder().decode(bytes);
  const source = new Source(text);
  if (!isUtf8(bytes)) source.fail(text.indexOf('\ufffd'), 'not UTF-8');
  const document = composeDocument(text, source);
  const place = new Placing(source, resolveAliases(document)).placeOf(document.contents, 0, 0);
  source.throwIfFaulty();
  return {
    value: place.value,
    positionOf: (path, at = 'value') => source.position(offsetOf(place, path, at)),
  };
}

/** The text being parsed: turns offsets into positions, and gathers what is wrong. */
class Source {
  readonly lines = new LineCounter();
  readonly #problems: Problem[] = [];

  constructor(text: string) {
    this.lines.addNewLine(0);
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1))
      this.lines.addNewLine(at + 1);
  }

  position(offset: number): Position {
    const { line, col } = this.lines.linePos(Math.max(0, offset));
    return { line, column: col };
  }

  report(offset: number, message: string): void {
    this.#problems.push({ ...this.position(offset), text: `not valid YAML: ${message}` });
  }

  /** For what leaves nothing to go on with. */
  fail(offset: number, message: string): never {
    this.report(offset, message);
    throw new ParseError(this.#problems);
  }

  throwIfFaulty(): void {
    if (this.#problems.length > 0) throw new ParseError(this.#problems);
  }
}

function composeDocument(text: string, source: Source): Document.Parsed {
  const composer = new Composer(OPTIONS);
  const documents: Document.Parsed[] = [];
  for (const token of boundedTokens(text, source)) documents.push(...composer.next(token));
  documents.push(...composer.end(true, text.length));
  const [first, second] = documents;
  for (const error of [...first!.errors, ...first!.warnings]) source.report(error.pos[0], sentenceOf(error));
  if (second !== undefined) source.report(second.range[0], 'expected one document, got a second one');
  source.throwIfFaulty();
  return first!;
}

/** The parser's tokens; ends with a problem as soon as a bound is crossed. */
function* boundedTokens(text: string, source: Source) {
  const parser = new Parser();
  let lexemes = 0;
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme);
    if (parser.stack.length > DEEPEST) source.fail(parser.offset, 'nested too deep');
    if (++lexemes > MOST_LEXEMES) source.fail(parser.offset, 'too many words, signs and lines');
  }
  yield* parser.end();
}

/** The package's message in our voice: one line, no capital at its start. */
function sentenceOf({ code, message }: YAMLError): string {
  if (code === 'NON_STRING_KEY') return 'expected a plain text as key';
  const line = message.replace(/\s+/g, ' ');
  return briefMessage(line.charAt(0).toLowerCase() + line.slice(1));
}

/** The package quotes what it stumbles over, however long. */
function briefMessage(message: string): string {
  return message.length > 120 ? `${message.slice(0, 117)}...` : message;
}

/** What each alias stands for: the last node before it that has its anchor. */
function resolveAliases(document: Document.Parsed): Map<Alias, Node> {
  const anchored = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node(_key, node) {
      if (!isAlias(node)) {
        if (node.anchor !== undefined) anchored.set(node.anchor, node);
        return;
      }
      const target = anchored.get(node.source);
      if (target !== undefined) targets.set(node, target);
    },
  });
  return targets;
}

/** A value and where it stands, with those within it by key or index. */
interface Place {
  readonly value: unknown;
  readonly offset: number;
  readonly within: ReadonlyMap<string | number, Place & { readonly keyOffset: number }>;
}

const NOTHING_WITHIN: Place['within'] = new Map();

/** Turns nodes into places; an alias becomes a copy of what it stands for, within the bounds. */
class Placing {
  readonly #source: Source;
  readonly #targets: ReadonlyMap<Alias, Node>;
  #values = 0;

  constructor(source: Source, targets: ReadonlyMap<Alias, Node>) {
    this.#source = source;
    this.#targets = targets;
  }

  /** @param fallback offset for a value that is left out, as in `{ a }` */
  placeOf(node: unknown, fallback: number, depth: number): Place {
    const offset = offsetOfNode(node, fallback);
    if (++this.#values > MOST_VALUES) this.#source.fail(offset, 'too many values');
    // Only aliases lead here: one that contains itself, or one within another.
    if (depth > DEEPEST) this.#source.fail(offset, 'nested too deep');
    if (isAlias(node)) return { ...this.#placeOfAlias(node, offset, depth), offset };
    if (isMap(node)) return this.#placeOfMapping(node, offset, depth);
    if (isSeq(node)) return this.#placeOfList(node, offset, depth);
    return { value: isScalar(node) ? node.value : null, offset, within: NOTHING_WITHIN };
  }

  #placeOfAlias(alias: Alias, offset: number, depth: number): Place {
    const target = this.#targets.get(alias);
    if (target !== undefined) return this.placeOf(target, offset, depth + 1);
    this.#source.report(offset, `no anchor ${briefText(alias.source)} before this alias`);
    return { value: null, offset, within: NOTHING_WITHIN };
  }

  #placeOfList(list: { readonly items: readonly unknown[] }, offset: number, depth: number): Place {
    const places = list.items.map((item) => this.placeOf(item, offset, depth + 1));
    const within = new Map(places.map((place, index) => [index, { ...place, keyOffset: place.offset }]));
    return { value: places.map(({ value }) => value), offset, within };
  }

  #placeOfMapping(mapping: { readonly items: readonly Entry[] }, offset: number, depth: number): Place {
    const within = new Map<string, Place & { keyOffset: number }>();
    const value: Record<string, unknown> = Object.create(null);
    for (const entry of mapping.items) {
      const key = isScalar(entry.key) ? String(entry.key.value) : '';
      const keyOffset = offsetOfNode(entry.key, offset);
      this.#refuseSecond(key, keyOffset, within.get(key)?.keyOffset);
      const place = this.placeOf(entry.value, keyOffset, depth + 1);
      within.set(key, { ...place, keyOffset });
      value[key] = place.value;
    }
    return { value, offset, within };
  }

  #refuseSecond(key: string, offset: number, first: number | undefined): void {
    if (first === undefined) return;
    const { line } = this.#source.position(first);
    this.#source.report(offset, `key ${briefText(key)} stands on line ${line} already`);
  }
}

interface Entry {
  readonly key: unknown;
  readonly value: unknown;
}

function offsetOfNode(node: unknown, fallback: number): number {
  return (isNode(node) ? node.range?.[0] : undefined) ?? fallback;
}

/** Of the nearest that is there, where the path leads to what is left out. */
function offsetOf(root: Place, path: Path, at: Fault['at']): number {
  let place: Place & { readonly keyOffset?: number } = root;
  for (const segment of path) {
    const next = place.within.get(segment);
    if (next === undefined) return place.offset;
    place = next;
  }
  return at === 'key' ? (place.keyOffset ?? place.offset) : place.offset;
}
