import type { Decoy } from '../../src/configuration/configuration.ts';
import { type PartReaders, parseConfiguration } from '../../src/configuration/load.ts';
import { ConfigurationError } from '../../src/errors.ts';

/** The files that a configuration names are another test's: lists are empty, and a banner says where it stands. */
export const PARTS: PartReaders = { readList: () => [], readBanner: (file) => bytesOf(file) };

/** The problems of a configuration, in a file called F. Fails for any other error. */
export function problemsOf(text: string | Uint8Array): readonly string[] {
  try {
    parseConfiguration(typeof text === 'string' ? Buffer.from(text) : text, 'F', PARTS);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
}

export function configurationOf(text: string) {
  return parseConfiguration(Buffer.from(text), 'F', PARTS);
}

/** The only decoy of a configuration, with these keys beside its port. */
export function decoyWith(keys: string): Decoy {
  return configurationOf(withKeys(keys)).decoys[0]!;
}

/** A configuration with one decoy, whose own keys begin on line 3, column 5. */
export function withKeys(keys: string): string {
  return `decoys:\n  - ports: 22\n    ${keys.replaceAll('\n', '\n    ')}\n`;
}

/** Without Buffer's prototype, as the configuration has them. */
export function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text));
}
