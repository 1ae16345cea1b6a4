import { realpathSync } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';
import { lockRoot } from './lock.ts';
import { isEmpty, type Plan, planText } from './plan.ts';
import { type Recovery, recover } from './recover.ts';
import { carryOut } from './transaction.ts';

export interface SetupOptions {
  readonly root: string;
  readonly plan: () => Promise<Plan>;
  /** As of `carryOut`. */
  readonly guardian: readonly [string, ...string[]];
  readonly onStep: (text: string) => void;
  /** Told first, when an earlier installation was cut off and is brought to an end. */
  readonly onRecovery: (recovery: Recovery) => void;
  /** Asked with the plan; without a yes nothing is done. */
  readonly confirm: (plan: Plan) => Promise<boolean>;
}

export type Outcome =
  | { readonly kind: 'done'; readonly problems: readonly string[] }
  | { readonly kind: 'nothing to do' | 'declined' }
  | { readonly kind: 'refused'; readonly plan: Plan };

/**
 * Plans, asks, and carries the plan out, alone on this root.
 * @throws UserError, with everything as it was before
 */
export async function setUp(options: SetupOptions): Promise<Outcome> {
  const lock = lockRoot(options.root);
  try {
    const recovery = await recover(options.root);
    if (recovery !== undefined) options.onRecovery(recovery);
    const plan = await options.plan();
    if (plan.refusals.length > 0) return { kind: 'refused', plan };
    if (isEmpty(plan)) return { kind: 'nothing to do' };
    if (!(await options.confirm(plan))) return { kind: 'declined' };
    if (planText(await options.plan()) !== planText(plan)) throw changedMeanwhile();
    return { kind: 'done', problems: await carryOut(plan, { ...options, lock }) };
  } finally {
    lock.release();
  }
}

function changedMeanwhile(): UserError {
  return new UserError('files were changed while honeyport waited for the answer', {
    hint: 'run it again',
    exitCode: 1,
  });
}

/**
 * The directory that stands for `/`.
 * @throws UserError when it is none
 */
export function readRoot(option: string | undefined): string {
  if (option === undefined) return '/';
  try {
    return realpathSync(option === '' ? '?' : option);
  } catch (error) {
    throw new UserError(`--root: expected a directory, got ${JSON.stringify(option)}: ${messageOf(error)}`);
  }
}
