import { existsSync } from 'node:fs';
import type { Configuration } from '../configuration/configuration.ts';
import {
  builtInConfiguration,
  DEFAULT_CONFIGURATION_FILE,
  loadConfiguration,
} from '../configuration/load.ts';
import { UserError } from '../errors.ts';

/** The option of every command that reads the configuration. */
export const CONFIGURATION_OPTION = '-c, --config <file>';
export const CONFIGURATION_OPTION_HELP = `configuration file (default: ${DEFAULT_CONFIGURATION_FILE} if it exists, else the built-in default)`;

/** Where a configuration comes from: a file to read and watch, or none. */
export interface ConfigurationSource {
  readonly file: string | undefined;
  /** @throws ConfigurationError */
  readonly load: () => Configuration;
}

/** @throws UserError when the option is empty, as from a variable that is not set */
export function configurationSource(option: string | undefined): ConfigurationSource {
  if (option === '') throw new UserError('--config: expected the name of a file, got ""');
  const file = option ?? (existsSync(DEFAULT_CONFIGURATION_FILE) ? DEFAULT_CONFIGURATION_FILE : undefined);
  return file === undefined ? builtInSource() : { file, load: () => loadConfiguration(file) };
}

/** @param ports instead of those of the built-in default */
export function builtInSource(ports?: readonly number[]): ConfigurationSource {
  return { file: undefined, load: () => builtInConfiguration(ports) };
}
