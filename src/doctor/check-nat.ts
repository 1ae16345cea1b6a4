import type { Event } from '../event.ts';
import { parseLine } from '../format/parse-line.ts';
import { readDefaultGateways } from '../guard/gateways.ts';
import { readLogTail } from '../system/log-tail.ts';
import type { Host } from './host.ts';
import { finding, ok, type Result, skipped } from './result.ts';

/** Fewer connections say nothing, as in src/withhold/nat.ts. */
const LEAST_CONNECTIONS = 10;
const SHOW_SOURCES =
  'have the translator show the true source: Docker without userland-proxy, a port forward without masquerading, proxy_protocol';

/** Whether the latest lines show peers themselves, or somebody who translates for all of them. */
export function checkNat(host: Host, log: string): Result[] {
  const lines = tailOf(log);
  if (lines === undefined) return [skipped(`${log} cannot be read: what the sources are is not known`)];
  const knocks = lines.flatMap(knockIn);
  if (knocks.length === 0)
    return [skipped('the end of the log has no connection yet: what the sources are is not known')];
  const hidden = new Set(knocks.flatMap((event) => (isHidden(event) ? [event.src] : [])));
  if (hidden.size > 0) return [...hidden].slice(0, 5).map(hides);
  const [only, ...others] = new Set(knocks.map(({ src }) => src));
  const gateways = gatewaysOf(host);
  if (others.length === 0 && knocks.length >= LEAST_CONNECTIONS && gateways.includes(only!))
    return [everybodyIsGateway(only!, knocks.length)];
  return [
    ok(`the last ${knocks.length} connections came from ${others.length + 1} sources, none stands for all`),
  ];
}

type KnockEvent = Extract<Event, { kind: 'connect' | 'allowed' | 'withheld' }>;

function tailOf(log: string): readonly string[] | undefined {
  try {
    return readLogTail(log).lines;
  } catch {
    return undefined;
  }
}

function knockIn(line: string): KnockEvent[] {
  const event = parseLine(line)?.event;
  return event?.kind === 'connect' || event?.kind === 'allowed' || event?.kind === 'withheld' ? [event] : [];
}

function isHidden(event: KnockEvent): boolean {
  return event.kind === 'withheld' && event.reason === 'nat';
}

function hides(source: string): Result {
  return finding(
    `${source} stands for many peers (withheld reason=nat): none of them can be banned`,
    SHOW_SOURCES,
  );
}

function everybodyIsGateway(source: string, count: number): Result {
  return finding(
    `all of the last ${count} connections came from this host's gateway ${source}: it hides the peers`,
    SHOW_SOURCES,
  );
}

function gatewaysOf({ root }: Host): string[] {
  try {
    return readDefaultGateways(`${root}/proc`);
  } catch {
    return [];
  }
}
