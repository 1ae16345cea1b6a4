import fc from 'fast-check';
import type { Event } from '../../src/event.ts';

/** Strings of any bytes, and of what would end a line, a value or a quotation. */
const text = fc.oneof(
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  fc
    .array(
      fc.constantFrom(
        '"',
        '\\',
        '\n',
        '\r',
        '\0',
        '\x1b[2J',
        ' src=192.0.2.66',
        ' connect ',
        '=',
        'honeyport[1]: ',
        '\x9b',
        'x0a',
      ),
    )
    .map((parts) => parts.join('')),
);
const port = fc.integer({ min: 0, max: 65_535 });
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const recorded = { time: fc.integer({ min: 0, max: Date.UTC(2999, 0, 1) }), id: text };
const endpoints = { src: text, spt: port, dst: text, dpt: port, decoy: text };
const connection = { ...recorded, ...endpoints };

/** An event of any kind whose strings hold anything, far beyond what the program itself would put there. */
export const anyEvent: fc.Arbitrary<Event> = fc
  .oneof(
    fc.record({ kind: fc.constant('connect' as const), ...connection }),
    fc.record({ kind: fc.constant('connect' as const), ...connection, ttl: size, win: size, syn: text }),
    fc.record({ kind: fc.constant('allowed' as const), ...connection, by: text }),
    fc.record({ kind: fc.constant('withheld' as const), ...connection, reason: text }),
    fc.record({ kind: fc.constant('data' as const), ...connection, bytes: size, guess: text, text }),
    fc.record({
      kind: fc.constant('close' as const),
      ...connection,
      duration_ms: size,
      rx: size,
      tx: size,
      by: text,
    }),
    fc.record({
      kind: fc.constant('suppressed' as const),
      ...recorded,
      src: text,
      count: size,
      dpt: text,
      reason: text,
    }),
    fc.record({ kind: fc.constant('suppressed' as const), ...recorded, count: size, reason: text }),
    fc.record({
      kind: fc.constant('start' as const),
      ...recorded,
      version: text,
      schema: size,
      decoys: size,
      ports: size,
    }),
    fc.record({ kind: fc.constant('reload' as const), ...recorded, result: text, decoys: size, ports: size }),
    fc.record({ kind: fc.constant('stop' as const), ...recorded, signal: text }),
  )
  .map((event) => ({ ...event }) as Event);
