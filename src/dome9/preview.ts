import type { Dome9Configuration } from '../configuration/dome9.ts';
import { messageOf, UserError } from '../errors.ts';
import { openAccount } from './account.ts';
import { ApiError } from './api-error.ts';
import { hintOf } from './attempt.ts';
import { targetName } from './status.ts';
import type { Preview } from './target.ts';
import { isRunning } from './want.ts';
import { createWantedReader, WantedError } from './wanted.ts';

export interface PreviewOptions {
  readonly configuration: Dome9Configuration;
  readonly version: string;
  /** Is told what the user ought to know. */
  readonly onNotice: (message: string) => void;
}

/**
 * What the service would change in the account at this moment, as text; changes nothing.
 *
 * @throws UserError when the account cannot be asked, or it cannot be known what is wanted
 */
export async function previewChanges({ configuration, version, onNotice }: PreviewOptions): Promise<string> {
  const account = openAccount(configuration, version, onNotice);
  try {
    const now = Date.now() / 1000;
    const wants = [...createWantedReader(configuration.state).read().wants.values()];
    const changes = await account.target.preview(wants.filter((want) => isRunning(want, now)));
    return describe(targetName(configuration), changes);
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof WantedError)) throw error;
    throw new UserError(messageOf(error), { hint: hintOf(error), exitCode: 1 });
  } finally {
    await account.close();
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
