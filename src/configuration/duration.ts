import { expectedGot } from './problem.ts';
import { DURATION_PATTERN } from './schema-nodes.ts';

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of a duration such as `500ms`, `10s` or `5m`, which has passed the schema. */
export function durationMs(text: string): number {
  const [, digits, unit] = /^([0-9]+)([a-z]+)$/.exec(text)!;
  return Number(digits) * UNITS_MS[unit!]!;
}

/** What is wrong with a duration that is longer than `most`; of what is no duration the schema speaks. */
export function longDurationProblem(value: unknown, most: string): string | undefined {
  if (typeof value !== 'string' || !DURATION.test(value)) return undefined;
  return durationMs(value) > durationMs(most)
    ? expectedGot(`a duration of at most ${most}`, value)
    : undefined;
}

const DURATION = new RegExp(DURATION_PATTERN);
