import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.ts';
import { isCutOff } from '../installation/compare-installed.ts';
import { isEmpty, type Plan, planText } from '../setup/plan.ts';
import type { Recovery } from '../setup/recover.ts';
import { type Outcome, setUp } from '../setup/setup.ts';
import type { CommandContext } from './context.ts';

/** Options that install and uninstall share. */
export interface SetUpOptions {
  readonly yes?: true;
  readonly dryRun?: true;
  readonly root?: string;
}

/** What stands for `/`, and how it is planned. */
export interface Undertaking {
  readonly verb: 'install' | 'uninstall';
  readonly root: string;
  readonly plan: () => Promise<Plan>;
}

/** Shows a plan, asks, and carries it out; or only shows it. */
export async function runSetUp(
  { verb, root, plan }: Undertaking,
  { yes, dryRun }: SetUpOptions,
  context: CommandContext,
): Promise<void> {
  if (dryRun === true) return showPlan(root, await plan(), context);
  requireRights(root);
  const interrupt = watchSignals();
  const options = {
    root,
    plan,
    guardian: guardianOf(root),
    onRecovery: (recovery: Recovery) => tellRecovery(recovery, context),
    confirm: (shown: Plan) => confirm(shown, yes === true, context),
    onStep: (text: string) => {
      interrupt.throwIfAny();
      context.voice.say(text);
    },
  };
  try {
    report(verb, await setUp(options), context);
  } catch (error) {
    throw reported(error, context);
  } finally {
    interrupt.forget();
  }
}

function requireRights(root: string): void {
  if (root !== '/' || process.geteuid?.() === 0) return;
  throw new UserError('expected to be run as root', {
    hint: '--dry-run shows the plan to anybody',
  });
}

/** The program that brings an installation back when this one is killed. */
function guardianOf(root: string): readonly [string, ...string[]] {
  const program = fileURLToPath(new URL('../cli.js', import.meta.url));
  return [process.execPath, program, GUARDIAN_COMMAND, '--root', root];
}

const GUARDIAN_COMMAND = 'guard-installation';

function showPlan(root: string, plan: Plan, { print, voice }: CommandContext): void {
  if (isCutOff(root)) voice.warning('an installation was cut off; the next one brings it back first');
  print(planText(plan));
  if (plan.refusals.length > 0) throw refusal(plan, voice);
  if (isEmpty(plan)) print('nothing to do\n');
}

function refusal(plan: Plan, voice: CommandContext['voice']): UserError {
  for (const reason of plan.refusals) voice.error(reason);
  return new UserError('nothing was changed', { hint: 'what is named above is in the way' });
}

async function confirm(plan: Plan, isAgreed: boolean, { print }: CommandContext): Promise<boolean> {
  print(planText(plan));
  if (isAgreed) return true;
  if (!isInteractive())
    throw new UserError('expected --yes, since there is no terminal to ask on', {
      hint: 'look at the plan, then add --yes',
    });
  return ask('Apply?');
}

export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks on the terminal; all but yes is no. */
export async function ask(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  // the end of the input, or Ctrl-C, is no answer
  const ended = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
  const answer = await Promise.race([terminal.question(`${question} [y/N] `), ended]);
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}

function tellRecovery({ verb, way, problems }: Recovery, { voice }: CommandContext): void {
  voice.warning(recoveryText({ verb, way, problems }));
  for (const problem of problems) voice.warning(problem);
}

export function recoveryText({ verb, way }: Recovery): string {
  return way === 'back'
    ? `${verb} was cut off: everything was brought back to what it was before`
    : `${verb} was cut off at its very end: it was brought to it`;
}

function report(verb: Undertaking['verb'], outcome: Outcome, { voice, print }: CommandContext): void {
  switch (outcome.kind) {
    case 'refused':
      print(planText(outcome.plan));
      throw refusal(outcome.plan, voice);
    case 'nothing to do':
      print('nothing to do\n');
      return;
    case 'declined':
      voice.say('nothing was changed');
      return;
    case 'done':
      for (const problem of outcome.problems) voice.warning(problem);
      voice.say(verb === 'install' ? 'installed; honeyport doctor proves that it works' : 'uninstalled');
  }
}

/** What programs said comes with several lines, each of which is a message. */
function reported(error: unknown, { voice }: CommandContext): unknown {
  if (!(error instanceof UserError) || !error.message.includes('\n')) return error;
  const [first = '', ...more] = error.message.split('\n');
  voice.error(first);
  for (const text of more.slice(0, -1)) voice.say(text);
  return new UserError(more.at(-1) ?? '', { hint: error.hint, exitCode: error.exitCode });
}

/** Ctrl-C and the like end an installation between two steps, and bring it back. */
function watchSignals(): { throwIfAny(): void; forget(): void } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let got: NodeJS.Signals | undefined;
  const note = (signal: NodeJS.Signals) => {
    got = signal;
  };
  for (const signal of signals) process.on(signal, note);
  return {
    throwIfAny() {
      if (got !== undefined) throw new UserError(`ended by ${got}`, { exitCode: 1 });
    },
    forget() {
      for (const signal of signals) process.off(signal, note);
    },
  };
}
