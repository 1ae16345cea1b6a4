import type { Configuration } from '../configuration/configuration.ts';
import { handOverPort } from '../configuration/hand-over-port.ts';
import { UnreadableFile } from '../configuration/read.ts';
import { UserError } from '../errors.ts';
import { areConnectionsTracked } from '../nftables/connection-tracking.ts';
import { exceptedPorts } from '../nftables/excepted-ports.ts';
import { UNUSED_TABLE_REMOVAL, unusedTableScript } from '../nftables/unused-table.ts';
import { readListeningSockets } from '../system/listening-sockets.ts';
import { portsInUse } from './ports-in-use.ts';
import { type InUse, type Memory, rememberPorts } from './remembered-ports.ts';
import { requireSettledHost } from './uptime.ts';

export interface MakeRulesOptions {
  readonly configuration: Configuration;
  /** The file in which ports that were in use are remembered; undefined: nowhere. */
  readonly memory: string | undefined;
  /** Where the kernel's files are. */
  readonly proc?: string;
}

/** What `honeyport rules` tells nft to do, and the user. */
export interface MadeRules {
  readonly script: string;
  readonly warnings: readonly string[];
}

/**
 * The script for a configuration, and for the ports that this host uses at this moment.
 * @throws UserError when the host was booted a moment ago, or the kernel does not tell what is in use
 */
export function makeRules(options: MakeRulesOptions): MadeRules {
  try {
    return rulesOf(options);
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
    throw new UserError(`a file of /proc cannot be read: ${error.message}`, { exitCode: 1 });
  }
}

function rulesOf({ configuration, memory, proc = '/proc' }: MakeRulesOptions): MadeRules {
  const port = handOverPort(configuration);
  const exceptions = configuration.decoys.find(({ unused }) => unused !== undefined)?.unused;
  if (port === undefined || exceptions === undefined) return NO_RULES;
  requireSettledHost(proc);
  const inUse = portsInUse(readListeningSockets(proc), configuration);
  const now = { ports: inUse, tracksConnections: areConnectionsTracked(proc) };
  const { remembered, tracksConnections, problems } =
    memory === undefined ? withoutMemory(now) : rememberPorts(memory, now, Date.now());
  const except = exceptedPorts(exceptions, proc);
  const script = unusedTableScript({
    port,
    mark: configuration.mark,
    except,
    tracksConnections,
    inUse,
    remembered,
  });
  return { script, warnings: problems };
}

const NO_RULES: MadeRules = {
  script: UNUSED_TABLE_REMOVAL,
  warnings: ['no decoy has ports: unused, so these rules take away what was loaded'],
};

function withoutMemory({ tracksConnections }: InUse): Omit<Memory, 'remembered'> & { remembered: undefined } {
  return { remembered: undefined, tracksConnections, problems: [] };
}
