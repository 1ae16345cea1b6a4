import { type Banner, type BannerFiles, bannerOf } from './banners.ts';
import type { Behaviour, Response } from './configuration.ts';
import { decoyMappings } from './decoys.ts';
import { durationMs, longDurationProblem } from './duration.ts';
import { isMapping } from './mapping.ts';
import { expectedGot, type Fault, type Path } from './problem.ts';
import { ABSOLUTE_PATH_PATTERN, COMMAND_WORD_PATTERN, DEFAULTS } from './schema-nodes.ts';

/** The keys of a decoy that say how a connection goes on, as the schema has them. */
export interface BehaviourKeys {
  readonly banner?: Banner;
  readonly capture?: 'off' | number;
  readonly hold?: string;
  readonly response?: 'off' | { readonly command: Response['command']; readonly timeout?: string };
  readonly tarpit?: 'off' | boolean;
}

/** Node's timers wait for 24 days at most. */
const LONGEST_HOLD = '7d';
const LONGEST_TIMEOUT = '1h';

/** What the schema cannot say of these keys. */
export function behaviourFaults(root: unknown): Fault[] {
  return decoyMappings(root).flatMap(({ decoy, path }) => [
    ...companyFaults(decoy, path),
    ...durationFaults(decoy.hold, LONGEST_HOLD, [...path, 'hold']),
    ...(isMapping(decoy.response) ? responseFaults(decoy.response, [...path, 'response']) : []),
  ]);
}

/** The behaviour that keys without faults ask for, with the banner files of the configuration. */
export function behaviourOf(keys: BehaviourKeys, bannerFiles: BannerFiles): Behaviour | undefined {
  const { response = 'off', tarpit, hold = 'off' } = keys;
  if (response !== 'off') return responseOf(response);
  const capturedBytes = capturedBytesOf(keys);
  if (tarpit === true) return { kind: 'tarpit', capturedBytes, holdMs: holdMsOf(hold, DEFAULTS.tarpitHold) };
  const banner = bannerOf(keys.banner ?? 'off', bannerFiles);
  const staysOpen = hold !== 'off';
  if (banner.length === 0 && capturedBytes === 0 && !staysOpen) return undefined;
  return { kind: 'talk', banner, capturedBytes, holdMs: holdMsOf(hold, DEFAULTS.hold), staysOpen };
}

function responseOf({ command, timeout = DEFAULTS.responseTimeout }: ResponseKeys): Response {
  return { kind: 'response', command, timeoutMs: durationMs(timeout) };
}

type ResponseKeys = Exclude<BehaviourKeys['response'], 'off' | undefined>;

function capturedBytesOf({ capture = 'off' }: BehaviourKeys): number {
  return capture === 'off' ? 0 : capture;
}

function holdMsOf(hold: string, whenOff: string): number {
  return durationMs(hold === 'off' ? whenOff : hold);
}

/** Keys that make no sense together; the one that has to go is pointed at. */
function companyFaults(decoy: Record<string, unknown>, path: Path): Fault[] {
  const [kind, why, useless] = isOn(decoy.response) ? BESIDE_RESPONSE : BESIDE_TARPIT;
  if (!isOn(decoy[kind])) return [];
  return useless
    .filter((key) => isOn(decoy[key]))
    .map((key) => ({ path: [...path, key], at: 'key', message: `expected no key ${key}, as ${why}` }));
}

const BESIDE_RESPONSE = [
  'response',
  'a response reads and answers by itself',
  ['banner', 'capture', 'hold', 'tarpit'],
] as const;
const BESIDE_TARPIT = ['tarpit', "a tarpit's slow answer is its banner", ['banner']] as const;

function isOn(value: unknown): boolean {
  return value !== undefined && value !== 'off' && value !== false;
}

function responseFaults({ command, timeout }: Record<string, unknown>, path: Path): Fault[] {
  const program: unknown = Array.isArray(command) ? command[0] : undefined;
  return [
    ...programFaults(program, [...path, 'command', 0]),
    ...durationFaults(timeout, LONGEST_TIMEOUT, [...path, 'timeout']),
  ];
}

/** A search along PATH would depend on how the listener was started. */
function programFaults(program: unknown, path: Path): Fault[] {
  if (typeof program !== 'string' || !WORD.test(program) || ABSOLUTE_PATH.test(program)) return [];
  const expected = 'an absolute path such as /etc/honeyport/response.sh';
  return [{ path, at: 'value', message: expectedGot(expected, program) }];
}

const WORD = new RegExp(COMMAND_WORD_PATTERN);
const ABSOLUTE_PATH = new RegExp(ABSOLUTE_PATH_PATTERN);

function durationFaults(value: unknown, most: string, path: Path): Fault[] {
  const message = longDurationProblem(value, most);
  return message === undefined ? [] : [{ path, at: 'value', message }];
}
