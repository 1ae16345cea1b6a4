import { existsSync } from 'node:fs';
import type { Configuration, Exceptions } from '../configuration/configuration.ts';
import { handOverPort } from '../configuration/hand-over-port.ts';
import { mergeRanges, readPortList } from '../configuration/ports.ts';
import { formatRanges } from '../format/ports.ts';
import { exceptedPorts } from '../nftables/excepted-ports.ts';
import { UNUSED_TABLE, type UnusedRules, unusedRules } from '../nftables/unused-table.ts';
import type { ProcessStatus } from '../system/process-status.ts';
import type { Rules } from './check-nftables.ts';
import { type Host, printed } from './host.ts';
import { finding, note, ok, orOk, type Result, skipped } from './result.ts';
import type { Chain, RuleSet } from './rule-set.ts';

export interface UnusedSubject {
  readonly host: Host;
  readonly configuration: Configuration;
  readonly listeners: readonly ProcessStatus[];
  readonly rules: Rules;
}

/** linux/capability.h */
const CAP_NET_ADMIN = 1n << 12n;
const CAP_NET_RAW = 1n << 13n;
/** After DNAT. */
const PRIORITY = -90;

const LOAD = 'systemctl enable --now honeyport-rules.timer, or by hand: honeyport rules | nft -f -';
const AGAIN = 'systemctl start honeyport-rules, or by hand: honeyport rules | nft -f -';

/** Whether the kernel hands over to the listener what is for ports that nobody uses. */
export async function checkUnused(subject: UnusedSubject): Promise<Result[]> {
  const { host, configuration, listeners, rules } = subject;
  const port = handOverPort(configuration);
  const exceptions = configuration.decoys.find(({ unused }) => unused !== undefined)?.unused;
  if (port === undefined || exceptions === undefined) return withoutDecoy(rules);
  const right = rightResults(listeners);
  if ('unknown' in rules)
    return [...right, skipped(`the rules are not known: ${rules.unknown.message}`, rules.unknown.advice)];
  const chains = ourChains(rules.ruleSet);
  if (chains.length === 0) return [...right, ...(await missingResults(host))];
  const expected = expectedRules(host, configuration, exceptions, port, chains);
  const results = [...right, ...differences(chains, expected), ...(await timerResults(host))];
  return orOk(results, `what is for unused ports is handed over to the listener at port ${port}`);
}

function withoutDecoy(rules: Rules): Result[] {
  if ('unknown' in rules || ourChains(rules.ruleSet).length === 0)
    return [ok('no decoy has `ports: unused`, no rules are needed')];
  return [
    note(
      `the table ${UNUSED_TABLE} is loaded, and no decoy has \`ports: unused\``,
      'honeyport rules --remove | nft -f -',
    ),
  ];
}

function ourChains({ chains }: RuleSet): Chain[] {
  return chains.filter(({ family, table }) => `${family} ${table}` === UNUSED_TABLE);
}

/** Without it the socket cannot be one that connections to any port are handed to. */
function rightResults([listener]: readonly ProcessStatus[]): Result[] {
  if (listener === undefined || (listener.capabilities & (CAP_NET_RAW | CAP_NET_ADMIN)) !== 0n) return [];
  return [
    finding(
      `the listener (uid ${listener.uid}) has no CAP_NET_RAW: it takes nothing for unused ports`,
      'give the service AmbientCapabilities=CAP_NET_RAW, as the shipped honeyport.service does, and restart it',
    ),
  ];
}

async function missingResults(host: Host): Promise<Result[]> {
  const lacking = host.isRoot ? await lackingModules(host) : [];
  if (lacking.length === 0)
    return [finding('the rules are not loaded: nobody who contacts an unused port is seen', LOAD)];
  return [
    finding(
      `the rules cannot be loaded: this kernel, or nft, lacks ${lacking.join(' and ')}`,
      `modprobe ${lacking[0]} says why; in a container, on the host itself`,
    ),
  ];
}

/** Each module with a rule that needs it. The kernel looks at it and does nothing. */
const PROBES: Readonly<Record<string, string>> = {
  nft_fib: 'fib daddr type local accept',
  nft_socket: 'socket transparent 1 accept',
  nft_tproxy: 'meta l4proto tcp tproxy to :1',
};

async function lackingModules(host: Host): Promise<string[]> {
  const lacking: string[] = [];
  for (const [name, rule] of Object.entries(PROBES)) {
    const script = [
      'add table inet honeyport_check',
      'add chain inet honeyport_check c { type filter hook prerouting priority -90 ; policy accept ; }',
      `add rule inet honeyport_check c ${rule}`,
    ].join(' ; ');
    if ((await printed(host, 'nft', '-c', script)) === undefined) lacking.push(name);
  }
  return lacking;
}

function expectedRules(
  { root }: Host,
  { mark }: Configuration,
  exceptions: Exceptions,
  port: number,
  chains: readonly Chain[],
): UnusedRules {
  // a host without any connection to track may have had one when they were printed
  const tracksConnections = chains.some(({ rules }) => rules.some((rule) => / ct status dnat /.test(rule)));
  const except = exceptedPorts(exceptions, `${root}/proc`);
  return { port, mark, except, tracksConnections, inUse: [], remembered: undefined };
}

/** What an edit of the configuration, or somebody else, has made differ. */
function differences(chains: readonly Chain[], expected: UnusedRules): Result[] {
  const rules = chains.flatMap((chain) => chain.rules);
  const found = facts(rules);
  const wanted = facts(unusedRules(expected).map(({ rule }) => rule));
  const named = FACTS.filter((fact) => found[fact] !== wanted[fact]).map((fact) =>
    finding(
      `the loaded rules are not those of the configuration: ${fact} ${found[fact]}, expected ${wanted[fact]}`,
      AGAIN,
    ),
  );
  if (named.length > 0) return named;
  const hook = chains.find(({ name }) => name === 'prerouting');
  const isWhole = rules.length === unusedRules(expected).length && hook?.hook === 'prerouting';
  return isWhole && hook.priority === PRIORITY
    ? []
    : [finding(`the table ${UNUSED_TABLE} was changed, or is of another version`, AGAIN)];
}

const FACTS = ['port', 'mark', 'except'] as const;

function facts(rules: readonly string[]): Record<(typeof FACTS)[number], string> {
  const one = (pattern: RegExp) =>
    rules.map((rule) => pattern.exec(rule)?.[1]).find((text) => text !== undefined);
  const mark = one(/ socket mark != (\S+) /);
  return {
    port: one(/ tproxy to :(\d+)\b/) ?? 'none',
    mark: mark === undefined ? 'off' : `0x${Number(mark).toString(16)}`,
    except: rangesOf(one(/^tcp dport (\{[^}]*\}|[\d-]+) accept\b/)),
  };
}

/** nft prints touching ports as a range or not, as its version has it. */
function rangesOf(text = ''): string {
  const ranges = readPortList(text.replace(/[{}\s]/g, ''));
  return typeof ranges === 'string' ? 'none' : formatRanges(mergeRanges(ranges));
}

async function timerResults(host: Host): Promise<Result[]> {
  if (!existsSync(`${host.root}/run/systemd/system`)) return [];
  const state = async (question: string) =>
    (await printed(host, 'systemctl', question, 'honeyport-rules.timer')) !== undefined;
  if ((await state('is-active')) && (await state('is-enabled'))) return [];
  return [
    note(
      'honeyport-rules.timer is not on: services that begin now are not known, and the next boot loads no rules',
      'systemctl enable --now honeyport-rules.timer',
    ),
  ];
}
