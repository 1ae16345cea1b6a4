interface Numbered {
  readonly serial: number;
}

/** What was added, the lowest serial first, in whatever order it came: a binary heap. */
export function createSerialQueue<T extends Numbered>() {
  const heap: T[] = [];

  return { size: () => heap.length, first: () => heap[0], add, take };

  function add(item: T): void {
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.serial < item.serial) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = item;
  }

  /** The first, of at least one. */
  function take(): T {
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) sink(last);
    return first;
  }

  /** Puts an item where the first was, and those of lower serials above it. */
  function sink(item: T): void {
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && heap[child + 1]!.serial < heap[child]!.serial) child += 1;
      if (item.serial < heap[child]!.serial) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = item;
  }
}
