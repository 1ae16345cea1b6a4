import type { Event } from '../event.ts';
import { escapeBytes } from './escape.ts';

/** What an event weighs in each scale that a receiver knows, and its number and name there. */
export interface Meaning {
  /** RFC 5424: 4 warning, 5 notice, 6 informational. */
  readonly severity: 4 | 5 | 6;
  /** 0 to 10, as in CEF and LEEF. */
  readonly weight: number;
  /** OCSF: 1 informational, 2 low, 3 medium. */
  readonly level: 1 | 2 | 3;
  /** Stable number of the event, CEF's signature. */
  readonly number: number;
  readonly name: string;
}

/** Only `connect` says that somebody is up to something, and `suppressed` that events are missing. */
export const MEANINGS: { readonly [K in Event['kind']]: Meaning } = {
  connect: { severity: 4, weight: 5, level: 3, number: 100, name: 'Decoy port connection' },
  allowed: { severity: 6, weight: 1, level: 1, number: 101, name: 'Allowed connection to a decoy port' },
  withheld: { severity: 5, weight: 4, level: 2, number: 102, name: 'Doubtful connection to a decoy port' },
  data: { severity: 5, weight: 4, level: 2, number: 103, name: 'Data sent to a decoy port' },
  close: { severity: 6, weight: 2, level: 1, number: 104, name: 'Conversation with a decoy port ended' },
  suppressed: { severity: 4, weight: 6, level: 2, number: 110, name: 'Events left out' },
  start: { severity: 5, weight: 1, level: 1, number: 120, name: 'Listener started' },
  reload: { severity: 5, weight: 1, level: 1, number: 121, name: 'Configuration reloaded' },
  stop: { severity: 5, weight: 3, level: 1, number: 122, name: 'Listener stopped' },
};

/** An event as a sentence of printable ASCII, for formats that have a place for one. */
export function sentenceOf(event: Event): string {
  return escapeBytes(sentence(event));
}

function sentence(event: Event): string {
  switch (event.kind) {
    case 'connect':
      return knock(event);
    case 'allowed':
      return `${knock(event)}, and is allowed by ${event.by}`;
    case 'withheld':
      return `${knock(event)}, and is not bannable for reason ${event.reason}`;
    case 'data':
      return `${event.src} sent ${event.bytes} bytes to decoy ${event.decoy}, port ${event.dpt}`;
    case 'close':
      return `conversation of ${event.src} with decoy ${event.decoy}, port ${event.dpt}, ended by ${event.by}`;
    case 'suppressed':
      return `${event.count} events left out for reason ${event.reason}`;
    case 'start':
      return `listener started with ${event.ports} ports in ${event.decoys} decoys`;
    case 'reload':
      return `configuration ${event.result}, ${event.ports} ports in ${event.decoys} decoys`;
    case 'stop':
      return `listener stopped by ${event.signal}`;
  }
}

function knock({ src, decoy, dpt }: Event & { kind: 'connect' | 'allowed' | 'withheld' }): string {
  return `${src} connected to decoy ${decoy}, port ${dpt}`;
}
