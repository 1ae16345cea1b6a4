import type { Dome9Configuration } from '../configuration/dome9.ts';
import { openStateFile, type StateFile } from '../system/state-file.ts';
import { openApi } from './api.ts';
import { accountMark, countRecorded, createBlacklist } from './blacklist.ts';
import { createIpList } from './ip-list.ts';
import type { Target } from './target.ts';

/** The account that a configuration names. */
export interface Account {
  readonly target: Target;
  /** Calls sent so far. */
  readonly calls: number;
  /** Breaks off what is under way. */
  close(): Promise<void>;
}

/**
 * @param onNotice is told what the user ought to know once
 * @throws UserError when a file that it names cannot be used
 */
export function openAccount(
  configuration: Dome9Configuration,
  version: string,
  onNotice: (message: string) => void,
): Account {
  const { url, key, ca, sensor, list, maxItems, state } = configuration;
  const api = openApi({ url, key, ca, version });
  const common = { api, sensor, maxItems, onNotice };
  const record = openStateFile(`${state}/posted.json`);
  if (configuration.api === 'v2') noticeRecord(record, onNotice);
  const target =
    configuration.api === 'v2'
      ? createIpList({ ...common, name: list })
      : createBlacklist({ ...common, account: accountMark(url, key.id), record, now: Date.now });
  return {
    target,
    get calls() {
      return api.calls;
    },
    close: () => api.close(),
  };
}

/** Nobody takes back what is in the v1 blacklist once v2 is in use. */
function noticeRecord(record: StateFile, onNotice: (message: string) => void): void {
  const count = countRecorded(record, Date.now());
  if (count > 0)
    onNotice(
      `${record.path}: ${count} addresses are in the v1 blacklist; take them out there and remove the file`,
    );
}
