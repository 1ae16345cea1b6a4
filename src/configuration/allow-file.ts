import { isUtf8 } from 'node:buffer';
import { ConfigurationError } from '../errors.ts';
import { type AllowEntry, rangesProblem, readSource, readUntil } from './allow-entry.ts';
import { type PortRange, readPortList } from './ports.ts';
import { brief } from './printable.ts';
import { type Problem, problemLines } from './problem.ts';
import { MAY_READ_HINT, readBounded } from './read.ts';

const MOST_MEBIBYTES = 16;
/** More than the allow list may have entries, for comments; each takes some microseconds in which nothing is accepted. */
const MOST_LINES = 300_000;
/** More are not looked for. */
const MOST_PROBLEMS = 1000;

/**
 * Reads a file of the allow list: `SOURCE [ports=22,80-90] [until=2027-01-31] [# comment]` on each line, empty lines and
 * lines with a comment alone.
 * @throws ConfigurationError with every problem of the file, or with the reason why it cannot be read
 */
export function readAllowFile(file: string): AllowEntry[] {
  return parseAllowFile(readBounded(file, MOST_MEBIBYTES, HINTS), file);
}

const HINTS = {
  ENOENT: 'a file with a comment alone (# nobody yet) is a list without entries',
  EACCES: MAY_READ_HINT,
};

/** @throws ConfigurationError with every problem */
export function parseAllowFile(bytes: Uint8Array, file: string): AllowEntry[] {
  const problems = wholeProblems(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  const lines = problems.length === 0 ? text.split('\n') : [];
  const entries = lines.flatMap((content, index) => {
    if (problems.length >= MOST_PROBLEMS) return [];
    const line = index + 1;
    const report = (word: number, message: string) =>
      problems.push({ line, column: columnOf(word, content), text: message });
    return readLine(content, { file, line }, report);
  });
  if (problems.length > 0) throw new ConfigurationError(problemLines(file, problems));
  return entries;
}

/** Half an address is often another address: what may not be the whole file is not taken. */
function wholeProblems(bytes: Uint8Array): Problem[] {
  if (bytes.length === 0) return [{ line: 1, column: 1, text: NOTHING_THERE }];
  if (countLines(bytes) > MOST_LINES) return [{ line: 1, column: 1, text: TOO_MANY_LINES }];
  if (!isUtf8(bytes)) return [{ line: 1, column: 1, text: 'not UTF-8' }];
  if (bytes.at(-1) === 0x0a) return [];
  const line = countLines(bytes) + 1;
  return [{ line, column: bytes.length - bytes.lastIndexOf(0x0a), text: NO_END }];
}

function countLines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) count += 1;
  return count;
}

const TOO_MANY_LINES = `expected at most ${MOST_LINES} lines, got more`;
const NOTHING_THERE =
  'expected entries or a comment, got an empty file, as of an editor that is still writing';
const NO_END =
  'expected a line feed at the end of the file, got none: the line may be half of what was meant';

/** Reads the entry of a line, where it has one, and reports what is wrong with it. */
function readLine(line: string, place: Place, report: (word: number, message: string) => void): AllowEntry[] {
  const sign = line.indexOf('#');
  const [source = '', ...options] = (sign < 0 ? line : line.slice(0, sign)).trim().split(/\s+/);
  if (source === '') return [];
  const read = readSource(source);
  if (typeof read === 'string') report(0, read);
  const limits: Limits = {};
  for (const [index, option] of options.entries()) {
    const problem = readOption(option, limits);
    if (problem !== undefined) report(index + 1, problem);
  }
  if (typeof read === 'string') return [];
  const { ports, until } = limits;
  const comment = sign < 0 ? undefined : line.slice(sign + 1).trim();
  return [{ source, network: read.network, ports, until, comment, ...place }];
}

/** The column of a line's word, both counted as their reader does. */
function columnOf(word: number, line: string): number {
  return [...line.matchAll(/\S+/g)][word]!.index + 1;
}

/** Where an entry stands. */
type Place = Pick<AllowEntry, 'file' | 'line'>;

function readPorts(text: string): PortRange[] | string {
  const ranges = readPortList(text);
  return typeof ranges === 'string' ? ranges : (rangesProblem(ranges.length) ?? ranges);
}

interface Limits {
  ports?: readonly PortRange[];
  until?: number;
}

/** Takes an option over, or says what is wrong with it. */
function readOption(option: string, limits: Limits): string | undefined {
  const [, key, value] = /^(ports|until)=(.*)$/s.exec(option) ?? [];
  if (key === undefined || value === undefined)
    return `expected ports=, until= or a comment after #, got ${brief(option)}`;
  if (key in limits) return `expected ${key}= once, got it again`;
  const read = key === 'ports' ? readPorts(value) : readUntil(value);
  if (typeof read === 'string') return `${key}: ${read}`;
  Object.assign(limits, { [key]: read });
  return undefined;
}
