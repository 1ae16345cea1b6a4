import { parseNetwork } from '../network.ts';
import { commentOf, isOwnComment } from './comment.ts';
import { firstEnd, newestWants, type Want } from './want.ts';

/** An item of an IP list, with whatever the API says of it beyond the two. */
export interface ListItem {
  readonly ip: string;
  readonly comment?: string | null;
}

/** What becomes of a list. */
export interface ListPlan {
  /** The whole list as it is to be: foreign items as they are, then ours, the newest first. */
  readonly items: readonly ListItem[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Ours that stay with another comment. */
  readonly changed: readonly string[];
  readonly foreign: number;
  /** Wanted addresses that will be in the list, whoever put them there. */
  readonly present: number;
  /** Wanted addresses that there is no room for. */
  readonly leftOut: number;
  /** As in an outcome. */
  readonly nextEnd: number | undefined;
}

export interface PlanOptions {
  readonly sensor: string;
  readonly maxItems: number;
}

/**
 * What a list is to be. Foreign items stay, also beyond `maxItems`; an address that one of them names is not added again.
 *
 * @param wants each address once, none past its end
 */
export function planList(items: readonly ListItem[], wants: Iterable<Want>, options: PlanOptions): ListPlan {
  const { sensor, maxItems } = options;
  const isOwn = ({ comment }: ListItem) => isOwnComment(comment, sensor);
  const foreign = items.filter((item) => !isOwn(item));
  const before = new Map(items.filter(isOwn).map((item) => [networkText(item.ip), item]));
  const elsewhere = new Set(foreign.map(({ ip }) => networkText(ip)));
  const all = [...wants];
  const missing = all.filter(({ ip }) => !elsewhere.has(networkText(ip)));
  const taken = newestWants(missing, maxItems - foreign.length);
  const after = new Map(
    taken.map((want) => [networkText(want.ip), { ip: want.ip, comment: commentOf(want, sensor) }]),
  );
  const isSame = (network: string) => before.get(network)?.comment === after.get(network)!.comment;
  const names = [...after.keys()];
  return {
    items: [...foreign, ...after.values()],
    added: names.filter((network) => !before.has(network)).map((network) => after.get(network)!.ip),
    removed: removedFrom(items.filter(isOwn), after),
    changed: names
      .filter((network) => before.has(network) && !isSame(network))
      .map((network) => after.get(network)!.ip),
    foreign: foreign.length,
    present: all.length - missing.length + taken.length,
    leftOut: missing.length - taken.length,
    nextEnd: firstEnd(taken),
  };
}

/** Whether a list is as planned already. */
export function isDone({ added, removed, changed }: ListPlan): boolean {
  return added.length + removed.length + changed.length === 0;
}

/** Ours that go: no longer wanted, or there a second time. */
function removedFrom(own: readonly ListItem[], after: ReadonlyMap<string, ListItem>): string[] {
  const seen = new Set<string>();
  return own.flatMap(({ ip }) => {
    const network = networkText(ip);
    const stays = after.has(network) && !seen.has(network);
    seen.add(network);
    return stays ? [] : [ip];
  });
}

/** The API may write an address with the length of its prefix, or in capitals. What is neither is its own name. */
function networkText(ip: string): string {
  const network = parseNetwork(ip);
  return 'expected' in network ? ip : network.text;
}
