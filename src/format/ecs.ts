import type { Endpoints, Event } from '../event.ts';
import { asciiJson } from './ascii-json.ts';
import { fieldsWithout, sequenceOf } from './fields.ts';
import type { Origin } from './line.ts';
import { MEANINGS, sentenceOf } from './meaning.ts';

/** Elastic Common Schema 8.17 as one JSON object. Keys of ours that it has no name for are under `honeyport`. */
export function createEcsFormatter({
  sensor,
  pid,
  version,
}: Origin & { version: string }): (event: Event) => string {
  const observer = { hostname: sensor, vendor: 'honeyport', product: 'honeyport', type: 'honeypot', version };
  return (event) =>
    asciiJson({
      '@timestamp': new Date(event.time).toISOString(),
      message: sentenceOf(event),
      ecs: { version: '8.17.0' },
      event: {
        id: event.id,
        kind: 'event',
        ...CATEGORIES[event.kind],
        action: event.kind,
        outcome: outcomeOf(event),
        module: 'honeyport',
        dataset: 'honeyport.events',
        sequence: sequenceOf(event),
        severity: MEANINGS[event.kind].severity,
        ...('reason' in event ? { reason: event.reason } : {}),
        ...('duration_ms' in event ? { duration: event.duration_ms * 1_000_000 } : {}),
      },
      ...endsOf(event),
      observer,
      process: { name: 'honeyport', pid },
      honeyport: fieldsWithout(event, ELSEWHERE),
    });
}

const ELSEWHERE = new Set(['src', 'spt', 'dst', 'id', 'rx', 'tx', 'reason', 'version', 'duration_ms']);

/** Category and type from ECS's lists of allowed values. */
const CATEGORIES: { readonly [K in Event['kind']]: { category: string[]; type: string[] } } = {
  connect: { category: ['network', 'intrusion_detection'], type: ['connection', 'start'] },
  allowed: { category: ['network'], type: ['connection', 'start', 'allowed'] },
  withheld: { category: ['network', 'intrusion_detection'], type: ['connection', 'start', 'info'] },
  data: { category: ['network', 'intrusion_detection'], type: ['info'] },
  close: { category: ['network'], type: ['connection', 'end'] },
  suppressed: { category: ['network'], type: ['info'] },
  start: { category: ['process'], type: ['start'] },
  reload: { category: ['configuration'], type: ['change'] },
  stop: { category: ['process'], type: ['end'] },
};

function outcomeOf(event: Event): 'success' | 'failure' {
  return event.kind === 'reload' && event.result === 'refused' ? 'failure' : 'success';
}

function endsOf(event: Event): object {
  if ('spt' in event) return connectionOf(event);
  if (event.kind !== 'suppressed' || event.src === undefined) return {};
  return { source: { address: event.src, ip: event.src }, related: { ip: [event.src] } };
}

function connectionOf(event: Endpoints & Event): object {
  const { src, spt, dst, dpt } = event;
  const { rx, tx } = event.kind === 'close' ? event : { rx: undefined, tx: undefined };
  return {
    // JSON.stringify leaves undefined out
    source: { address: src, ip: src, port: spt, bytes: rx },
    destination: { address: dst, ip: dst, port: dpt, bytes: tx },
    network: { transport: 'tcp', type: src.includes(':') ? 'ipv6' : 'ipv4', direction: 'inbound' },
    related: { ip: [src, dst] },
  };
}
