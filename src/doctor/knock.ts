import { setTimeout as delay } from 'node:timers/promises';
import { parseAddress } from '../address.ts';
import type { Configuration, Decoy } from '../configuration/configuration.ts';
import { messageOf, UserError } from '../errors.ts';
import { jailsThatBan, unban } from './ban-state.ts';
import type { JailFacts } from './fail2ban-facts.ts';
import type { Host } from './host.ts';
import {
  createJourney,
  Interruption,
  type Knocking,
  type KnockSubject,
  type Reachable,
  Stop,
} from './journey.ts';
import { createPeer, type Peer, removeAbandonedPeers } from './peer.ts';
import { note, ok, type Result, RUN_AS_ROOT, skipped } from './result.ts';
import { sampleUnusedPorts } from './unused-sample.ts';

/** From a line to its ban fail2ban takes a second and a half at most. */
const LATE_BAN_MS = 3000;
const LOOK_EVERY_MS = 100;

/** A real knock by a peer of its own, through the line and the ban to the kernel, and back. */
export async function knock(subject: KnockSubject): Promise<Result[]> {
  const { host, facts, configuration } = subject;
  if (!host.isRoot) return [skipped('only root may make the network that a knock comes from', RUN_AS_ROOT)];
  const targets = targetsOf(host, configuration);
  if (targets.length === 0)
    return [skipped('no decoy can be knocked at: all wait for a proxy, or have loopback addresses')];
  let peer: Peer | undefined;
  const expected = new Set<string>();
  try {
    const left = await removeAbandonedPeers();
    await unban(host, facts.jails, left);
    peer = await createPeer(host);
    return await knockAsPeer({ ...subject, peer, expected }, targets);
  } catch (error) {
    if (error instanceof Interruption) return [skipped('the knock was interrupted, and is cleaned up')];
    const advice = (error instanceof UserError ? error.hint : undefined) ?? RUN_AS_ROOT;
    return [skipped(`no network to knock from can be made: ${messageOf(error)}`, advice)];
  } finally {
    if (peer !== undefined) await cleanUp(host, facts.jails, peer, expected);
  }
}

interface Target {
  readonly address: string | undefined;
  readonly port: number;
}

/** Decoys that only log first; none that waits for a proxy's header. */
function targetsOf(host: Host, configuration: Configuration): Target[] {
  const { decoys } = configuration;
  const open = decoys.filter(
    ({ proxies, address }) => proxies.length === 0 && !/^127\.|^::1$/.test(address ?? ''),
  );
  const sorted = [...open].sort((a, b) => trouble(a) - trouble(b));
  return sorted.flatMap(({ address, ports, unused }) =>
    (unused === undefined ? ports : sampleUnusedPorts(host, configuration)).map((port) => ({
      address,
      port,
    })),
  );
}

/** Which ports are unused is known least. */
function trouble({ behaviour, unused }: Decoy): number {
  return Number(behaviour !== undefined) + 2 * Number(unused !== undefined);
}

async function knockAsPeer(knocking: Knocking, targets: readonly Target[]): Promise<Result[]> {
  const { peer } = knocking;
  const results: Result[] = [];
  for (const family of peer.families) {
    const reachable = targets.flatMap(({ address, port }) => {
      const to = address ?? peer.wire.sensor[family];
      return parseAddress(to)?.family === family ? [{ to, port }] : [];
    });
    if (reachable.length > 0) results.push(...(await knockOver(knocking, family, reachable)));
  }
  const from = peer.families.map((family) => peer.wire.peer[family]).join(' and ');
  const trace = `the log, fail2ban's database and bans.log now have lines of the knock, from ${from}`;
  return [...results, note(trace)];
}

async function knockOver(
  knocking: Knocking,
  family: 4 | 6,
  [first, second]: readonly Reachable[],
): Promise<Result[]> {
  const results: Result[] = [];
  const over = `IPv${family}`;
  const journey = createJourney(knocking, family);
  const { cancel } = knocking;
  const take = async (step: () => Promise<string | Result>) => {
    if (cancel.aborted) throw new Interruption();
    const start = performance.now();
    const done = await step();
    const ms = Math.round(performance.now() - start);
    results.push(typeof done === 'string' ? ok(`${over}: ${done} (${ms} ms)`) : done);
  };
  try {
    await take(() => journey.connect(first!));
    await take(() => journey.findLine());
    await take(() => journey.findBan());
    await take(() => journey.findBlock());
    if (!journey.observes()) await take(() => journey.tryAgain(second ?? first!));
    await take(() => journey.liftBan());
    if (!journey.observes()) await take(() => journey.connectAgain(first!));
    else results.push(note(`${over}: the jail only observes: nothing was blocked`));
  } catch (error) {
    // the programs of a step may be ended by the same signal, which is no finding
    if (cancel.aborted) throw new Interruption();
    if (!(error instanceof Stop)) throw error;
    results.push(error.result);
  }
  return results;
}

/** A ban that is under way would come after it was lifted. */
async function cleanUp(
  host: Host,
  jails: readonly JailFacts[],
  peer: Peer,
  expected: ReadonlySet<string>,
): Promise<void> {
  await peer.remove();
  for (const address of expected) await waitForBan(host, jails, address);
  await unban(host, jails, Object.values(peer.wire.peer));
}

async function waitForBan(host: Host, jails: readonly JailFacts[], address: string): Promise<void> {
  const end = performance.now() + LATE_BAN_MS;
  while (performance.now() < end && (await jailsThatBan(host, jails, address)).length === 0)
    await delay(LOOK_EVERY_MS);
}
