import { statSync } from 'node:fs';
import { UserError } from '../errors.ts';
import { ATTACKER, BAN_SECONDS, DECOY_PORT, readText, SENSOR, SERVICE_PORT, type Stage } from './stage.ts';
import { type Outcome, tryPort } from './try-port.ts';
import { waitUntil } from './wait-until.ts';

export interface ScenesOptions {
  readonly stage: Stage;
  readonly interruption: AbortSignal;
  /** Takes text with its line feeds. */
  readonly print: (text: string) => void;
}

const REQUEST = 'GET / HTTP/1.0\r\n\r\n';
/** For what answers in milliseconds. */
const ANSWER_TIMEOUT_MS = 5000;
/** Long enough for a second SYN, which the kernel sends after a second. */
const SILENCE_MS = 1500;
const LINE_TIMEOUT_MS = 5000;
const BAN_TIMEOUT_MS = 10_000;
const UNBAN_TIMEOUT_MS = (BAN_SECONDS + 10) * 1000;

/**
 * Plays the demo's six scenes, each with the proof that it went as it should.
 * @throws UserError when one of them did not
 */
export async function playScenes(options: ScenesOptions): Promise<void> {
  await serviceAnswers(options);
  const line = await attackerKnocks(options);
  await fail2banBans(line, options);
  await silenceFollows(options);
  await colleagueIsAllowed(options);
  await banEnds(options);
}

async function serviceAnswers(options: ScenesOptions): Promise<void> {
  explain(options, 1, `The web server on port ${SERVICE_PORT} answers everybody, the attacker too.`);
  await showAnswer(ATTACKER, SENSOR.ipv4, options);
}

async function attackerKnocks(options: ScenesOptions): Promise<string> {
  const { stage } = options;
  const text = `The attacker tries port ${DECOY_PORT}, the decoy. honeyport writes one line before the connection ends.`;
  explain(options, 2, text);
  const outcome = await knock(ATTACKER, SENSOR.ipv4, options);
  const line = await waitForLine(stage.listenerLog, `: connect src=${ATTACKER} `, options);
  // the kernel's file times are up to a tick behind, never ahead
  const writtenAt = Math.floor(statSync(stage.listenerLog).mtimeMs);
  expectOutcome('the line to be written before the connection ended', writtenAt <= outcome.endedAt, line);
  show(options, `honeyport.log: ${line}`);
  return line;
}

async function fail2banBans(line: string, options: ScenesOptions): Promise<void> {
  const { stage } = options;
  explain(
    options,
    3,
    'fail2ban reads the line, and has the kernel drop what comes from the address, before anything else sees it.',
  );
  const ban = await waitForLine(stage.bansLog, `: ban src=${ATTACKER} `, options, BAN_TIMEOUT_MS);
  const own = await waitForLine(stage.fail2banLog, `[honeyport] Ban ${ATTACKER}`, options);
  show(options, `fail2ban.log: ${own}`);
  show(options, `bans.log: ${ban}`);
  const element = findElement(await stage.ruleset(), ATTACKER);
  expectOutcome(`${ATTACKER} in a set of nftables`, element !== undefined, 'none');
  show(options, `nftables: ${element}`);
  show(
    options,
    '  (fail2ban takes it out when the ban ends; the timeout is for a fail2ban that is gone by then)',
  );
  const seconds = (timeOf(ban) - timeOf(line)) / 1000;
  show(options, `from the line to the block in the kernel: ${seconds.toFixed(1)} s`);
}

async function silenceFollows(options: ScenesOptions): Promise<void> {
  explain(options, 4, 'The attacker tries again. Nothing answers any more, on no port.');
  const ports = [DECOY_PORT, SERVICE_PORT];
  const tries = ports.map((port) =>
    tryFrom(ATTACKER, { to: SENSOR.ipv4, port, timeoutMs: SILENCE_MS }, options),
  );
  for (const [index, outcome] of (await Promise.all(tries)).entries()) {
    expectOutcome('silence', outcome.end === 'silence', outcome.end);
    show(options, `${ATTACKER} to port ${ports[index]}: no answer for ${SILENCE_MS / 1000} s`);
  }
}

async function colleagueIsAllowed(options: ScenesOptions): Promise<void> {
  const { stage } = options;
  const { from, to } = stage.colleague;
  explain(
    options,
    5,
    'A colleague, who is on the allow list, tries the decoy by mistake, and is not banned.',
  );
  await knock(from, to, options);
  const line = await waitForLine(stage.listenerLog, `: allowed src=${from} `, options);
  show(options, `honeyport.log: ${line}`);
  await showAnswer(from, to, options);
  const bans = readText(stage.bansLog).includes(`ban src=${from} `);
  expectOutcome(`no ban of ${from}`, !bans, 'one');
}

async function banEnds(options: ScenesOptions): Promise<void> {
  const { stage } = options;
  explain(options, 6, `A ban ends by itself: here after ${BAN_SECONDS} seconds, by default after a day.`);
  const line = await waitForLine(stage.bansLog, `: unban src=${ATTACKER} `, options, UNBAN_TIMEOUT_MS);
  show(options, `bans.log: ${line}`);
  await showAnswer(ATTACKER, SENSOR.ipv4, options);
}

async function showAnswer(from: string, to: string, options: ScenesOptions): Promise<void> {
  const attempt = { to, port: SERVICE_PORT, timeoutMs: ANSWER_TIMEOUT_MS, request: REQUEST };
  const { end, received } = await tryFrom(from, attempt, options);
  const status = received.split('\r\n')[0]!;
  expectOutcome(`an answer of the web server to ${from}`, status.endsWith(' 200 OK'), status || end);
  show(options, `${from} to port ${SERVICE_PORT}: ${status}`);
}

async function knock(from: string, to: string, options: ScenesOptions): Promise<Outcome> {
  const attempt = { to, port: DECOY_PORT, timeoutMs: ANSWER_TIMEOUT_MS };
  const outcome = await tryFrom(from, attempt, options);
  expectOutcome('the decoy to end the connection', outcome.end === 'ended by the other side', outcome.end);
  show(options, `${from} to port ${DECOY_PORT}: connected, and ended by the other side`);
  return outcome;
}

function tryFrom(
  from: string,
  attempt: { to: string; port: number; timeoutMs: number; request?: string },
  { stage, interruption }: ScenesOptions,
): Promise<Outcome> {
  return tryPort(stage.attacker, { from, request: '', ...attempt }, interruption);
}

function waitForLine(
  file: string,
  wanted: string,
  { stage, interruption }: ScenesOptions,
  timeoutMs = LINE_TIMEOUT_MS,
): Promise<string> {
  const what = `a line with "${wanted.trim()}" in ${file}`;
  const lines = () => readText(file).split('\n').slice(0, -1);
  const look = () => lines().find((line) => line.includes(wanted));
  return waitUntil(look, { what, timeoutMs, interruption, problem: stage.problem });
}

/** The set that an address is in, with the element, from what `nft list ruleset` prints. */
function findElement(ruleset: string, address: string): string | undefined {
  for (const [, set, elements] of ruleset.matchAll(/^\s*set (\S+) \{[^}]*?elements = \{([^}]*)\}/gm)) {
    const element = elements!.split(',').find((text) => text.trim().split(/\s/)[0] === address);
    if (element !== undefined) return `set ${set}, element ${element.trim()}`;
  }
  return undefined;
}

/** Of a line of honeyport.log or bans.log, in milliseconds since the epoch. */
function timeOf(line: string): number {
  return Date.parse(line.split(' ')[0]!);
}

function explain({ print }: ScenesOptions, number: number, text: string): void {
  print(`\n${number}. ${text}\n`);
}

function show({ print }: ScenesOptions, text: string): void {
  print(`     ${text}\n`);
}

function expectOutcome(expected: string, isSo: boolean, got: string): void {
  if (!isSo) throw new UserError(`expected ${expected}, got ${got}`, { exitCode: 1 });
}
