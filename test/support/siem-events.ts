import type { Event } from '../../src/event.ts';

const TIME = Date.UTC(2026, 10, 22, 3, 4, 58, 123);
const IPV4 = { src: '198.51.100.7', spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' };
const IPV6 = { src: '2001:db8::7', spt: 1, dst: '2001:db8:5::1', dpt: 65_535, decoy: 'port-65535' };
const EVERY_BYTE = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join('');
/** What would end a value, an element, a message or a line, and what only looks like an escaped byte. */
const HOSTILE = '"] \\x41 \\\\" src=192.0.2.66 ] [conn@32473 src="192.0.2.66"] \r\n<132>1 - - - ^|\\n=\\';

/** An event of every kind that there is, in both families, and data that tries to be something else. */
export function everyEvent(): readonly Event[] {
  const events = [
    { kind: 'start', version: '0.1.0', schema: 1, decoys: 2, ports: 12 },
    { kind: 'connect', ...IPV4, ttl: 52, win: 64_240, syn: 'mss:1460,sok,ts,nop,ws:7' },
    { kind: 'connect', ...IPV6, proxy: '2001:db8::1', proxy_spt: 50_123 },
    { kind: 'allowed', ...IPV4, by: '198.51.100.0/24', proxy: '10.0.0.5', proxy_spt: 1 },
    { kind: 'withheld', ...IPV6, reason: 'cookie' },
    { kind: 'data', ...IPV4, bytes: 256, guess: 'unknown', text: EVERY_BYTE },
    { kind: 'data', ...IPV6, bytes: HOSTILE.length, guess: 'http', text: HOSTILE },
    { kind: 'data', ...IPV4, bytes: 0, guess: 'unknown', text: '' },
    { kind: 'close', ...IPV4, duration_ms: 1500, rx: 256, tx: 20, by: 'peer' },
    { kind: 'suppressed', src: IPV6.src, count: 7, dpt: '22,80-90', reason: 'rate' },
    { kind: 'suppressed', count: 3, reason: 'queue', receiver: 'udp://siem.example:514' },
    { kind: 'reload', result: 'refused', decoys: 2, ports: 12 },
    { kind: 'stop', signal: 'SIGTERM' },
  ];
  return events.map(
    (event, index) => ({ ...event, time: TIME + index, id: `7f3k9q2x.${index + 1}` }) as Event,
  );
}

/**
 * The keys of a line or of an RFC 3164 message, as a receiver should give them back: without quotation, and a byte as
 * `\xNN`. Written apart from the formatter's own parser, which gives the bytes themselves.
 */
export function fieldsIn(line: string): Record<string, string> {
  const keys = line.slice(line.indexOf(']: ')).matchAll(/ ([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))/g);
  return Object.fromEntries(
    Array.from(keys, ([, key, quoted, bare]) => [key!, bare ?? quoted!.replaceAll('\\"', '"')]),
  );
}
