import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Fail2ban, startFail2ban } from '../test/support/fail2ban.ts';
import { startHoneyport } from '../test/support/listener.ts';
import { createNetwork, type Network } from '../test/support/namespaces.ts';
import { waitFor } from '../test/support/wait.ts';
import { inNamespace } from './load.ts';

const run = promisify(execFile);

/**
 * What a peer does on the decoy once its handshake is complete, as bench/block.c has it. Who holds sends nothing: his kernel
 * acknowledges the decoy's close when it likes, and until then there is no packet that could show a complete handshake.
 */
export const MANNERS = ['fin', 'rst', 'data', 'hold'] as const;
export type Manner = (typeof MANNERS)[number];

/** What became of one peer's datagrams. */
export interface Peer {
  readonly manner: Manner | 'bystander';
  readonly source: string;
  readonly sent: number;
  readonly arrived: number;
  /** Its number, from 0; `sent` when all arrived. */
  readonly firstDropped: number;
  /** From the handshake until that one was sent; infinite when all arrived. */
  readonly blockedAfterMs: number;
}

/** All peers, and the sources that the jail's set holds in the end, with the seconds left to them. */
export interface Side {
  readonly peers: readonly Peer[];
  readonly bans: ReadonlyMap<string, number>;
}

/** With the shipped jail as it is, and without the quarantine. */
export interface BlockResult {
  readonly quarantine: Side;
  readonly without: Side;
}

export const PEERS_PER_MANNER = 200;
const FIRST_SOURCE = '198.18.0.1';
const SOURCES = '198.18.0.0/16';
const [DECOY, SERVICE] = [2323, 8080];
const DEADLINE_MS = 20_000;

/** Measures both sides, each with a listener and a fail2ban of its own; needs root, fail2ban and nftables. */
export async function measureBlock(
  cli: string,
  program: string,
  directory: string,
  progress: (what: string) => void,
): Promise<BlockResult> {
  progress('handshake to block, with the quarantine');
  const quarantine = await measureSide('on', cli, program, directory);
  progress('handshake to block, without');
  const without = await measureSide('off', cli, program, directory);
  return { quarantine, without };
}

async function measureSide(state: 'on' | 'off', cli: string, program: string, directory: string) {
  const network = createNetwork();
  const steps: (() => unknown)[] = [network.dispose];
  try {
    network.addSources(SOURCES);
    const { namespace } = network.sensor;
    const config = `decoys: [{ ports: ${DECOY} }]\nlog: { file: { path: LOG }, console: off }\n`;
    const dir = await mkdtemp(join(directory, 'block-'));
    const listener = await startHoneyport({ config, namespace, dir, cli });
    steps.unshift(() => listener.stop());
    const jails = jail(
      listener.logFile,
      state === 'on' ? '' : `log="${join(dir, 'bans.log')}", quarantine=0`,
    );
    const fail2ban = await startFail2ban({ network, jails });
    // to take 800 bans back in order takes time
    steps.unshift(() => fail2ban.stop('SIGKILL').then(fail2ban.dispose));
    await quarantineBecomes(state, fail2ban);
    const peers = await probe(program, network);
    return { peers, bans: await waitForBans(fail2ban, peers) };
  } finally {
    for (const step of steps) await step();
  }
}

/** The shipped jail, with the shipped action where no options are given. */
function jail(logFile: string, options: string): string {
  const action = options === '' ? '' : `banaction = honeyport_nftables.py[${options}]\n`;
  return `[honeyport]\nenabled = true\nlogpath = ${logFile}\n${action}`;
}

async function quarantineBecomes(state: string, fail2ban: Fail2ban): Promise<void> {
  const isSo = () =>
    fail2ban.client('get', 'honeyport', 'action', 'honeyport_nftables', 'quarantine').trim() === state;
  await waitFor(isSo, {
    deadlineMs: DEADLINE_MS,
    what: () => `the quarantine to be ${state}:\n${fail2ban.log()}`,
  });
}

async function probe(program: string, { attacker, sensor }: Network): Promise<Peer[]> {
  const values = {
    '-t': sensor.ipv4,
    '-d': DECOY,
    '-s': SERVICE,
    '-N': sensor.namespace,
    '-b': FIRST_SOURCE,
    '-n': PEERS_PER_MANNER,
  };
  const [file, ...args] = inNamespace(attacker.namespace, [
    program,
    ...Object.entries(values).flat().map(String),
  ]);
  const { stdout } = await run(file!, args);
  return stdout.trim().split('\n').map(parsePeer);
}

function parsePeer(line: string): Peer {
  const [manner, source, sent, arrived, firstDropped, us] = line.split(' ');
  return {
    manner: manner as Peer['manner'],
    source: source!,
    sent: Number(sent),
    arrived: Number(arrived),
    firstDropped: Number(firstDropped),
    blockedAfterMs: Number(us) < 0 ? Number.POSITIVE_INFINITY : Number(us) / 1000,
  };
}

/** The last ones, or those who are there when it takes too long. */
async function waitForBans(fail2ban: Fail2ban, peers: readonly Peer[]): Promise<Map<string, number>> {
  const knockers = peers.filter(({ manner }) => manner !== 'bystander');
  const areAllThere = () => {
    const bans = listBans(fail2ban);
    return knockers.every(({ source }) => bans.has(source));
  };
  await waitFor(areAllThere, { deadlineMs: DEADLINE_MS, what: 'bans' }).catch(() => undefined);
  return listBans(fail2ban);
}

/** Seconds left, by address. */
function listBans(fail2ban: Fail2ban): Map<string, number> {
  const { nftables } = JSON.parse(
    fail2ban.nft('-j', 'list', 'set', 'inet', 'honeyport', 'ban_ipv4.honeyport'),
  );
  const elements: { elem: { val: string; expires: number } }[] =
    nftables.find((entry: object) => 'set' in entry).set.elem ?? [];
  return new Map(elements.map(({ elem }) => [elem.val, elem.expires]));
}
