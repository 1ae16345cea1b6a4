import { holds, type Knock, parseRule, type Rule } from './rule.ts';
import type { Chain, RuleSet } from './rule-set.ts';

/** What may become of a knock in a chain; `continue` where the chain does not decide. */
export type Fate = 'accept' | 'drop' | 'continue' | `${'dnat' | 'redirect'}${string}`;

/** Where chains jump to each other without end, the kernel refuses them. */
const MOST_JUMPS = 32;

/** Chains of which the rules are read once, for many knocks. */
export interface PacketPath {
  /** Every fate that a knock may have in a base chain; one alone where the rules leave no doubt. */
  fates(chain: Chain, knock: Knock): ReadonlySet<Fate>;
}

export function createPacketPath({ chains }: RuleSet): PacketPath {
  const rules = new Map<Chain, Rule[]>();
  const byName = new Map(chains.map((chain) => [keyOf(chain, chain.name), chain]));

  return {
    fates(chain, knock) {
      const fates = walk(chain, knock, 0);
      if (fates.delete('continue')) fates.add(chain.policy);
      return fates;
    },
  };

  function walk(chain: Chain, knock: Knock, jumps: number): Set<Fate> {
    const fates = new Set<Fate>();
    if (jumps > MOST_JUMPS) return fates.add('continue');
    for (const rule of rulesOf(chain)) {
      const truth = rule.holds(knock);
      if (truth === false) continue;
      const outcomes = outcomesOf(rule, chain, knock, jumps);
      // one that may hold leaves the rules after it in force, too
      const goesOn = outcomes.delete('next') || truth === undefined;
      for (const fate of outcomes) fates.add(fate as Fate);
      if (!goesOn) return fates;
    }
    return fates.add('continue');
  }

  function outcomesOf(rule: Rule, chain: Chain, knock: Knock, jumps: number): Set<Fate | 'next'> {
    if (rule.map === undefined) return outcomesOfVerdict(rule.verdict, chain, knock, jumps);
    const { key, entries } = rule.map;
    const fates = new Set<Fate | 'next'>(entries.length === 0 ? ['accept', 'next'] : []);
    let isDecided = false;
    for (const { value, verdict } of entries) {
      const truth = holds(key, value, knock);
      if (truth === false) continue;
      for (const fate of outcomesOfVerdict(verdict, chain, knock, jumps)) fates.add(fate);
      isDecided ||= truth === true;
    }
    return isDecided ? fates : fates.add('next');
  }

  function outcomesOfVerdict(verdict: string, chain: Chain, knock: Knock, jumps: number): Set<Fate | 'next'> {
    const [word = '', target = ''] = verdict.split(' ');
    switch (word) {
      case 'accept':
      case 'drop':
        return new Set([word]);
      case 'reject':
        return new Set(['drop'] as const);
      case 'return':
        return new Set(['continue'] as const);
      case 'dnat':
      case 'redirect':
        return new Set([verdict as Fate]);
      case 'queue':
        // a program decides
        return new Set(['accept', 'drop'] as const);
      case 'jump':
      case 'goto':
        return called(target, word === 'goto', chain, knock, jumps);
      default:
        return new Set(['next'] as const);
    }
  }

  function called(
    name: string,
    isGoto: boolean,
    chain: Chain,
    knock: Knock,
    jumps: number,
  ): Set<Fate | 'next'> {
    const target = byName.get(keyOf(chain, name));
    const fates: Set<Fate | 'next'> =
      target === undefined ? new Set(['continue']) : walk(target, knock, jumps + 1);
    if (!isGoto && fates.delete('continue')) fates.add('next');
    return fates;
  }

  function rulesOf(chain: Chain): Rule[] {
    const known = rules.get(chain) ?? chain.rules.map(parseRule);
    rules.set(chain, known);
    return known;
  }
}

function keyOf({ family, table }: Chain, name: string): string {
  return `${family} ${table} ${name}`;
}
