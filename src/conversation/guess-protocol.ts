import { GUESSES } from './guesses.ts';

/** Where nothing fits, or where several protocols begin like this: a false guess is worse than none. */
export const UNKNOWN = 'unknown';

/** More of what a peer sent is not looked at; a request line may need most of it. */
const LOOKED_AT_BYTES = 1024;

/**
 * The protocol that a peer begins to speak, as one word for `guess=` in the log: one of `GUESSES`, or `unknown`.
 * @param bytes the first bytes that a peer has sent: any, also none, and cut off anywhere
 */
export function guessProtocol(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, LOOKED_AT_BYTES)).toString('latin1');
  const guess = GUESSES.find(({ greetings }) => greetings.some((greeting) => greeting.test(text)));
  return guess?.word ?? UNKNOWN;
}
