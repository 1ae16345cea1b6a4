import { createHash } from 'node:crypto';
import { existsSync, type Stats, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { ConfigurationError } from '../errors.ts';
import { safeHostName } from './complete.ts';
import { isMapping } from './mapping.ts';
import { type Parsed, ParseError, parseYaml } from './parse.ts';
import { printable } from './printable.ts';
import { expectedGot, type Fault, faultText, problemLines } from './problem.ts';
import { type RefuseFile, readBounded } from './read.ts';
import { DOME9_DEFAULTS, DOME9_SCHEMA, LONGEST_LIST_NAME } from './schema-dome9.ts';
import { schemaFaults } from './validate.ts';

/** dome9.yaml in force: validated, every default filled in. */
export interface Dome9Configuration {
  /** Undefined: all of it comes from the environment and the defaults. */
  readonly file: string | undefined;
  readonly api: 'v2' | 'v1';
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: Dome9Key;
  /** Absolute path of a PEM file; undefined: the authorities that the host trusts. */
  readonly ca: string | undefined;
  readonly sensor: string;
  readonly list: string;
  readonly state: string;
  readonly maxItems: number;
}

/** What the API is entered with; nothing of it may be shown anywhere. */
export interface Dome9Key {
  readonly id: string;
  readonly secret: string;
}

/** Read where no file is named, if it exists. */
export const DEFAULT_DOME9_FILE = '/etc/honeyport/dome9.yaml';

const MOST_MEBIBYTES = 1;
const HINTS = {
  ENOENT: 'docs/dome9.yaml is a sample to start from; make it with mode 0600, for the key is in it',
  EACCES: 'the user that runs honeyport dome9 must be able to read it; root may ask for the status',
};
const KEY_HINT =
  'write key: { id: "...", secret: "..." }, or set DOME9_ACCESS_ID and DOME9_SECRET_KEY in the environment';

interface Dome9File {
  readonly api?: 'v2' | 'v1';
  readonly url?: string;
  readonly key?: Dome9Key;
  readonly ca?: string;
  readonly sensor?: string;
  readonly list?: string;
  readonly state?: string;
  readonly max_items?: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads, checks and completes dome9.yaml.
 *
 * @param file undefined: the default file if it exists, else the defaults
 * @param original of which the file is a copy, as systemd makes one that only we can read: its mode counts, too
 * @throws ConfigurationError with every problem of the file, none of which shows what could be the key
 */
export function loadDome9Configuration(
  file: string | undefined,
  environment: Environment,
  original?: string,
): Dome9Configuration {
  if (original !== undefined) checkMode(original);
  const path = file ?? (existsSync(DEFAULT_DOME9_FILE) ? DEFAULT_DOME9_FILE : undefined);
  if (path === undefined) {
    const key = keyOf({}, environment);
    if (key !== undefined) return complete({}, key, undefined);
    // says that there is none, and what to do about it
    return loadDome9Configuration(DEFAULT_DOME9_FILE, environment);
  }
  return parseDome9Configuration(readBounded(path, MOST_MEBIBYTES, HINTS, refuseReadable), path, environment);
}

/** @throws ConfigurationError as `loadDome9Configuration` does */
export function parseDome9Configuration(
  bytes: Uint8Array,
  file: string,
  environment: Environment,
): Dome9Configuration {
  const parsed = parse(bytes, file);
  // of an empty file everything may come from the environment
  const value = parsed.value ?? {};
  const faults = [...schemaFaults(value, DOME9_SCHEMA), ...urlFaults(value)];
  const problems = faults.map((fault) => ({
    ...parsed.positionOf(fault.path, fault.at),
    text: faultText(withoutSecrets(fault)),
  }));
  if (problems.length > 0) throw new ConfigurationError(problemLines(file, problems));
  const entries = value as Dome9File;
  const key = keyOf(entries, environment);
  if (key === undefined) throw new ConfigurationError([`${file}:1:1: expected a key key`], KEY_HINT);
  return complete(entries, key, file);
}

function checkMode(file: string): void {
  const stats = statOrNothing(file);
  const refused = stats === undefined ? undefined : refuseReadable(stats);
  if (refused !== undefined)
    throw new ConfigurationError([printable(`${file}: ${refused.message}`)], refused.hint);
}

/** Nothing: it is gone, or in a directory that is closed to us, and so to all that are no more than we are. */
function statOrNothing(file: string): Stats | undefined {
  try {
    return statSync(file);
  } catch {
    return undefined;
  }
}

/** As PostgreSQL has it for its keys: root's own file may be read by a group, as credentials of systemd are. */
const refuseReadable: RefuseFile = ({ mode, uid }) => {
  const forbidden = uid === 0 ? 0o037 : 0o077;
  if ((mode & forbidden) === 0) return undefined;
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  return {
    message: `expected a file that others can neither read nor write, got mode ${shown}`,
    hint: 'the key is in it: chmod 600, and make a new key if anybody could have read this one',
  };
};

function parse(bytes: Uint8Array, file: string): Parsed {
  try {
    return parseYaml(bytes);
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    // the parser quotes what it stumbles over, and that may be the key
    const problems = error.problems.map((problem) => ({ ...problem, text: 'not valid YAML' }));
    const hint = 'what stands there is not shown, for it may be the key; put the values into quotes';
    throw new ConfigurationError(problemLines(file, problems), hint);
  }
}

/** The key may stand in the wrong place, or be the name of a key: only values of other known keys are shown. */
function withoutSecrets(fault: Fault): Fault {
  const { path, at, message } = fault;
  if (at === 'key') return { ...fault, path: path.slice(0, -1) };
  const mayBeKey = path.length !== 1 || path[0] === 'key' || path[0] === 'url' || /, got [{[]/.test(message);
  return mayBeKey ? { ...fault, message: message.replace(/, got .*$/s, ', got something else') } : fault;
}

const LOOPBACK_HOST = /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])$/;

/** What the schema cannot say of the URL. */
function urlFaults(root: unknown): Fault[] {
  const text = isMapping(root) ? root.url : undefined;
  if (typeof text !== 'string' || !/^https?:/.test(text)) return [];
  const expected = urlProblem(text);
  return expected === undefined ? [] : [{ path: ['url'], at: 'value', message: expectedGot(expected, text) }];
}

/** What was expected instead of a URL that the key must not be sent to. */
function urlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return 'a URL such as https://api.dome9.com';
  const { protocol, hostname: host, username, password, search, hash } = new URL(text);
  if (username !== '' || password !== '') return 'a URL without user and password';
  if (search !== '' || hash !== '') return 'a URL without ? and #';
  if (protocol !== 'https:' && !LOOPBACK_HOST.test(host))
    return 'a URL with https, or http to this host itself';
  return undefined;
}

/** @throws ConfigurationError when the environment has one that no call could bear */
function keyOf({ key }: Dome9File, { DOME9_ACCESS_ID, DOME9_SECRET_KEY }: Environment): Dome9Key | undefined {
  if (key !== undefined) return key;
  if (!DOME9_ACCESS_ID || !DOME9_SECRET_KEY) return undefined;
  const own = { id: DOME9_ACCESS_ID, secret: DOME9_SECRET_KEY };
  const names: Readonly<Record<string, string>> = { id: 'DOME9_ACCESS_ID', secret: 'DOME9_SECRET_KEY' };
  const problems = schemaFaults({ key: own }, DOME9_SCHEMA)
    .map(withoutSecrets)
    .map(({ path, message }) => `${names[String(path[1])]}: ${message}`);
  if (problems.length > 0) throw new ConfigurationError(problems);
  return own;
}

function complete(entries: Dome9File, key: Dome9Key, file: string | undefined): Dome9Configuration {
  const { sensor = safeHostName(hostname()), ca } = entries;
  return {
    file,
    api: entries.api ?? DOME9_DEFAULTS.api,
    url: (entries.url ?? DOME9_DEFAULTS.url).replace(/\/+$/, ''),
    key,
    ca,
    sensor,
    list: entries.list ?? listNameOf(sensor),
    state: entries.state ?? DOME9_DEFAULTS.state,
    maxItems: entries.max_items ?? DOME9_DEFAULTS.maxItems,
  };
}

/** A name that the API takes, another one for each sensor: what it does not take is replaced, and a hash tells two apart. */
export function listNameOf(sensor: string): string {
  const name = `honeyport-${sensor.replace(/[^A-Za-z0-9-]/g, '-')}`;
  const isOwn = name === `honeyport-${sensor}` && !/-[0-9a-f]{8}$/.test(name);
  if (isOwn && name.length <= LONGEST_LIST_NAME) return name;
  const hash = createHash('sha256').update(sensor).digest('hex').slice(0, 8);
  return `${name.slice(0, LONGEST_LIST_NAME - 9)}-${hash}`;
}
