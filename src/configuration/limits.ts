import type { Limits, Rate } from './configuration.ts';
import { durationMs } from './duration.ts';
import { isMapping } from './mapping.ts';
import { expectedGot, type Fault } from './problem.ts';
import { DEFAULTS, RATE_PATTERN } from './schema-nodes.ts';

/** `limits` as the schema has it; `off` lifts a rate. */
export interface LimitKeys {
  readonly conversations?: number;
  readonly responses?: number;
  readonly lines_per_source?: string;
  readonly lines?: string;
  readonly pending_lines?: number;
}

const RATE_KEYS = ['lines_per_source', 'lines'] as const;
const MOST_LINES = 1_000_000;
const [SHORTEST_WINDOW, LONGEST_WINDOW] = ['100ms', '1d'];

/** What the schema cannot say of `limits`. */
export function limitFaults(root: unknown): Fault[] {
  const limits = isMapping(root) && isMapping(root.limits) ? root.limits : {};
  return RATE_KEYS.flatMap((key) => {
    const message = rateProblem(limits[key]);
    return message === undefined ? [] : [{ path: ['limits', key], at: 'value', message }];
  });
}

/** The limits of keys without faults. */
export function limitsOf(keys: LimitKeys = {}): Limits {
  return {
    pendingLines: keys.pending_lines ?? DEFAULTS.pendingLines,
    conversations: keys.conversations ?? DEFAULTS.conversations,
    responses: keys.responses ?? DEFAULTS.responses,
    linesPerSource: readRate(keys.lines_per_source ?? DEFAULTS.linesPerSource),
    lines: readRate(keys.lines ?? DEFAULTS.lines),
  };
}

/** Of what is no rate the schema speaks. */
function rateProblem(value: unknown): string | undefined {
  const rate = typeof value === 'string' ? readRate(value) : undefined;
  if (rate === undefined || isWithinBounds(rate)) return undefined;
  return expectedGot(`at most ${MOST_LINES} lines within ${SHORTEST_WINDOW} to ${LONGEST_WINDOW}`, value);
}

function isWithinBounds({ lines, windowMs }: Rate): boolean {
  if (lines > MOST_LINES) return false;
  return windowMs >= durationMs(SHORTEST_WINDOW) && windowMs <= durationMs(LONGEST_WINDOW);
}

/** Undefined for `off`, and for what is no rate. */
function readRate(text: string): Rate | undefined {
  const [, lines, window] = RATE.exec(text) ?? [];
  if (lines === undefined || window === undefined) return undefined;
  return { lines: Number(lines), windowMs: durationMs(window) };
}

const RATE = new RegExp(RATE_PATTERN);
