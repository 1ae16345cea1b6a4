import type { Dome9Configuration } from '../configuration/dome9.ts';
import { messageOf, UserError } from '../errors.ts';
import { openAccount } from './account.ts';
import { ApiError } from './api-error.ts';
import { hintOf } from './attempt.ts';
import { targetName } from './status.ts';
import type { Preview } from './target.ts';
import { isRunning, type Want } from './want.ts';
import { createWantedReader, WantedError } from './wanted.ts';

export interface PreviewOptions {
  readonly configuration: Dome9Configuration;
  readonly version: string;
  /** Is told what the user ought to know. */
  readonly onNotice: (message: string) => void;
}

/**
 * What the service would change in the account at this moment, as text; changes nothing. Before anything was ever
 * recorded the service waits: the account is asked all the same, so that the key can be tried.
 *
 * @throws UserError when the account cannot be asked, or it cannot be known what is wanted
 */
export async function previewChanges({ configuration, version, onNotice }: PreviewOptions): Promise<string> {
  const account = openAccount(configuration, version, onNotice);
  try {
    const wants = readWants(configuration.state, onNotice);
    const changes = await account.target.preview(wants ?? []);
    const waiting = { ...changes, added: [], removed: [], changed: [] };
    return describe(targetName(configuration), wants === undefined ? waiting : changes);
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof WantedError)) throw error;
    throw new UserError(messageOf(error), { hint: hintOf(error), exitCode: 1 });
  } finally {
    await account.close();
  }
}

/**
 * Undefined, and told, where nothing was ever recorded.
 * @throws WantedError
 */
function readWants(state: string, onNotice: (message: string) => void): Want[] | undefined {
  try {
    const now = Date.now() / 1000;
    return [...createWantedReader(state).read().wants.values()].filter((want) => isRunning(want, now));
  } catch (error) {
    if (!(error instanceof WantedError && error.isMissing)) throw error;
    onNotice(`${error.message}; until then nothing is changed in the account`);
    return undefined;
  }
}

function describe(target: string, { added, removed, changed, leftOut, foreign }: Preview): string {
  const rows = [
    ...added.map((ip) => `+ ${ip}`),
    ...removed.map((ip) => `- ${ip}`),
    ...changed.map((ip) => `~ ${ip}`),
  ];
  const rest = foreign === undefined ? '' : `, ${foreign} items that are not ours stay`;
  const missing = leftOut === 0 ? '' : `, ${leftOut} wanted addresses have no room`;
  const counts = `${added.length} to add, ${removed.length} to remove, ${changed.length} to change`;
  return `${[`${target}: ${counts}${missing}${rest}`, ...rows].join('\n')}\n`;
}
