import { printable } from '../configuration/printable.ts';
import type { CheckResult } from './result.ts';

export interface Diagnosis {
  readonly version: string;
  /** Undefined where the configuration does not load. */
  readonly sensor: string | undefined;
  readonly results: readonly CheckResult[];
}

const RESULT_WIDTH = 'finding'.length;
const CHECK_WIDTH = 'configuration'.length;

/** The results as text for a terminal, a line each, and what mends a thing in the line below it. */
export function formatText({ results }: Diagnosis): string {
  const lines = results.flatMap(({ check, result, message, advice }) => [
    `${result.padEnd(RESULT_WIDTH)}  ${check.padEnd(CHECK_WIDTH)}  ${message}`,
    ...(advice === undefined ? [] : [`${' '.repeat(RESULT_WIDTH + CHECK_WIDTH + 4)}hint: ${advice}`]),
  ]);
  return `${[...lines, '', summary(results)].map(printable).join('\n')}\n`;
}

function summary(results: readonly CheckResult[]): string {
  const count = (kind: string) => results.filter(({ result }) => result === kind).length;
  return `findings: ${count('finding')}, notes: ${count('note')}, ok: ${count('ok')}, skipped: ${count('skipped')}`;
}

/** One object in one line: version, sensor (or null), and the checks. */
export function formatJson({ version, sensor, results }: Diagnosis): string {
  const checks = results.map(({ check, result, message, advice }) => ({
    check,
    result,
    message: printable(message),
    ...(advice === undefined ? {} : { advice: printable(advice) }),
  }));
  return `${JSON.stringify({ version, sensor: sensor ?? null, checks })}\n`;
}
