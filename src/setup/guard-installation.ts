import { text } from 'node:stream/consumers';
import { type Recovery, recover } from './recover.ts';
import { ALL_DONE } from './transaction.ts';

/**
 * What the guardian does: it waits for the end of its standard input, which is that of the installer, and brings the
 * installation back unless it was told before that all is done.
 *
 * @param onReady called when it waits
 * @returns undefined when there was nothing to do
 */
export async function guardInstallation(root: string, onReady: () => void): Promise<Recovery | undefined> {
  // what ends others of the installer's is no reason to leave it half done
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  onReady();
  const word = await text(process.stdin);
  return word === ALL_DONE ? undefined : recover(root);
}
