import { setTimeout as delay } from 'node:timers/promises';
import type { Configuration } from '../configuration/configuration.ts';
import type { Event } from '../event.ts';
import { parseLine } from '../format/parse-line.ts';
import { readLogTail } from '../system/log-tail.ts';
import { isInKernel, jailsThatBan, unban } from './ban-state.ts';
import type { Fail2banFacts, JailFacts } from './fail2ban-facts.ts';
import type { Host } from './host.ts';
import type { Peer } from './peer.ts';
import { finding, type Result, skipped } from './result.ts';

export interface KnockSubject {
  readonly host: Host;
  readonly configuration: Configuration;
  readonly facts: Fail2banFacts;
  /** Ends the knock early; what it made is removed all the same. */
  readonly cancel: AbortSignal;
}

/** A knock with the network that it comes from. */
export interface Knocking extends KnockSubject {
  readonly peer: Peer;
  /** Addresses whose latest connection fail2ban has not banned yet, and will. */
  readonly expected: Set<string>;
}

/** Where a peer can knock. */
export interface Reachable {
  readonly to: string;
  readonly port: number;
}

/** The knock is ended early. */
export class Interruption extends Error {}
/** A step that did not do; the ones after it have no sense. */
export class Stop extends Error {
  readonly result: Result;

  constructor(result: Result) {
    super(result.message);
    this.result = result;
  }
}

const LINE_DEADLINE_MS = 5000;
/** fail2ban takes 20 s for the first ban where a name server is out of reach: it looks up its own name. */
const BAN_DEADLINE_MS = 30_000;
const KERNEL_DEADLINE_MS = 5000;
const LOOK_EVERY_MS = 100;

/** The steps of one knock, in order; each says what was seen, or stops with what was not. */
export function createJourney(
  { host, configuration, facts, cancel, peer, expected }: Knocking,
  family: 4 | 6,
) {
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
