import type { Want } from './want.ts';

/** What of an account is brought to what is wanted. */
export interface Target {
  /**
   * Brings it there; what was broken off, or carried out without an answer, may be repeated.
   *
   * @param wants each address once, none past its end
   * @throws ApiError
   */
  converge(wants: readonly Want[]): Promise<Outcome>;
  /** What `converge` would do; changes nothing. Throws as it does. */
  preview(wants: readonly Want[]): Promise<Preview>;
}

export interface Outcome {
  /** Wanted addresses that the account has now. */
  readonly present: number;
  /** Wanted addresses that there is no room for, or that are not taken. */
  readonly leftOut: number;
  /** Items that are not ours; undefined where nobody knows. */
  readonly foreign: number | undefined;
  /** When the first ban ends of those that the account has, in seconds since the epoch; undefined: none does. */
  readonly nextEnd: number | undefined;
  /** There is more to do than may be done at once. */
  readonly isUnfinished: boolean;
}

export interface Preview {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Those that stay with another comment or end. */
  readonly changed: readonly string[];
  readonly leftOut: number;
  readonly foreign: number | undefined;
}
