import { setTimeout as delay } from 'node:timers/promises';
import { addressFromBytes, parseAddress } from '../address.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { messageOf, UserError } from '../errors.ts';
import type { Event } from '../event.ts';
import { parseLine } from '../format/parse-line.ts';
import { maskBytes } from '../network.ts';
import { readLogTail } from '../system/log-tail.ts';
import { placeOf } from './check-nftables.ts';
import { type Fail2banFacts, type JailFacts, plannedOption } from './fail2ban-facts.ts';
import { type Host, printed } from './host.ts';
import { createPeer, type Peer, removeAbandonedPeers } from './peer.ts';
import { finding, note, ok, type Result, RUN_AS_ROOT, skipped } from './result.ts';

export interface KnockSubject {
  readonly host: Host;
  readonly configuration: Configuration;
  readonly facts: Fail2banFacts;
  /** Ends the knock early; what it made is removed all the same. */
  readonly cancel: AbortSignal;
}

const LINE_DEADLINE_MS = 5000;
/** fail2ban takes 20 s for the first ban where a name server is out of reach: it looks up its own name. */
const BAN_DEADLINE_MS = 30_000;
const KERNEL_DEADLINE_MS = 5000;
/** From a line to its ban fail2ban takes a second and a half at most. */
const LATE_BAN_MS = 3000;
const LOOK_EVERY_MS = 100;

/** A real knock by a peer of its own, through the line and the ban to the kernel, and back. */
export async function knock(subject: KnockSubject): Promise<Result[]> {
  const { host, facts, configuration } = subject;
  if (!host.isRoot) return [skipped('only root may make the network that a knock comes from', RUN_AS_ROOT)];
  const targets = targetsOf(configuration);
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
function targetsOf({ decoys }: Configuration): Target[] {
  const open = decoys.filter(
    ({ proxies, address }) => proxies.length === 0 && !/^127\.|^::1$/.test(address ?? ''),
  );
  const sorted = [...open].sort(
    (a, b) => Number(a.behaviour !== undefined) - Number(b.behaviour !== undefined),
  );
  return sorted.flatMap(({ address, ports }) => ports.map((port) => ({ address, port })));
}

interface Knocking extends KnockSubject {
  readonly peer: Peer;
  /** Addresses whose latest connection fail2ban has not banned yet, and will. */
  readonly expected: Set<string>;
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

class Interruption extends Error {}
/** A step that did not do; the ones after it have no sense. */
class Stop extends Error {
  readonly result: Result;

  constructor(result: Result) {
    super(result.message);
    this.result = result;
  }
}

interface Reachable {
  readonly to: string;
  readonly port: number;
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

/** The steps of one knock, in order; each says what was seen, or stops with what was not. */
function createJourney({ host, configuration, facts, cancel, peer, expected }: Knocking, family: 4 | 6) {
  const from = peer.wire.peer[family];
  const log = configuration.log.file.path;
  const { jails } = facts;
  const since = Date.now();
  let jail: JailFacts | undefined;

  const observes = () => jail?.mode === 'observe';

  return { connect, findLine, findBan, findBlock, observes, tryAgain, liftBan, connectAgain };

  async function connect({ to, port }: Reachable): Promise<string> {
    const outcome = await peer.connect(from, to, port);
    if (outcome === 'open') {
      expected.add(from);
      return `${from} connected to port ${port}`;
    }
    throw stop(`${from} could not connect to ${to} port ${port}: ${outcome}`, adviceForOutcome(outcome));
  }

  async function findLine(): Promise<string> {
    const event = await waitFor(() => eventOf(log, from, since), LINE_DEADLINE_MS);
    if (event === undefined)
      throw stop(
        `the connection of ${from} has no line in ${log}`,
        'look whether honeyport runs with this configuration: honeyport doctor without --knock',
      );
    if (event.kind === 'connect') return `the log has the line connect src=${from}`;
    expected.delete(from);
    if (event.kind === 'allowed')
      throw stop(
        `${from} is on the allow list (by=${event.by}), so that it is not banned`,
        `honeyport allow check ${from}`,
      );
    const reason = event.kind === 'withheld' ? event.reason : event.kind;
    throw stop(
      `the connection of ${from} was withheld from banning (reason=${reason})`,
      'docs/log.md tells the reasons',
    );
  }

  async function findBan(): Promise<string> {
    if (jails.length === 0) throw stop('no jail of honeyport runs, nobody bans', 'see the check jail');
    jail = await waitFor(async () => (await jailsThatBan(host, jails, from))[0], BAN_DEADLINE_MS);
    expected.delete(from);
    if (jail === undefined)
      throw stop(
        `jail ${jails.map(({ name }) => name).join(', ')} did not ban ${from} within ${BAN_DEADLINE_MS / 1000} s`,
        'see the checks jail and filter, and: tail /var/log/fail2ban.log',
      );
    return `jail ${jail.name} banned ${from}`;
  }

  async function findBlock(): Promise<string | Result> {
    const { name, actions } = jail!;
    if (!actions?.includes('honeyport_nftables'))
      return skipped(`IPv${family}: jail ${name} blocks with another action: its sets are not known`);
    if (await waitFor(() => isInKernel(host, facts, name, from), KERNEL_DEADLINE_MS))
      return `the kernel's set has ${from}`;
    throw stop(
      `${from} is banned, and not in the kernel's set`,
      'fail2ban says why: grep honeyport_nftables /var/log/fail2ban.log',
    );
  }

  async function tryAgain({ to, port }: Reachable): Promise<string> {
    const outcome = await peer.connect(from, to, port);
    if (outcome !== 'open') return `the second try, at port ${port}, was blocked (${outcome})`;
    throw stop(`${from} is banned, and got through to port ${port} all the same`, 'see the check nftables');
  }

  async function liftBan(): Promise<string> {
    const isGone = async () => {
      await unban(host, await jailsThatBan(host, jails, from), [from]);
      const held = await Promise.all(jails.map(({ name }) => isInKernel(host, facts, name, from)));
      return !held.includes(true);
    };
    if (await waitFor(isGone, KERNEL_DEADLINE_MS)) return 'the ban is lifted, the kernel has let go';
    throw stop(
      `the kernel still blocks ${from}, although the ban was lifted`,
      `fail2ban-client restart ${jail!.name}`,
    );
  }

  /** Which is a knock as well: it is banned again, and that is lifted when all is cleaned up. */
  async function connectAgain({ to, port }: Reachable): Promise<string> {
    const outcome = await peer.connect(from, to, port);
    if (outcome !== 'open')
      throw stop(
        `after its ban was lifted, ${from} still cannot connect: ${outcome}`,
        'somebody else blocks it, too: nft list ruleset',
      );
    expected.add(from);
    await waitFor(async () => (await jailsThatBan(host, jails, from)).length > 0, BAN_DEADLINE_MS);
    expected.delete(from);
    return `${from} connects again`;
  }

  function stop(message: string, advice: string): Stop {
    return new Stop(finding(`IPv${family}: ${message}`, advice));
  }

  async function waitFor<T>(look: () => Promise<T> | T, deadlineMs: number): Promise<T | undefined> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      const seen = await look();
      if (seen) return seen;
      if (cancel.aborted) throw new Interruption();
      if (performance.now() > end) return undefined;
      await delay(LOOK_EVERY_MS);
    }
  }
}

function adviceForOutcome(outcome: string): string {
  if (outcome === 'timeout') return 'a firewall of this host lets no such packet in: see the check firewall';
  return outcome === 'ECONNREFUSED'
    ? 'nobody listens, or a firewall rejects: see the checks listener and firewall'
    : 'see ip route';
}

type Answer = Extract<Event, { kind: 'connect' | 'allowed' | 'withheld' | 'suppressed' }>;

/** The first event of a source; a log that is gone for a moment has none. */
function eventOf(log: string, source: string, since: number): Answer | undefined {
  try {
    for (const line of readLogTail(log).lines) {
      const event = line.includes(` src=${source} `) ? parseLine(line)?.event : undefined;
      if (event !== undefined && event.time >= since && isAnswer(event)) return event;
    }
  } catch {
    // it is being rotated
  }
  return undefined;
}

function isAnswer(event: Event): event is Answer {
  return ['connect', 'allowed', 'withheld', 'suppressed'].includes(event.kind);
}

async function jailsThatBan(host: Host, jails: readonly JailFacts[], address: string): Promise<JailFacts[]> {
  const bans = await Promise.all(
    jails.map(async ({ name }) => (await printed(host, 'fail2ban-client', 'get', name, 'banip')) ?? ''),
  );
  return jails.filter((_, index) => bans[index]!.split(/\s+/).includes(address));
}

async function isInKernel(host: Host, facts: Fail2banFacts, jail: string, address: string): Promise<boolean> {
  const { table } = placeOf(facts, jail);
  const length = Number(plannedOption(facts.plan ?? [], jail, 'prefix6') ?? 128);
  const isWide = address.includes(':') && length < 128;
  const set = `ban_ipv${address.includes(':') ? 6 : 4}${isWide ? `_${length}` : ''}.${jail}`;
  const element = isWide ? addressFromBytes(maskBytes(parseAddress(address)!.bytes, length), 0, 16) : address;
  return (await printed(host, 'nft', 'get', 'element', 'inet', table, set, `{ ${element} }`)) !== undefined;
}

async function unban(host: Host, jails: readonly JailFacts[], addresses: readonly string[]): Promise<void> {
  if (addresses.length === 0) return;
  for (const { name } of jails) await host.run('fail2ban-client', 'set', name, 'unbanip', ...addresses);
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
