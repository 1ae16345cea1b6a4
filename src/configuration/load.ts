import { resolve } from 'node:path';
import { ConfigurationError } from '../errors.ts';
import { allowFaults, readAllowList } from './allow.ts';
import type { AllowEntry } from './allow-entry.ts';
import { readAllowFile } from './allow-file.ts';
import { readBannerFile, readBanners } from './banners.ts';
import { behaviourFaults } from './behaviour.ts';
import { type ConfigurationFile, complete, type ReadParts } from './complete.ts';
import type { Configuration } from './configuration.ts';
import { decoyFaults } from './decoys.ts';
import { limitFaults } from './limits.ts';
import { type Parsed, ParseError, parseYaml } from './parse.ts';
import { type Fault, faultText, type Path, type Problem, problemLines } from './problem.ts';
import { proxyFaults } from './proxies.ts';
import { MAY_READ_HINT, readBounded } from './read.ts';
import { DEFAULTS } from './schema-nodes.ts';
import { syslogFaults } from './syslog.ts';
import { unusedFaults } from './unused.ts';
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
  EACCES: MAY_READ_HINT,
};

/** Reads the files that a configuration names. */
export interface PartReaders {
  /** May throw ConfigurationError, with the problems of the list file. */
  readonly readList: (file: string) => AllowEntry[];
  /** May throw UnreadableFile. */
  readonly readBanner: (file: string) => Uint8Array;
}

const FROM_DISK: PartReaders = { readList: readAllowFile, readBanner: readBannerFile };

/**
 * Checks and completes the text of a configuration file, with the list files and banner files that it names.
 *
 * @param file its name, for the problems
 * @throws ConfigurationError with every problem, in the order of the file, those of list files last
 */
export function parseConfiguration(
  bytes: Uint8Array,
  file: string,
  { readList, readBanner }: PartReaders = FROM_DISK,
): Configuration {
  const parsed = parse(bytes, file);
  const banners = readBanners(parsed.value, readBanner);
  const problems = [...faultsOf(parsed), ...banners.faults].map((fault) => problemOf(fault, parsed));
  const lines = problemLines(file, problems);
  const lineOf = (path: Path) => parsed.positionOf(path).line;
  const allowList = readAllowList(parsed.value, { file, lineOf, readList });
  const all = [...lines, ...allowList.problems];
  if (all.length > 0) throw new ConfigurationError(all, banners.hint ?? allowList.hint);
  return complete(parsed.value as ConfigurationFile, file, { allowList, bannerFiles: banners.files });
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
  return complete({ decoys: [decoy], log }, undefined, NO_PARTS);
}

const NO_PARTS: ReadParts = { allowList: { entries: [], files: [] }, bannerFiles: new Map() };

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
    ...unusedFaults(value, lineOf),
    ...behaviourFaults(value),
    ...proxyFaults(value),
    ...limitFaults(value),
    ...allowFaults(value),
    ...syslogFaults(value),
  ];
}

const NOTHING_THERE = 'expected a mapping with the key decoys, got nothing';

function problemOf(fault: Fault, { positionOf }: Parsed): Problem {
  return { ...positionOf(fault.path, fault.at), text: faultText(fault) };
}
