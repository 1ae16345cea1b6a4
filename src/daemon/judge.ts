import type { Connection, ProxyEnd } from '../capture/connection.ts';
import type { AllowedNetwork } from '../configuration/allow-entry.ts';
import type { Configuration } from '../configuration/configuration.ts';
import type { AllowedEvent, ConnectEvent, Unrecorded, WithheldEvent } from '../event.ts';
import type { GuardFindings } from '../guard/guard.ts';
import type { Brake } from '../withhold/brake.ts';
import type { Nat } from '../withhold/nat.ts';

/** What there is to know of sources. */
export interface Knowledge {
  readonly findAllowed: (source: string, port: number, now: number) => AllowedNetwork | undefined;
  /** Undefined: the guard is off. */
  readonly guarded: GuardFindings | undefined;
  readonly nat: Nat;
  /** Undefined: off. */
  readonly brake: Brake | undefined;
  readonly cookies: Configuration['cookies'];
}

type Verdict = Unrecorded<ConnectEvent | AllowedEvent | WithheldEvent>;

/**
 * What a connection is: somebody who belongs here, somebody of whom it is not certain, or a `connect`.
 * @param isProxyAlone it comes from a trusted proxy that named nobody
 */
export function judge(connection: Connection, knowledge: Knowledge, isProxyAlone = false): Verdict {
  const { time, src, spt, dst, dpt, decoy, fromCookie, fingerprint, proxy } = connection;
  const allowed = knowledge.findAllowed(src, dpt, time);
  const reason = withheldReason(connection, allowed, knowledge, isProxyAlone);
  if (reason !== undefined)
    return through(proxy, { kind: 'withheld', time, src, spt, dst, dpt, decoy, reason });
  if (allowed !== undefined) {
    return through(proxy, { kind: 'allowed', time, src, spt, dst, dpt, decoy, by: allowed.source });
  }
  if (fingerprint === undefined || fromCookie) {
    return through(proxy, { kind: 'connect', time, src, spt, dst, dpt, decoy });
  }
  const { ttl, win, syn } = fingerprint;
  return { kind: 'connect', time, src, spt, dst, dpt, decoy, ttl, win, syn };
}

/** The event with its proxy, if there is one. */
function through(proxy: ProxyEnd | undefined, verdict: Verdict): Verdict {
  return proxy === undefined ? verdict : { ...verdict, proxy: proxy.address, proxy_spt: proxy.port };
}

function withheldReason(
  { src, time, fromCookie }: Connection,
  allowed: AllowedNetwork | undefined,
  { guarded, nat, brake, cookies }: Knowledge,
  isProxyAlone: boolean,
): WithheldEvent['reason'] | undefined {
  // what the admin wrote himself is no matter of doubt
  if (allowed !== undefined && !isGuard(allowed)) return undefined;
  if (isProxyAlone) return 'proxy';
  if (guarded !== undefined) {
    const hidesOthers = nat.hides(src, guarded.translators.has(src));
    if (hidesOthers || guarded.bridges.has(src)) return 'nat';
  }
  if (allowed !== undefined) return undefined;
  if (fromCookie && cookies === 'withhold') return 'cookie';
  return brake === undefined || brake.lets(src, time) ? undefined : 'brake';
}

/** Whether it is the guard's, not the admin's. */
export function isGuard({ source }: AllowedNetwork): boolean {
  return source.startsWith('guard:');
}
