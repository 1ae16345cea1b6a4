import { parseConfiguration } from '../../src/configuration/load.ts';
import { ConfigurationError } from '../../src/errors.ts';

/** The problems of a configuration, in a file called F. Fails for any other error. */
export function problemsOf(text: string | Uint8Array): readonly string[] {
  try {
    parseConfiguration(typeof text === 'string' ? Buffer.from(text) : text, 'F', noList);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
}

export function configurationOf(text: string) {
  return parseConfiguration(Buffer.from(text), 'F', noList);
}

/** List files are another test's. */
function noList() {
  return [];
}
