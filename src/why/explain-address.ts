import { dirname, join } from 'node:path';
import type { Address } from '../address.ts';
import type { Configuration } from '../configuration/configuration.ts';
import type { UserError } from '../errors.ts';
import { listBans } from '../system/fail2ban-client.ts';
import { covers } from './covers.ts';
import { readBans, readEvents } from './history.ts';
import { formatReport } from './report.ts';

/** Which entry of the allow list applies to an address, in lines of text. */
export type DescribeAllowance = (configuration: Configuration, address: string) => Promise<readonly string[]>;

export interface ExplainAddressOptions {
  readonly configuration: Configuration;
  readonly address: Address;
  readonly describeAllowance: DescribeAllowance;
  /** Given each file or line that could not be read. */
  readonly onTrouble: (message: string) => void;
}

export interface Explanation {
  /** Whole lines of printable ASCII. */
  readonly text: string;
  /** Why it is not known whether the address is banned; empty when it is. */
  readonly problems: readonly UserError[];
}

/** Everything about one address: its lines, its bans, the allow list, and what lifts a ban. */
export async function explainAddress(options: ExplainAddressOptions): Promise<Explanation> {
  const { configuration, address, describeAllowance, onTrouble } = options;
  const log = configuration.log.file.path;
  // where the shipped jail has its action write
  const banLog = join(dirname(log), 'bans.log');
  const [allowance, events, banHistory] = await Promise.all([
    describeAllowance(configuration, address.text),
    readEvents({ path: log, address, onTrouble }),
    readBans({ path: banLog, address, onTrouble }),
  ]);
  const { neighbours } = banHistory;
  const concerns = (what: string, jail: string) =>
    covers(what, address) || neighbours.netOf(jail, what) !== undefined;
  const current = await listBans(concerns);
  const text = formatReport({ address: address.text, current, allowance, events, banHistory });
  return { text, problems: current.problems };
}
