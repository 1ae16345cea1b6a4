import { resolve } from 'node:path';
import { ConfigurationError } from '../errors.ts';
import { allowFaults, readAllowList } from './allow.ts';
import type { AllowEntry } from './allow-entry.ts';
import { readAllowFile } from './allow-file.ts';
import { type ConfigurationFile, complete } from './complete.ts';
import type { Configuration } from './configuration.ts';
import { decoyFaults } from './decoys.ts';
import { type Parsed, ParseError, parseYaml } from './parse.ts';
import { type Fault, faultText, type Path, type Problem, problemLines } from './problem.ts';
import { readBounded } from './read.ts';
import { DEFAULTS } from './schema-nodes.ts';
import { syslogFaults } from './syslog.ts';
import { schemaFaults } from './validate.ts';

export { parsePortArguments } from './ports.ts';

/** Read where no file is named, if it exists. */
export const DEFAULT_CONFIGURATION_FILE = '/etc/honeyport/honeyport.yaml';

/** Unprivileged, and among those that scanners try: SSH and Telnet moved aside, and an old back door. */
const BUILT_IN_PORTS = [2222, 2323, 31_337];

/**
 * Reads, checks and completes a configuration file.
 *
 * @throws ConfigurationError with every problem of the file, or with the reason why it cannot be read
 */
export function loadConfiguration(file: string): Configuration {
  return parseConfiguration(readBounded(file, MOST_MEBIBYTES, HINTS), file);
}

/** A configuration that names every port one by one stays below a tenth of this. */
const MOST_MEBIBYTES = 1;

const HINTS = {
  ENOENT:
    'docs/honeyport.yaml is a sample to start from; without any file, `honeyport run -p 2222` listens too',
  EACCES: 'let the user that runs honeyport read the file and enter its directory',
};

/**
 * Checks and completes the text of a configuration file, with the list files that it names.
 *
 * @param file its name, for the problems
 * @param readList reads a list file
 * @throws ConfigurationError with every problem, in the order of the file, those of list files last
 */
export function parseConfiguration(
  bytes: Uint8Array,
  file: string,
  readList: (path: string) => AllowEntry[] = readAllowFile,
): Configuration {
  const parsed = parse(bytes, file);
  const problems = faultsOf(parsed).map((fault) => problemOf(fault, parsed));
  const lines = problemLines(file, problems);
  const lineOf = (path: Path) => parsed.positionOf(path).line;
  const allowList = readAllowList(parsed.value, { file, lineOf, readList });
  const all = [...lines, ...allowList.problems];
  if (all.length > 0) throw new ConfigurationError(all, allowList.hint);
  return complete(parsed.value as ConfigurationFile, file, allowList);
}

/**
 * The configuration without a file: unprivileged decoys, a log in the working directory, pretty lines on standard output.
 *
 * @param ports instead of the built-in ones, for one decoy named after the first; none twice, as from parsePortArguments
 */
export function builtInConfiguration(ports: readonly number[] = []): Configuration {
  const decoy = ports.length > 0 ? { ports } : { name: 'default', ports: BUILT_IN_PORTS };
  const log = {
    file: { path: resolve('honeyport.log'), mode: DEFAULTS.logMode },
    console: 'pretty',
  } as const;
  return complete({ decoys: [decoy], log }, undefined, { entries: [], files: [] });
}

function parse(bytes: Uint8Array, file: string): Parsed {
  try {
    return parseYaml(bytes);
  } catch (error) {
    throw error instanceof ParseError ? new ConfigurationError(problemLines(file, error.problems)) : error;
  }
}

function faultsOf({ value, positionOf }: Parsed): Fault[] {
  if (value === null) return [{ path: [], at: 'value', message: NOTHING_THERE }];
  const lineOf = (path: Path) => positionOf(path).line;
  return [
    ...schemaFaults(value),
    ...decoyFaults(value, lineOf),
    ...allowFaults(value),
    ...syslogFaults(value),
  ];
}

const NOTHING_THERE = 'expected a mapping with the key decoys, got nothing';

function problemOf(fault: Fault, { positionOf }: Parsed): Problem {
  return { ...positionOf(fault.path, fault.at), text: faultText(fault) };
}
