/** The first bytes of a stream, up to a bound. */
export interface CapturedBytes {
  /** How many more it takes. */
  readonly room: number;
  readonly bytes: Uint8Array;
  /** Takes a copy of as many as there is room for. */
  add(bytes: Uint8Array): void;
}

const FIRST_BYTES = 512;

/** Grows as bytes come, by doubling: a peer that sends them one by one costs no more than one that does not. */
export function createCapturedBytes(mostBytes: number): CapturedBytes {
  let buffer = new Uint8Array(0);
  let length = 0;

  return {
    get room() {
      return mostBytes - length;
    },
    get bytes() {
      return buffer.subarray(0, length);
    },
    add(bytes) {
      const taken = bytes.subarray(0, mostBytes - length);
      if (length + taken.length > buffer.length) grow(length + taken.length);
      buffer.set(taken, length);
      length += taken.length;
    },
  };

  function grow(least: number): void {
    const bytes = Math.min(mostBytes, Math.max(FIRST_BYTES, buffer.length * 2, least));
    const larger = new Uint8Array(bytes);
    larger.set(buffer.subarray(0, length));
    buffer = larger;
  }
}
