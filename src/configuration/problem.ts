import { brief, briefText, printable } from './printable.ts';

/** Keys and indexes from the root of the file to a value. */
export type Path = readonly (string | number)[];

/** Something wrong with a value, before it is known where in the file the value stands. */
export interface Fault {
  readonly path: Path;
  /** Where to point: at the key that names the value, or at the value. */
  readonly at: 'key' | 'value';
  readonly message: string;
}

/** A place in a file; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A fault with its place. */
export interface Problem extends Position {
  readonly text: string;
}

/** Beyond this many a list of problems helps nobody. */
const MOST_PROBLEMS = 100;

/** `expected <what>, got <value>`: the one form in which a value is refused. */
export function expectedGot(expected: string, value: unknown): string {
  return `expected ${expected}, got ${brief(value)}`;
}

/** `decoys[0].ports[1]: <message>`; at the root the message alone. */
export function faultText({ path, message }: Pick<Fault, 'path' | 'message'>): string {
  return path.length === 0 ? message : `${pathText(path)}: ${message}`;
}

/**
 * The problems in the order of the file, each as one line `FILE:LINE:COLUMN: <text>` of printable ASCII, none twice. More
 * than 100 end in a line that says how many are left out.
 */
export function problemLines(file: string, problems: readonly Problem[]): string[] {
  const sorted = problems.toSorted((one, other) => one.line - other.line || one.column - other.column);
  const lines = [...new Set(sorted.map((problem) => lineOf(file, problem)))];
  const left = lines.length - MOST_PROBLEMS;
  return left > 0 ? [...lines.slice(0, MOST_PROBLEMS), printable(`${file}: ${left} more problems`)] : lines;
}

function lineOf(file: string, { line, column, text }: Problem): string {
  return printable(`${file}:${line}:${column}: ${text}`);
}

function pathText(path: Path): string {
  return path.map(segmentText).join('').replace(/^\./, '');
}

function segmentText(segment: string | number): string {
  if (typeof segment === 'number') return `[${segment}]`;
  return /^[A-Za-z_][\w-]{0,59}$/.test(segment) ? `.${segment}` : `[${quoted(segment)}]`;
}

function quoted(segment: string): string {
  return briefText(JSON.stringify(segment));
}
