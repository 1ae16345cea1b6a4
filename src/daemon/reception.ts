import { type Connection, NOT_KEPT } from '../capture/connection.ts';
import type { Behaviour, Configuration, Decoy } from '../configuration/configuration.ts';
import type { Conversations } from '../conversation/conversations.ts';
import type { ProxiedConnections } from '../conversation/proxied-connections.ts';
import type { ProxyHeader } from '../conversation/proxy-header.ts';
import type { Recorder } from '../sinks/recorder.ts';
import { judge, type Knowledge } from './judge.ts';
import type { Throttling } from './throttling.ts';
import { createTrustedProxies } from './trusted-proxies.ts';

export interface ReceptionOptions {
  readonly recorder: Recorder;
  readonly knowledge: Knowledge;
  readonly throttling: Throttling;
  readonly conversations: Conversations;
  readonly proxied: ProxiedConnections<Connection>;
  /** Ends a connection with FIN. */
  readonly end: (fd: number) => void;
}

/** What becomes of connections: each gets its line or is counted, and then ends or becomes a conversation. */
export interface Reception {
  /** Takes a batch; when it returns, what there is to log of it is written, and kept connections have begun or ended. */
  receive(batch: readonly Connection[]): void;
  /** The header of a trusted proxy is read, or none came; its line is written in the same turn of the event loop. */
  takeHeader(connection: Connection, header: ProxyHeader | undefined): void;
  use(configuration: Configuration): void;
}

/** A decoy that does more than log and close. */
interface Special {
  readonly behaviour: Behaviour | undefined;
  readonly isTrusted: (source: string) => boolean;
}

interface Welcome {
  readonly connection: Connection;
  readonly behaviour: Behaviour;
  readonly lineId: string;
}

export function createReception(options: ReceptionOptions): Reception {
  const { recorder, knowledge, throttling, conversations, proxied, end } = options;
  let specials = new Map<string, Special>();
  /** What follows once the lines are written. */
  let welcome: Welcome[] = [];
  let unwelcome: number[] = [];
  let settleScheduled = false;

  return { receive, takeHeader, use };

  function use({ decoys }: Configuration): void {
    specials = new Map(decoys.filter(keepsOpen).map((decoy) => [decoy.name, specialOf(decoy)]));
  }

  function receive(batch: readonly Connection[]): void {
    const now = performance.now();
    for (const connection of batch) {
      const special = specials.size === 0 ? undefined : specials.get(connection.decoy);
      if (special?.isTrusted(connection.src) !== true) log(connection, special?.behaviour, now);
      else if (connection.fd === NOT_KEPT) logProxyAlone(connection, now);
      else proxied.readHeader(connection);
    }
    settle();
  }

  function takeHeader(connection: Connection, header: ProxyHeader | undefined): void {
    const now = performance.now();
    const special = specials.get(connection.decoy);
    // a reload may have taken the trust away meanwhile
    if (special?.isTrusted(connection.src) !== true) log(connection, special?.behaviour, now);
    // a proxy that names a proxy, or itself, as a health check may, names nobody
    else if (header?.kind !== 'proxied' || special.isTrusted(header.src)) logProxyAlone(connection, now);
    else log(proxiedBy(connection, header), special.behaviour, now);
    if (settleScheduled) return;
    settleScheduled = true;
    queueMicrotask(settle);
  }

  function log(connection: Connection, behaviour: Behaviour | undefined, now: number): void {
    const { fd } = connection;
    const verdict = judge(connection, knowledge);
    const answer = throttling.admit(connection, verdict.kind, linesOf(behaviour), now);
    const lineId = answer === 'none' ? undefined : recorder.record(verdict);
    if (behaviour !== undefined && lineId !== undefined && answer === 'line and more') {
      if (fd !== NOT_KEPT && conversations.reserve(connection.src, behaviour)) {
        welcome.push({ connection, behaviour, lineId });
        return;
      }
      conversations.decline(connection);
    }
    if (fd !== NOT_KEPT) unwelcome.push(fd);
  }

  /** With a health check, or something that is not what the proxy was said to be, there is nothing to talk about. */
  function logProxyAlone(connection: Connection, now: number): void {
    const verdict = judge(connection, knowledge, true);
    if (throttling.admit(connection, verdict.kind, 0, now) !== 'none') recorder.record(verdict);
    if (connection.fd !== NOT_KEPT) unwelcome.push(connection.fd);
  }

  function settle(): void {
    settleScheduled = false;
    recorder.flush();
    if (welcome.length === 0 && unwelcome.length === 0) return;
    const [begins, ends] = [welcome, unwelcome];
    welcome = [];
    unwelcome = [];
    for (const fd of ends) end(fd);
    for (const { connection, behaviour, lineId } of begins)
      conversations.begin(connection, behaviour, lineId);
  }
}

/** The connection behind a proxy's own. */
function proxiedBy(connection: Connection, { src, spt }: Named): Connection {
  const proxy = { address: connection.src, port: connection.spt };
  return { ...connection, src, spt, fingerprint: undefined, proxy };
}

type Named = Extract<ProxyHeader, { kind: 'proxied' }>;

/** Whether connections of a decoy stay open when they are accepted. */
export function keepsOpen({ behaviour, proxies }: Decoy): boolean {
  return behaviour !== undefined || proxies.length > 0;
}

function specialOf({ behaviour, proxies }: Decoy): Special {
  return { behaviour, isTrusted: createTrustedProxies(proxies) };
}

/** Lines that a conversation writes, beside that of its connection: its end, and what was captured. */
function linesOf(behaviour: Behaviour | undefined): number {
  if (behaviour === undefined) return 0;
  return behaviour.kind !== 'response' && behaviour.capturedBytes > 0 ? 2 : 1;
}
