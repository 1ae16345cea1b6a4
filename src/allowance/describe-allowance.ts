import { allowExportPath, readExportedAddresses } from '../allow/allow-export.ts';
import { type AllowList, createAllowList } from '../allow/allow-list.ts';
import { applies } from '../allow/allow-table.ts';
import { lastDay } from '../allow/expiry.ts';
import type { AllowEntry, AllowedNetwork } from '../configuration/allow-entry.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { printable } from '../configuration/printable.ts';
import { formatRanges } from '../format/ports.ts';
import { createGuard, type GuardFindings } from '../guard/guard.ts';
import { loadLoginSessions } from '../native/native.ts';
import { resolveHostName } from '../resolve-host-name.ts';

export interface AllowanceQuestion {
  readonly configuration: Configuration;
  /** Canonical text. */
  readonly address: string;
  /** A decoy's port; undefined: any. */
  readonly port: number | undefined;
  /** Given what could not be found out, as a host name that does not resolve. */
  readonly onTrouble: (message: string) => void;
}

/** Who belongs here, by the configuration as it is now. */
export interface Allowance {
  /** One for each entry or guard that covers the address, then what a knock would be. */
  readonly lines: readonly string[];
  /** Whether a knock, on this port or without one on some port, would be a `connect`. */
  readonly isBannable: boolean;
}

/** All host names together; a name server that is out of reach holds nobody up for longer. */
const RESOLVING_MS = 5000;
const QUESTIONS_AT_A_TIME = 8;

/** Looks an address up as the listener would: in the entries, the addresses of host names, and what the guard finds. */
export async function describeAllowance(question: AllowanceQuestion): Promise<Allowance> {
  const { configuration, address, port, onTrouble } = question;
  const allowList = createAllowList();
  allowList.useEntries(configuration.allow);
  const addresses = await resolveNames(configuration, onTrouble);
  allowList.useHostNames((name) => addresses.get(name.toLowerCase()) ?? []);
  const guarded = configuration.guard ? readGuard(onTrouble) : undefined;
  allowList.useGuarded(guarded?.allowed ?? []);
  return allowanceOf(allowList, guarded, address, port);
}

function allowanceOf(
  allowList: AllowList,
  guarded: GuardFindings | undefined,
  address: string,
  port: number | undefined,
): Allowance {
  const now = Date.now();
  const covering = allowList.findAll(address);
  const lines = covering.map((allowed) => coverLine(allowed, port, now));
  const isAllowed = covering.some((allowed) => counts(allowed, port, now));
  if (isAllowed) return { lines, isBannable: false };
  if (guarded?.bridges.has(address)) return { lines: [...lines, BRIDGE], isBannable: false };
  return { lines: [...lines, `a knock${whereBannable(covering, port)} would be bannable`], isBannable: true };
}

function whereBannable(covering: readonly AllowedNetwork[], port: number | undefined): string {
  if (port !== undefined) return ` on port ${port}`;
  return covering.some(({ ports }) => ports !== undefined) ? ' on any other port' : '';
}

const BRIDGE =
  'a knock would be withheld (reason=nat): a bridge of Docker or the like would have this address in a network of this host';

/** Without a port, what is limited to some does not count: a knock on another one would be bannable. */
function counts(allowed: AllowedNetwork, port: number | undefined, now: number): boolean {
  if (port !== undefined) return applies(allowed, port, now);
  return allowed.ports === undefined && applies(allowed, 0, now);
}

function coverLine(allowed: AllowedNetwork, port: number | undefined, now: number): string {
  const { source, ports, until } = allowed;
  const limits = ports === undefined ? '' : ` on port ${formatRanges(ports)}`;
  const end = until === undefined ? '' : ` until ${lastDay(until)}`;
  return `${verdict(allowed, port, now)} by ${source}${limits}${end}${placeOf(allowed)}`;
}

function verdict(allowed: AllowedNetwork, port: number | undefined, now: number): string {
  if (allowed.until !== undefined && allowed.until <= now) return 'no longer allowed';
  return port === undefined || applies(allowed, port, now) ? 'allowed' : 'not allowed on this port';
}

function placeOf(allowed: AllowedNetwork): string {
  if (!isEntry(allowed)) return '';
  const { file, line, comment } = allowed;
  return printable(`, ${file}:${line}${comment ? `: ${comment}` : ''}`);
}

function isEntry(allowed: AllowedNetwork): allowed is AllowEntry & AllowedNetwork {
  return 'file' in allowed;
}

function readGuard(onTrouble: (message: string) => void): GuardFindings {
  const guard = createGuard({ logindSessions: loadLoginSessions(), onChange: () => {}, onTrouble });
  guard.close();
  return guard.findings;
}

/** What each host name of the configuration stands for; what the running listener last knew where it does not resolve. */
async function resolveNames(
  { allow, log }: Configuration,
  onTrouble: (message: string) => void,
): Promise<Map<string, readonly string[]>> {
  const names = new Set(
    allow.flatMap(({ network, source }) => (network === undefined ? [source.toLowerCase()] : [])),
  );
  const addresses = new Map<string, readonly string[]>(
    readExportedAddresses(allowExportPath(log.file.path), names),
  );
  const signal = AbortSignal.timeout(RESOLVING_MS);
  const waiting = [...names];
  const askNext = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const { ipv4, ipv6, failure } = await resolveHostName(name, signal);
      if (failure === undefined) addresses.set(name, [...(ipv4 ?? []), ...(ipv6 ?? [])]);
      else onTrouble(`host name ${name} does not resolve (${failure}); what it stood for before counts`);
    }
  };
  await Promise.all(Array.from({ length: QUESTIONS_AT_A_TIME }, askNext));
  return addresses;
}
