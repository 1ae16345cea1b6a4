import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import { removeAbandonedNamespaces } from '../system/network-namespace.ts';
import { FAIL2BAN_LOG } from './fail2ban-configuration.ts';
import { createPrivateDirectory, removeAbandonedDirectories, removeDirectory } from './private-directory.ts';
import { checkRequirements } from './requirements.ts';
import { playScenes } from './scenes.ts';
import { ATTACKER, DECOY_PORT, openStage, readText, SENSOR, SERVICE_PORT, type Stage } from './stage.ts';

export interface DemoOptions {
  /** Ends the demo, which then takes back what it has made. */
  readonly interruption: AbortSignal;
  /** Takes text with its line feeds. */
  readonly print: (text: string) => void;
  /** Is told of what could not be taken back, and what fail2ban said before a failure. */
  readonly onTrouble: (message: string) => void;
}

const NAMESPACE_PREFIX = 'honeyport-demo-';
const TOLD_LINES = 10;

/** Takes back one thing that was made. */
type Undo = () => Promise<void> | void;

/**
 * Shows a ban from the knock to its end, with the real programs in networks of their own, and takes everything back.
 * Resolves early when it is interrupted.
 * @throws UserError when it cannot run here, something did not go as it should, or was not taken back
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  checkRequirements();
  // what runs in the networks writes to the directories
  await removeAbandonedNamespaces(NAMESPACE_PREFIX);
  removeAbandonedDirectories();
  const undoing: Undo[] = [];
  let problem: unknown;
  try {
    await playIn(createDirectory(undoing), undoing, options);
  } catch (error) {
    if (!options.interruption.aborted) problem = error;
  }
  const leftover = await takeBack(undoing, options.onTrouble);
  if ((problem ?? leftover) !== undefined) throw problem ?? leftover;
  if (!options.interruption.aborted) options.print(CLOSING);
}

function createDirectory(undoing: Undo[]): string {
  const directory = createPrivateDirectory();
  undoing.push(() => removeDirectory(directory));
  return directory;
}

async function playIn(directory: string, undoing: Undo[], options: DemoOptions): Promise<void> {
  const { interruption, print, onTrouble } = options;
  print(OPENING);
  try {
    const onMade = (undo: Undo) => void undoing.push(undo);
    const stage = await openStage({ directory, interruption, onMade });
    print(castOf(stage));
    await playScenes({ stage, interruption, print });
  } catch (error) {
    if (!interruption.aborted) tellLog(join(directory, FAIL2BAN_LOG), onTrouble);
    throw error;
  }
}

const OPENING = `A host with a decoy and an attacker, in two networks of their own, cut off from everything else.
This host's rules, files and services are not touched. It takes half a minute at most; Ctrl-C ends it.
`;

function castOf({ colleague }: Stage): string {
  const cast = [
    [
      SENSOR.ipv4,
      `the host: honeyport on port ${DECOY_PORT}, fail2ban, and a web server on port ${SERVICE_PORT}`,
    ],
    [ATTACKER, 'the attacker'],
    [colleague.from, 'a colleague, on the allow list'],
  ] as const;
  return `\n${cast.map(([address, who]) => `     ${address.padEnd(11)}  ${who}\n`).join('')}`;
}

const CLOSING = `
All of it is gone again. To have it on this host: honeyport install
which shows its plan first; honeyport install --dry-run shows no more than that.
`;

function tellLog(path: string, onTrouble: (message: string) => void): void {
  const lines = readText(path).trim().split('\n').filter(Boolean);
  for (const line of lines.slice(-TOLD_LINES)) onTrouble(`fail2ban.log: ${line}`);
}

/** Last things first, and every one of them. */
async function takeBack(undoing: readonly Undo[], onTrouble: (message: string) => void): Promise<unknown> {
  let problem: unknown;
  for (const undo of [...undoing].reverse()) {
    try {
      await undo();
    } catch (error) {
      problem ??= error;
      onTrouble(`not taken back: ${messageOf(error)}`);
    }
  }
  return problem;
}
