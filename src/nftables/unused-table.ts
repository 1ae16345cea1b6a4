import type { PortRange } from '../configuration/ports.ts';

/** The family and the name of the table. Nothing else is in it, and nothing of it elsewhere. */
export const UNUSED_TABLE = 'inet honeyport_unused';

/** A port that had a service stays out of the decoy for as long after. */
export const SECONDS_IN_USE = 86_400;

/** What hands connections to unused ports over to the listener. */
export interface UnusedRules {
  /** Where the listener takes them. */
  readonly port: number;
  /** What its other decoys' sockets bear; undefined: nothing. */
  readonly mark: number | undefined;
  /** What is left alone in any case: rising, none touching another. */
  readonly except: readonly PortRange[];
  /** Whether this host tracks connections, which DNAT needs. A rule that asks for them would have it begin to. */
  readonly tracksConnections: boolean;
  /** Ports that are in use at this moment. */
  readonly inUse: readonly number[];
  /** Ports that were in use, with the seconds for which they still stay out; undefined: what is loaded stays. */
  readonly remembered: ReadonlyMap<number, number> | undefined;
}

/**
 * A script for `nft -f`, one transaction: it makes the table, or brings an older one to what is wanted, which goes on
 * to know the ports that it has seen in use.
 */
export function unusedTableScript(rules: UnusedRules): string {
  return `${HEAD}
${tableLines(rules).join('\n')}
`;
}

/** A script for `nft -f` that takes the table away, also where there is none. */
export const UNUSED_TABLE_REMOVAL = `add table ${UNUSED_TABLE}\ndelete table ${UNUSED_TABLE}\n`;

const HEAD = `# What honeyport's decoy with \`ports: unused\` needs: the kernel hands over what is for a port that nobody uses.
# Load, or replace: honeyport rules | nft -f -     Remove: honeyport rules --remove | nft -f -
# This script knows which ports are in use now. Make it anew instead of keeping it: honeyport-rules.timer does.`;

const CHAINS = {
  // After DNAT, so that published ports are not local any more.
  prerouting: 'type filter hook prerouting priority dstnat + 10; policy accept;',
  input: 'type filter hook input priority filter - 10; policy accept;',
};

function tableLines(rules: UnusedRules): string[] {
  return [
    `add table ${UNUSED_TABLE}`,
    `add set ${UNUSED_TABLE} inuse { type inet_service; flags dynamic,timeout; timeout ${SECONDS_IN_USE}s; size 65535; }`,
    `add set ${UNUSED_TABLE} remembered { type inet_service; flags timeout; size 65535; }`,
    ...Object.entries(CHAINS).flatMap(([name, hook]) => newChain(name, hook)),
    ...inUseLines(rules.inUse),
    ...rememberedLines(rules.remembered),
    ...unusedRules(rules).map(({ chain, rule }) => `add rule ${UNUSED_TABLE} ${chain} ${rule}`),
  ];
}

/** The rules of the table, in order, as nft takes them. */
export function unusedRules(rules: UnusedRules): { readonly chain: string; readonly rule: string }[] {
  return [
    ...preroutingRules(rules).map((rule) => ({ chain: 'prerouting', rule })),
    ...inputRules(rules).map((rule) => ({ chain: 'input', rule })),
  ];
}

/** Deleted, instead of flushed, it may have hooked elsewhere before. */
function newChain(name: string, hook: string): string[] {
  const chain = `chain ${UNUSED_TABLE} ${name}`;
  return [`add ${chain}`, `delete ${chain}`, `add ${chain} { ${hook} }`];
}

/** Before 6.12, the kernel leaves the timeout of an element that is there as it is: it is made anew. */
function inUseLines(ports: readonly number[]): string[] {
  if (ports.length === 0) return [];
  const elements = `element ${UNUSED_TABLE} inuse { ${ports.join(', ')} }`;
  return [`add ${elements}`, `delete ${elements}`, `add ${elements}`];
}

/** A set of its own: what the kernel itself has seen must not get a shorter time by it. */
function rememberedLines(remembered: UnusedRules['remembered']): string[] {
  if (remembered === undefined) return [];
  const elements = [...remembered].map(([port, seconds]) => `${port} timeout ${seconds}s`);
  return [
    `flush set ${UNUSED_TABLE} remembered`,
    ...(elements.length === 0 ? [] : [`add element ${UNUSED_TABLE} remembered { ${elements.join(', ')} }`]),
  ];
}

/** The comments name modules, because all that nft says where one is missing is the rule. */
function preroutingRules({ port, mark, except, tracksConnections }: UnusedRules): string[] {
  const notOurs = mark === undefined ? '' : ` socket mark != 0x${mark.toString(16)}`;
  // of others, as proxies have them, or to which others' rules have handed the packet over
  const others = `tcp dport != ${port} socket transparent 1${notOurs}`;
  // without a mark a connection of the listener's own cannot be told from a listening socket of one address
  const contacted = mark === undefined ? `${others} socket wildcard 1` : others;
  return [
    'iif lo accept comment "this host with itself: what is refused stays refused"',
    'meta l4proto != tcp accept comment "not TCP"',
    ...(tracksConnections
      ? [
          `${SYN} ct status dnat update @inuse { ct original proto-dst } comment "a port that DNAT publishes is in use for a day"`,
        ]
      : []),
    'fib daddr type != local accept comment "forwarded, or published by DNAT (needs nft_fib)"',
    `${SYN} socket transparent 0${notOurs} update @inuse { tcp dport } comment "a service is contacted: its port is in use for a day (needs nft_socket)"`,
    'meta l4proto tcp socket transparent 0 accept comment "a service, or a connection, owns this packet"',
    `${SYN} ${contacted} update @inuse { tcp dport } comment "a transparent service is contacted: its port is in use for a day"`,
    `${others} accept comment "a transparent service, or a connection, owns this packet"`,
    ...(except.length === 0 ? [] : [`tcp dport { ${rangesOf(except)} } accept comment "except"`]),
    ...USED.map((set) => `tcp dport @${set} accept comment "a service that is away keeps its port"`),
    `meta l4proto tcp tproxy to :${port} accept comment "nobody uses this port: the listener has it (needs nft_tproxy)"`,
  ];
}

/** The first packet of a connection. */
const SYN = 'tcp flags & (fin | syn | rst | ack) == syn';

const USED = ['inuse', 'remembered'];

/** The listener's own port can be contacted without being handed over. Where it is no decoy, it is closed. */
function inputRules({ port, except }: UnusedRules): string[] {
  const isExcepted = except.some(({ first, last }) => first <= port && port <= last);
  const cases = isExcepted ? [''] : ['iif lo ', ...USED.map((set) => `tcp dport @${set} `)];
  return cases.map(
    (which) =>
      `${which}tcp dport ${port} socket transparent 1 reject with tcp reset comment "no decoy: the listener's own port"`,
  );
}

function rangesOf(ranges: readonly PortRange[]): string {
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}
