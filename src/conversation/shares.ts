/** What each source has, so that none has it all. */
export interface Shares<T> {
  add(source: string, item: T): void;
  remove(source: string, item: T): void;
  /** The oldest item of a source, other than this one, that has more than its share; undefined when none has. */
  oldestBeyondShare(forSource: string): T | undefined;
  /** Takes effect for sources that get more from now on. */
  changeShare(most: number): void;
}

export function createShares<T>(mostOfOne: number): Shares<T> {
  let share = mostOfOne;
  /** Each in the order in which they came. */
  const bySource = new Map<string, Set<T>>();
  const beyond = new Set<string>();

  return {
    add,
    remove,
    oldestBeyondShare,
    changeShare: (most) => {
      share = most;
    },
  };

  function add(source: string, item: T): void {
    const items = bySource.get(source) ?? new Set();
    bySource.set(source, items);
    items.add(item);
    if (items.size > share) beyond.add(source);
  }

  function remove(source: string, item: T): void {
    const items = bySource.get(source);
    if (items === undefined) return;
    items.delete(item);
    if (items.size <= share) beyond.delete(source);
    if (items.size === 0) bySource.delete(source);
  }

  function oldestBeyondShare(forSource: string): T | undefined {
    for (const source of beyond) {
      if (source === forSource) continue;
      const [oldest] = bySource.get(source)!;
      return oldest;
    }
    return undefined;
  }
}
