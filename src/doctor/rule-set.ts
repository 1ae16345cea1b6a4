/** A chain of nftables, as `nft list ruleset` prints it. */
export interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Of a base chain; undefined for one that others jump to. */
  readonly hook: string | undefined;
  /** `filter`, `nat` or `route`. */
  readonly type: string | undefined;
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
  readonly rules: readonly string[];
}

export interface RuleSet {
  readonly chains: readonly Chain[];
  /** Each as `inet filter name`. */
  readonly sets: readonly string[];
  readonly flowtables: readonly string[];
}

/** https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks */
const PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};

/**
 * Reads what `nft -t list ruleset` prints. Its text, not its JSON: only there what iptables-nft made (as ufw and Docker
 * do) is told in nft's own words.
 */
export function parseRuleSet(text: string): RuleSet {
  const chains: Chain[] = [];
  const sets: string[] = [];
  const flowtables: string[] = [];
  let table = { family: '', name: '' };
  for (const { head, lines } of blocksOf(text, (family, name) => (table = { family, name }))) {
    const [kind, name = ''] = head.split(' ');
    const place = `${table.family} ${table.name} ${name}`;
    if (kind === 'chain') chains.push(chainOf(table, name, lines));
    else if (kind === 'flowtable') flowtables.push(place);
    else sets.push(place);
  }
  return { chains, sets, flowtables };
}

interface Block {
  readonly head: string;
  readonly lines: string[];
}

/** The chains, sets and the like, each after its table was told. */
function* blocksOf(text: string, onTable: (family: string, name: string) => void): Generator<Block> {
  let block: Block | undefined;
  for (const line of text.split('\n')) {
    const table = /^table (\S+) (\S+) \{/.exec(line);
    if (table !== null) onTable(table[1]!, table[2]!);
    else if (/^\t\S.* \{$/.test(line)) block = { head: line.trim(), lines: [] };
    else if (line === '\t}' && block !== undefined) {
      yield block;
      block = undefined;
    } else if (block !== undefined) addLine(block.lines, line);
  }
}

/** A rule whose set is long goes on in the next line. */
function addLine(lines: string[], line: string): void {
  const last = lines.at(-1);
  if (last !== undefined && count(last, '{') > count(last, '}'))
    lines[lines.length - 1] = `${last} ${line.trim()}`;
  else if (line.trim() !== '') lines.push(line.trim());
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}

function chainOf(table: { family: string; name: string }, name: string, lines: readonly string[]): Chain {
  const [first = '', ...rest] = lines;
  const base = /^type (\S+) hook (\S+)(?: devices? .*?)? priority ([^;]+);(?: policy (\w+);)?/.exec(first);
  return {
    family: table.family,
    table: table.name,
    name,
    type: base?.[1],
    hook: base?.[2],
    priority: readPriority(base?.[3] ?? '0'),
    policy: base?.[4] === 'drop' ? 'drop' : 'accept',
    rules: base === null ? lines : rest,
  };
}

/** `filter`, `-310`, `raw - 10`. */
function readPriority(text: string): number {
  const [, name = '', sign = '+', offset = '0'] = /^(-?\w+)(?: ([+-]) (\d+))?$/.exec(text.trim()) ?? [];
  const start = PRIORITIES[name] ?? Number(name);
  return sign === '-' ? start - Number(offset) : start + Number(offset);
}
