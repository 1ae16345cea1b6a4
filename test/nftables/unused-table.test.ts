import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  UNUSED_TABLE_REMOVAL,
  type UnusedRules,
  unusedTableScript,
} from '../../src/nftables/unused-table.ts';

const RULES: UnusedRules = {
  port: 65_535,
  mark: 0x686f6e65,
  except: [
    { first: 80, last: 80 },
    { first: 32_768, last: 60_999 },
  ],
  tracksConnections: false,
  inUse: [22, 8000],
  remembered: new Map([[25, 3600]]),
};

function rulesOf(rules: Partial<UnusedRules>, chain: string): string[] {
  const script = unusedTableScript({ ...RULES, ...rules });
  return [...script.matchAll(new RegExp(`^add rule inet honeyport_unused ${chain} (.*)$`, 'gm'))].map(
    ([, rule]) => rule!,
  );
}

const matches = (rules: readonly string[]) => rules.map((rule) => rule.replace(/ comment ".*"$/, ''));

test('what is no decoy is accepted first, and what is left is handed over', () => {
  assert.deepEqual(matches(rulesOf({}, 'prerouting')), [
    'iif lo accept',
    'meta l4proto != tcp accept',
    'fib daddr type != local accept',
    'tcp flags & (fin | syn | rst | ack) == syn socket transparent 0 socket mark != 0x686f6e65 update @inuse { tcp dport }',
    'meta l4proto tcp socket transparent 0 accept',
    'tcp flags & (fin | syn | rst | ack) == syn tcp dport != 65535 socket transparent 1 socket mark != 0x686f6e65 update @inuse { tcp dport }',
    'tcp dport != 65535 socket transparent 1 socket mark != 0x686f6e65 accept',
    'tcp dport { 80, 32768-60999 } accept',
    'tcp dport @inuse accept',
    'tcp dport @remembered accept',
    'meta l4proto tcp tproxy to :65535 accept',
  ]);
});

test('where connections are tracked, a port that DNAT publishes is in use, and else nothing asks for tracking', () => {
  const rules = matches(rulesOf({ tracksConnections: true }, 'prerouting'));
  assert.equal(
    rules[2],
    'tcp flags & (fin | syn | rst | ack) == syn ct status dnat update @inuse { ct original proto-dst }',
  );
  assert.doesNotMatch(unusedTableScript(RULES), /\bct /);
});

test('each rule says what it is for, in no more than nft takes', () => {
  for (const chain of ['prerouting', 'input']) {
    for (const rule of rulesOf({ tracksConnections: true }, chain)) {
      const [, comment = ''] = / comment "(.*)"$/.exec(rule) ?? [];
      assert.ok(comment.length > 0 && comment.length <= 128, rule);
    }
  }
});

test('without a mark every socket that is not of the listener is a service, and without exceptions none is made', () => {
  const rules = matches(rulesOf({ mark: undefined, except: [] }, 'prerouting'));
  assert.ok(
    rules.includes(
      'tcp flags & (fin | syn | rst | ack) == syn socket transparent 0 update @inuse { tcp dport }',
    ),
  );
  assert.ok(
    rules.includes(
      'tcp flags & (fin | syn | rst | ack) == syn tcp dport != 65535 socket transparent 1 socket wildcard 1 update @inuse { tcp dport }',
    ),
  );
  assert.ok(rules.includes('tcp dport != 65535 socket transparent 1 accept'));
  assert.equal(rules.length, 10);
});

test("the listener's own port is closed to this host and where it is no decoy", () => {
  assert.deepEqual(matches(rulesOf({}, 'input')), [
    'iif lo tcp dport 65535 socket transparent 1 reject with tcp reset',
    'tcp dport @inuse tcp dport 65535 socket transparent 1 reject with tcp reset',
    'tcp dport @remembered tcp dport 65535 socket transparent 1 reject with tcp reset',
  ]);
  assert.deepEqual(matches(rulesOf({ except: [{ first: 60_000, last: 65_535 }] }, 'input')), [
    'tcp dport 65535 socket transparent 1 reject with tcp reset',
  ]);
});

test('ports in use get their whole day again, remembered ones what is left of it', () => {
  const elements = unusedTableScript(RULES).match(/^(?:add|delete|flush) (?:element|set) .*$/gm)!;
  assert.deepEqual(elements.slice(2), [
    'add element inet honeyport_unused inuse { 22, 8000 }',
    'delete element inet honeyport_unused inuse { 22, 8000 }',
    'add element inet honeyport_unused inuse { 22, 8000 }',
    'flush set inet honeyport_unused remembered',
    'add element inet honeyport_unused remembered { 25 timeout 3600s }',
  ]);
  assert.match(
    elements[0]!,
    / inuse \{ type inet_service; flags dynamic,timeout; timeout 86400s; size 65535; \}$/,
  );
});

test('where nothing is to be remembered, what is loaded is left to its end', () => {
  const script = unusedTableScript({ ...RULES, inUse: [], remembered: undefined });
  assert.doesNotMatch(script, /element|flush set/);
  assert.match(unusedTableScript({ ...RULES, remembered: new Map() }), /^flush set \S+ \S+ remembered$/m);
});

test('the table is never deleted by what replaces it, and is by the removal, also where there is none', () => {
  assert.doesNotMatch(unusedTableScript(RULES), /delete table|flush (?:table|ruleset)/);
  assert.equal(UNUSED_TABLE_REMOVAL, 'add table inet honeyport_unused\ndelete table inet honeyport_unused\n');
});
