import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import { STATE_DIRECTORY } from '../installation/manifest.ts';
import { removeAccount } from './accounts.ts';
import { finishFileChange, removeFilesIn, undoFileChange } from './change-files.ts';
import { quietUnit, restoreJails, reviveUnit, tell } from './host-programs.ts';
import { type Journal, type JournalChange, readJournal, removeIfEmpty, removeJournal } from './journal.ts';
import type { Leftovers } from './plan.ts';
import { FAIL2BAN_TRACES } from './traces.ts';

/** What became of an installation that had not come to its end. */
export interface Recovery {
  readonly verb: Journal['verb'];
  /** `back`: all is as it was before it. `on`: it was done, and is whole now. */
  readonly way: Journal['way'];
  /** What could not be brought back, or removed. */
  readonly problems: readonly string[];
}

/**
 * Brings an installation that did not come to its end back to its beginning, or, if only its leftovers were left, to its
 * end. May be cut off and called again.
 *
 * @returns undefined when there is none
 * @throws UserError when the journal is not ours; Error when a file cannot be brought back: the journal stays then
 */
export async function recover(root: string): Promise<Recovery | undefined> {
  const journal = readJournal(root);
  if (journal === undefined) return forgetBeginning(root);
  const problems = journal.way === 'back' ? await goBack(root, journal) : await goOn(root, journal);
  removeJournal(root, lastDirectories(journal));
  return { verb: journal.verb, way: journal.way, problems };
}

/** One that was cut off before it had a journal has changed nothing, but for the journal's own directory. */
function forgetBeginning(root: string): undefined {
  if (existsSync(join(root, STATE_DIRECTORY))) removeJournal(root, [STATE_DIRECTORY]);
}

async function goBack(root: string, { changes, services, isTold }: Journal): Promise<string[]> {
  const problems: string[] = [];
  const attempt = attempts(problems);
  if (isTold) for (const unit of services.units) await attempt(() => quietUnit(unit.name, unit));
  for (const change of changes.toReversed()) {
    undoFileChange(root, change, isTold);
    if (change.kind === 'user') await attempt(() => removeAccount(change.name));
  }
  if (isTold) await reviveServices(services, attempt);
  if (isTold && !existsSync(join(root, ACTION_FILE)))
    problems.push(...(await removeLeftovers(root, FAIL2BAN_TRACES)));
  return problems;
}

/** Without it, fail2ban has not run it before. */
const ACTION_FILE = '/etc/fail2ban/action.d/honeyport_nftables.py';

async function reviveServices(services: Journal['services'], attempt: Attempt): Promise<void> {
  if (services.readsUnits) await attempt(() => tell({ kind: 'read units' }));
  for (const unit of services.units) await attempt(() => reviveUnit(unit.name, unit));
  await attempt(() => restoreJails(services.jails));
  if (services.restartsRsyslog) await attempt(() => tell({ kind: 'restart rsyslog' }));
}

async function goOn(root: string, journal: Journal): Promise<string[]> {
  finishFileChanges(root, journal.changes);
  return removeLeftovers(root, journal.leftovers);
}

/** Directories that go with the journal, if nothing else is in them. */
export function lastDirectories({ verb, made }: Journal): readonly string[] {
  return verb === 'uninstall' ? [STATE_DIRECTORY] : made;
}

export function finishFileChanges(root: string, changes: readonly JournalChange[]): void {
  for (const change of changes) finishFileChange(root, change);
}

/** @returns what remains, and why */
export async function removeLeftovers(root: string, leftovers: Leftovers): Promise<string[]> {
  const problems: string[] = [];
  const attempt = attempts(problems);
  for (const { directory, names } of leftovers.files)
    await attempt(() => removeFilesIn(join(root, directory), new RegExp(`^(?:${names})$`)));
  for (const directory of leftovers.directories) await attempt(() => removeIfEmpty(join(root, directory)));
  for (const { name, unlessThere } of leftovers.users) {
    const there = unlessThere.filter((directory) => existsSync(join(root, directory)));
    if (there.length > 0) problems.push(`the user ${name} stays, since files of his do: ${there.join(', ')}`);
    else await attempt(() => removeAccount(name));
  }
  return problems;
}

type Attempt = (action: () => unknown) => Promise<void>;

/** What fails must not keep the rest from being done. */
function attempts(problems: string[]): Attempt {
  return async (action) => {
    try {
      await action();
    } catch (error) {
      problems.push(messageOf(error));
    }
  };
}
