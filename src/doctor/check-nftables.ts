import { type Fail2banFacts, plannedOption } from './fail2ban-facts.ts';
import { type Host, printed } from './host.ts';
import { finding, note, orOk, type Result, RUN_AS_ROOT, skipped } from './result.ts';
import { type Chain, parseRuleSet, type RuleSet } from './rule-set.ts';

/** Where the action's chain stands, as honeyport_nftables.py has it: before conntrack and DNAT. */
const PRIORITY = -310;
const OLDEST = [1, 0, 6];

/** The rules of this host, or why they are not known. */
export type Rules = { readonly ruleSet: RuleSet } | { readonly unknown: Result };

export async function readRules(host: Host): Promise<Rules> {
  const { end, stdout, stderr } = await host.run('nft', '-t', 'list', 'ruleset');
  if (end.kind === 'exit' && end.code === 0) return { ruleSet: parseRuleSet(stdout) };
  if (end.kind === 'missing') return { unknown: finding('nft is not installed', 'apt-get install nftables') };
  if (!host.isRoot) return { unknown: skipped('only root may read the rules of nftables', RUN_AS_ROOT) };
  const reason = end.kind === 'exit' ? stderr.trim().split('\n')[0]!.slice(0, 300) : end.kind;
  return {
    unknown: finding(
      `nft cannot read the rules: ${reason}`,
      'in a container it needs the capability CAP_NET_ADMIN',
    ),
  };
}

/** Whether the jails' chains are in the kernel, before everything that could let somebody pass. */
export async function checkNftables(host: Host, rules: Rules, facts: Fail2banFacts): Promise<Result[]> {
  if ('unknown' in rules) return [rules.unknown];
  const jails = facts.jails.filter(({ actions }) => actions?.includes('honeyport_nftables'));
  const version = /v(\d+)\.(\d+)\.(\d+)/.exec((await printed(host, 'nft', '--version')) ?? '');
  const old = version === null ? [] : oldVersion(version.slice(1).map(Number));
  if (jails.length === 0)
    return [...old, skipped('no jail runs that blocks with honeyport_nftables', facts.problem?.hint)];
  const found = jails.map(({ name, mode }) => chainResults(rules.ruleSet, placeOf(facts, name), mode));
  const results = [...old, ...found.flat(), ...earlierResults(rules.ruleSet, facts)];
  return orOk(
    results,
    `${jails.map(({ name }) => placeOf(facts, name).chain).join(', ')} hooks prerouting before everything else`,
  );
}

function oldVersion([major = 0, minor = 0, patch = 0]: readonly number[]): Result[] {
  const isOld =
    [major - OLDEST[0]!, minor - OLDEST[1]!, patch - OLDEST[2]!].find((difference) => difference !== 0)! < 0;
  return isOld
    ? [finding(`nft ${major}.${minor}.${patch} is older than 1.0.6`, 'apt-get install nftables')]
    : [];
}

/** Where a jail's chain and sets are. */
export interface JailPlace {
  readonly table: string;
  readonly chain: string;
  readonly jail: string;
}

export function placeOf({ plan = [] }: Fail2banFacts, jail: string): JailPlace {
  const table = plannedOption(plan, jail, 'table') ?? 'honeyport';
  const chain = plannedOption(plan, jail, 'chain') ?? 'prerouting';
  return { table, jail, chain: `${chain === '<known/chain>' ? 'prerouting' : chain}.${jail}` };
}

function chainResults({ chains, sets }: RuleSet, place: JailPlace, mode: string | undefined): Result[] {
  const { table, chain: name, jail } = place;
  const chain = chains.find((one) => one.family === 'inet' && one.table === table && one.name === name);
  const advice = `fail2ban puts it back within seconds; if not: fail2ban-client restart ${jail}`;
  if (chain === undefined)
    return [finding(`the chain inet ${table} ${name} of jail ${jail} is not in the kernel`, advice)];
  const missing = ['ban_ipv4', 'ban_ipv6'].filter((set) => !sets.includes(`inet ${table} ${set}.${jail}`));
  if (missing.length > 0)
    return [finding(`inet ${table} lacks the set ${missing.join(' and ')} of jail ${jail}`, advice)];
  if (chain.hook !== 'prerouting' || chain.priority !== PRIORITY)
    return [
      finding(`${name} hooks ${chain.hook} at ${chain.priority}, expected prerouting at ${PRIORITY}`, advice),
    ];
  const blocks = chain.rules.some((rule) => /@ban_ipv4\.\S+ .*\b(?:drop|reject)\b/.test(rule));
  return blocks || mode === 'observe'
    ? []
    : [finding(`${name} has no rule that blocks whoever is banned`, advice)];
}

/**
 * What takes packets before our chain. Another base chain cannot let anything past it: its `accept` ends that chain
 * alone. A flowtable can, and what hands packets on at the device.
 */
function earlierResults({ chains, flowtables }: RuleSet, facts: Fail2banFacts): Result[] {
  const tables = new Set(facts.jails.map(({ name }) => placeOf(facts, name).table));
  const handsOn = chains.filter(
    (chain) => chain.hook === 'ingress' && chain.rules.some((rule) => /\bfwd to\b/.test(rule)),
  );
  return [
    ...flowtables.map(flowtable),
    ...handsOn.map((chain) => passesOn(chain)),
    ...leftOver(chains, tables, facts),
  ];
}

function flowtable(name: string): Result {
  return note(
    `the flowtable ${name} takes what it forwards past all chains: connections through this host that are open when their peer is banned go on`,
    `without it they end: nft delete flowtable ${name}`,
  );
}

function passesOn({ family, table, name }: Chain): Result {
  return finding(
    `${family} ${table} ${name} hands packets on at the device, before the chain that blocks`,
    `take the rule with fwd out of it, or accept that such traffic is never blocked: nft list chain ${family} ${table} ${name}`,
  );
}

/** Rules of a jail that fail2ban does not know any more block for ever. */
function leftOver(chains: readonly Chain[], tables: ReadonlySet<string>, facts: Fail2banFacts): Result[] {
  const known = new Set(facts.jails.map(({ name }) => placeOf(facts, name).chain));
  const strange = chains.filter(
    ({ family, table, name, priority }) =>
      family === 'inet' && tables.has(table) && priority === PRIORITY && !known.has(name),
  );
  return strange.map(({ table, name }) =>
    note(
      `the chain inet ${table} ${name} belongs to no jail that runs`,
      `nft delete table inet ${table} && fail2ban-client restart`,
    ),
  );
}
