import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Connection, NOT_KEPT } from '../../src/capture/connection.ts';
import type { AllowedNetwork } from '../../src/configuration/allow-entry.ts';
import { judge, type Knowledge } from '../../src/daemon/judge.ts';
import { parseNetwork } from '../../src/network.ts';

const CONNECTION: Connection = {
  time: 1000,
  src: '198.51.100.7',
  spt: 40_112,
  dst: '203.0.113.5',
  dpt: 23,
  decoy: 'telnet',
  fromCookie: false,
  fingerprint: { ttl: 52, win: 64_240, syn: 'mss:1460' },
  fd: NOT_KEPT,
  proxy: undefined,
};
const FROM_COOKIE: Connection = { ...CONNECTION, fromCookie: true, fingerprint: undefined };
/** What each event has of a connection. */
const ENDS = {
  time: 1000,
  src: '198.51.100.7',
  spt: 40_112,
  dst: '203.0.113.5',
  dpt: 23,
  decoy: 'telnet',
};

function allowedBy(source: string): AllowedNetwork {
  const network = parseNetwork('198.51.100.7');
  assert.ok(!('expected' in network));
  return { source, network, ports: undefined, until: undefined };
}

const ENTRY = allowedBy('198.51.100.0/24');
const GUARD = allowedBy('guard:gateway');

interface Facts {
  readonly allowed?: AllowedNetwork;
  /** A guard that is on; with `nat`, one that sees a translator. */
  readonly guard?: 'off' | 'on' | 'translator' | 'bridge';
  readonly hides?: boolean;
  readonly lets?: boolean;
  readonly cookies?: Knowledge['cookies'];
}

/** The knowledge, and every question that was put to it. */
function knowing({ allowed, guard = 'on', hides = false, lets, cookies = 'withhold' }: Facts) {
  const asked: string[] = [];
  const translators = new Set(guard === 'translator' || guard === 'bridge' ? [CONNECTION.src] : []);
  const knowledge: Knowledge = {
    findAllowed: (source, port, now) => {
      asked.push(`allowed ${source} ${port} ${now}`);
      return allowed;
    },
    guarded:
      guard === 'off'
        ? undefined
        : { allowed: [], translators, bridges: guard === 'bridge' ? translators : new Set() },
    nat: {
      hides: (source, isTranslator) => {
        asked.push(`nat ${source} ${isTranslator}`);
        return hides;
      },
    },
    brake:
      lets === undefined
        ? undefined
        : {
            lets: (source, now) => {
              asked.push(`brake ${source} ${now}`);
              return lets;
            },
          },
    cookies,
  };
  return { knowledge, asked };
}

const ASKED = { allowed: 'allowed 198.51.100.7 23 1000', brake: 'brake 198.51.100.7 1000' };

/** What is known of a source, what becomes of it, and what was asked for that, in this order. */
const CASES: readonly (readonly [string, Connection, Facts, string, ...string[]])[] = [
  ['a source of which nothing is known', CONNECTION, {}, 'connect', ASKED.allowed, 'nat 198.51.100.7 false'],
  ['a source, while the guard is off,', CONNECTION, { guard: 'off' }, 'connect', ASKED.allowed],
  [
    'a source that an entry covers, against every doubt,',
    FROM_COOKIE,
    { allowed: ENTRY, guard: 'bridge', hides: true, lets: false },
    'allowed by 198.51.100.0/24',
    ASKED.allowed,
  ],
  [
    'a source that hides others, though the guard covers it, with a cookie,',
    FROM_COOKIE,
    { allowed: GUARD, guard: 'translator', hides: true, lets: false },
    'withheld nat',
    ASKED.allowed,
    'nat 198.51.100.7 true',
  ],
  [
    'a bridge, though nothing proves that it hides others,',
    CONNECTION,
    { guard: 'bridge', lets: false },
    'withheld nat',
    ASKED.allowed,
    'nat 198.51.100.7 true',
  ],
  [
    'a source that the guard covers, with a cookie and a brake that holds,',
    FROM_COOKIE,
    { allowed: GUARD, guard: 'translator', lets: false },
    'allowed by guard:gateway',
    ASKED.allowed,
    'nat 198.51.100.7 true',
  ],
  [
    'a connection from a cookie while the brake holds',
    FROM_COOKIE,
    { lets: false },
    'withheld cookie',
    ASKED.allowed,
    'nat 198.51.100.7 false',
  ],
  [
    'a connection from a cookie that counts, while the brake holds',
    FROM_COOKIE,
    { lets: false, cookies: 'count' },
    'withheld brake',
    ASKED.allowed,
    'nat 198.51.100.7 false',
    ASKED.brake,
  ],
  [
    'a connection from a cookie that counts',
    FROM_COOKIE,
    { guard: 'off', cookies: 'count' },
    'connect',
    ASKED.allowed,
  ],
  [
    'a source that the brake holds',
    CONNECTION,
    { guard: 'off', lets: false },
    'withheld brake',
    ASKED.allowed,
    ASKED.brake,
  ],
  [
    'a source that the brake lets pass',
    CONNECTION,
    { guard: 'off', lets: true },
    'connect',
    ASKED.allowed,
    ASKED.brake,
  ],
];

for (const [title, connection, facts, verdict, ...questions] of CASES) {
  test(`${title} is ${verdict}`, () => {
    const { knowledge, asked } = knowing(facts);
    const event = judge(connection, knowledge);
    const detail =
      event.kind === 'withheld' ? ` ${event.reason}` : event.kind === 'allowed' ? ` by ${event.by}` : '';
    assert.equal(`${event.kind}${detail}`, verdict);
    assert.deepEqual(asked, questions);
  });
}

const eventOf = (connection: Connection, facts: Facts) => judge(connection, knowing(facts).knowledge);

test('a connect has the fingerprint of its SYN, and no keys of one where none is known', () => {
  assert.deepEqual(eventOf(CONNECTION, {}), {
    kind: 'connect',
    ...ENDS,
    ttl: 52,
    win: 64_240,
    syn: 'mss:1460',
  });
  const without = eventOf({ ...CONNECTION, fingerprint: undefined }, {});
  assert.deepEqual(Object.keys(without), ['kind', ...Object.keys(ENDS)]);
});

test('a connect from a cookie has no fingerprint', () => {
  const connection = { ...CONNECTION, fromCookie: true };
  assert.deepEqual(eventOf(connection, { cookies: 'count' }), { kind: 'connect', ...ENDS });
});

test('allowed and withheld have the ends, the decoy and why, and nothing else', () => {
  assert.deepEqual(eventOf(CONNECTION, { allowed: ENTRY }), {
    kind: 'allowed',
    ...ENDS,
    by: '198.51.100.0/24',
  });
  assert.deepEqual(eventOf(FROM_COOKIE, {}), { kind: 'withheld', ...ENDS, reason: 'cookie' });
});

test('who comes through a proxy is judged by himself, and the proxy stands in the event', () => {
  const proxied: Connection = {
    ...CONNECTION,
    fingerprint: undefined,
    proxy: { address: '10.0.0.5', port: 50_123 },
  };
  const named = { proxy: '10.0.0.5', proxy_spt: 50_123 };
  assert.deepEqual(judge(proxied, knowing({}).knowledge), { kind: 'connect', ...ENDS, ...named });
  const allowed = knowing({ allowed: allowedBy('198.51.100.7') }).knowledge;
  assert.deepEqual(judge(proxied, allowed), { kind: 'allowed', ...ENDS, by: '198.51.100.7', ...named });
  // the proxy's own SYN was answered with a cookie, so who he speaks for is as doubtful as he is
  const fromCookie = judge({ ...proxied, fromCookie: true }, knowing({}).knowledge);
  assert.deepEqual(fromCookie, { kind: 'withheld', ...ENDS, reason: 'cookie', ...named });
});

test('a proxy that names nobody is withheld, also where the guard knows it, but not where the admin lists it', () => {
  const withheld = { kind: 'withheld', ...ENDS, reason: 'proxy' };
  assert.deepEqual(judge(CONNECTION, knowing({}).knowledge, true), withheld);
  const guarded = knowing({ allowed: GUARD }).knowledge;
  assert.deepEqual(judge(CONNECTION, guarded, true), withheld);
  const listed = knowing({ allowed: allowedBy('10.0.0.0/8') }).knowledge;
  assert.deepEqual(judge(CONNECTION, listed, true), { kind: 'allowed', ...ENDS, by: '10.0.0.0/8' });
});
