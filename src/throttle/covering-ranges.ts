import type { PortRange } from '../configuration/ports.ts';

/** Ports in a bounded number of ranges, which never leave one out. */
export interface CoveringRanges {
  /** @param port 0 to 65535 */
  add(port: number): void;
  /**
   * Ascending, with at least one port between each two: exactly the ports that were added, until they need more than
   * `most` ranges. From then on the two with the fewest ports between them are joined for each range too many, so that
   * ports are covered that were not added. A new list at each reading.
   */
  readonly ranges: PortRange[];
}

/** @param most at least 1 */
export function createCoveringRanges(most = 64): CoveringRanges {
  return new SortedRanges(most);
}

/** A class, since there is one for each source that is counted: closures would take as much memory again. */
class SortedRanges implements CoveringRanges {
  /** First and last port of each range in turn; room for one range more than may stay, which is put in and then joined. */
  readonly #ends: Uint16Array;
  #size = 0;

  constructor(most: number) {
    this.#ends = new Uint16Array(2 * (most + 1));
  }

  get ranges(): PortRange[] {
    return Array.from({ length: this.#size }, (_, at) => ({ first: this.#first(at), last: this.#last(at) }));
  }

  add(port: number): void {
    const next = this.#firstAbove(port);
    const before = next - 1;
    if (before >= 0 && port <= this.#last(before)) return;
    const touchesBefore = before >= 0 && port === this.#last(before) + 1;
    const touchesNext = next < this.#size && port === this.#first(next) - 1;
    if (touchesBefore && touchesNext) this.#join(before);
    else if (touchesBefore) this.#ends[2 * before + 1] = port;
    else if (touchesNext) this.#ends[2 * next] = port;
    else this.#insert(next, port);
  }

  #first(at: number): number {
    return this.#ends[2 * at]!;
  }

  #last(at: number): number {
    return this.#ends[2 * at + 1]!;
  }

  /** Which range is the first that begins above a port. */
  #firstAbove(port: number): number {
    let low = 0;
    let high = this.#size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#first(middle) > port) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #insert(at: number, port: number): void {
    this.#ends.copyWithin(2 * at + 2, 2 * at, 2 * this.#size);
    this.#ends.fill(port, 2 * at, 2 * at + 2);
    this.#size += 1;
    if (2 * this.#size === this.#ends.length) this.#join(this.#nearest());
  }

  /** Makes one of a range and the next: the two ends between them go. */
  #join(at: number): void {
    this.#ends.copyWithin(2 * at + 1, 2 * at + 3, 2 * this.#size);
    this.#size -= 1;
  }

  /** Which range has the fewest ports between itself and the next; among equals the first. */
  #nearest(): number {
    let nearest = 0;
    let least = Number.POSITIVE_INFINITY;
    for (let at = 0; at + 1 < this.#size; at++) {
      const gap = this.#first(at + 1) - this.#last(at);
      if (gap >= least) continue;
      nearest = at;
      least = gap;
    }
    return nearest;
  }
}
