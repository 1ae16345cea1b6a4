import { basename } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import { startGuard } from '../system/guard-program.ts';
import { type Account, addAccount, findAccount } from './accounts.ts';
import { makeDirectory, makeLog, putFile, removeFile } from './change-files.ts';
import { checkHost } from './check-host.ts';
import { isFail2banRunning, isSystemdRunning, listOurJails, tell, unitState } from './host-programs.ts';
import {
  type Journal,
  type JournalChange,
  makeJournalDirectory,
  NO_SERVICES,
  removeJournal,
  type ServicesBefore,
  writeJournal,
} from './journal.ts';
import type { Lock } from './lock.ts';
import type { Change, Effect, Plan, Step } from './plan.ts';
import { finishFileChanges, lastDirectories, recover, removeLeftovers } from './recover.ts';

export interface CarryOutOptions {
  /** Held until this is done. */
  readonly lock: Lock;
  /** The program, with its arguments, that runs `guardInstallation` for this root. */
  readonly guardian: readonly [string, ...string[]];
  /** Called before each step. What it throws ends the installation as a failure of the step would. */
  readonly onStep: (text: string) => void;
}

/** The beginning of a Node program takes a tenth of a second, on a host that swaps a few. */
const GUARDIAN_START_TIMEOUT_MS = 30_000;
/** What the guardian is told when there is nothing left for it to do. */
export const ALL_DONE = 'done';

/**
 * Carries a plan out as a whole or not at all: when a step fails, everything is brought back, what programs of the host
 * were told included. If this process is killed, the guardian brings it back; if both are, the next installation does.
 *
 * @returns what remains of what was to be removed, and why
 * @throws UserError, with the host as it was before
 */
export async function carryOut(plan: Plan, options: CarryOutOptions): Promise<string[]> {
  for (const check of plan.checks) await checkHost(check, plan.root);
  const services = await servicesBefore(plan);
  const [program, ...args] = options.guardian;
  const limits = { timeoutMs: GUARDIAN_START_TIMEOUT_MS };
  const guard = await startGuard({ program, args, fd: options.lock.fd, ...limits });
  // without the word it tries what this process could not bring back
  let word = '';
  try {
    const problems = await attempt(plan, services, options.onStep);
    word = ALL_DONE;
    return problems;
  } finally {
    guard.tell(word);
    await guard.ended;
  }
}

async function attempt(
  plan: Plan,
  services: ServicesBefore,
  onStep: CarryOutOptions['onStep'],
): Promise<string[]> {
  const { root } = plan;
  let journal: Journal = { ...emptyJournal(plan, services), made: makeJournalDirectory(root) };
  try {
    writeJournal(root, journal);
    for (const step of plan.steps) {
      onStep(step.text);
      if ('effect' in step && step.effect.kind !== 'check' && !journal.isTold) {
        journal = { ...journal, isTold: true };
        writeJournal(root, journal);
      }
      await take(step, root);
    }
    onStep('done');
    writeJournal(root, { ...journal, way: 'on' });
  } catch (error) {
    throw await broughtBack(root, error);
  }
  finishFileChanges(root, journal.changes);
  const problems = await removeLeftovers(root, plan.leftovers);
  removeJournal(root, lastDirectories(journal));
  return problems;
}

function emptyJournal(plan: Plan, services: ServicesBefore): Journal {
  const changes = plan.steps.flatMap((step) => ('change' in step ? [journalChange(step.change)] : []));
  const { verb, leftovers } = plan;
  return { verb, way: 'back', changes, isTold: false, services, leftovers, made: [] };
}

function journalChange(change: Change): JournalChange {
  switch (change.kind) {
    case 'put':
      return { kind: 'file', path: change.path, isNew: change.was === undefined };
    case 'remove':
      return { kind: 'file', path: change.path, isNew: false };
    case 'directory':
      return { kind: 'directory', path: change.path, isUsers: change.user !== undefined };
    case 'log':
      return { kind: 'log', path: change.path };
    case 'user':
      return { kind: 'user', name: change.name };
  }
}

/** What is asked of the host's programs before, so that it can be so again; of a root that is none, nothing. */
async function servicesBefore({ steps }: Plan): Promise<ServicesBefore> {
  const effects = steps.flatMap((step) => ('effect' in step ? [step.effect] : []));
  const told = effects.filter(({ kind }) => kind !== 'check');
  if (told.length === 0) return NO_SERVICES;
  const named = told.flatMap((effect) => ('unit' in effect ? [effect.unit] : []));
  const units = [...new Set([...named, ...socketUnits(steps)])];
  const states: ServicesBefore['units'][number][] = [];
  for (const name of units) states.push({ name, ...(await unitState(name)) });
  return {
    units: states,
    jails: (await isFail2banRunning()) ? await listOurJails() : [],
    readsUnits: isSystemdRunning() && told.some(({ kind }) => kind === 'read units'),
    restartsRsyslog: told.some(({ kind }) => kind === 'restart rsyslog'),
  };
}

/** A service pulls them in without a word. */
function socketUnits(steps: readonly Step[]): string[] {
  const paths = steps.flatMap((step) =>
    'change' in step && 'path' in step.change ? [step.change.path] : [],
  );
  return paths.filter((path) => /\/system\/[^/]+\.socket$/.test(path)).map((path) => basename(path));
}

async function take(step: Step, root: string): Promise<void> {
  if ('change' in step) return change(step.change, root);
  return effect(step.effect, root);
}

async function effect(what: Effect, root: string): Promise<void> {
  return what.kind === 'check' ? checkHost(what.check, root) : tell(what);
}

async function change(what: Change, root: string): Promise<void> {
  switch (what.kind) {
    case 'put':
      return putFile(root, what);
    case 'remove':
      return removeFile(root, what);
    case 'directory':
      return makeDirectory(root, what, await accountOf(what));
    case 'log':
      return makeLog(root, what, await requireAccount(what.user));
    case 'user':
      return addAccount(what.name, what.sysusers);
  }
}

async function accountOf({
  user,
  group,
}: Extract<Change, { kind: 'directory' }>): Promise<Account | undefined> {
  if (user !== undefined) return requireAccount(user);
  return group === undefined ? undefined : { uid: 0, gid: (await requireAccount(group)).gid };
}

async function requireAccount(name: string): Promise<Account> {
  const account = await findAccount(name);
  if (account === undefined) throw new UserError(`there is no user ${name}`, { exitCode: 1 });
  return account;
}

/** Brings everything back. @returns what to throw, which says whether that worked */
async function broughtBack(root: string, error: unknown): Promise<unknown> {
  try {
    const problems = (await recover(root))?.problems ?? [];
    if (problems.length === 0) return asUserError(error, ['everything is as it was before']);
    return asUserError(error, ['everything is as it was before, but:', ...problems]);
  } catch (obstacle) {
    const why = `it could not be brought back: ${messageOf(obstacle)}`;
    return asUserError(error, [why, 'the next honeyport install or uninstall tries that first']);
  }
}

/** What went wrong, one thing a line. */
function asUserError(error: unknown, more: readonly string[]): unknown {
  const isMendable = error instanceof UserError || typeof (error as NodeJS.ErrnoException).code === 'string';
  if (!isMendable) return error;
  const hint = error instanceof UserError ? error.hint : undefined;
  return new UserError([messageOf(error), ...more].join('\n'), { hint, exitCode: 1 });
}
