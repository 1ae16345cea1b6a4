import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAllowList } from '../../src/allow/allow-list.ts';
import type { AllowEntry, AllowedNetwork } from '../../src/configuration/allow-entry.ts';
import { parseAllowFile } from '../../src/configuration/allow-file.ts';
import { parseNetwork } from '../../src/network.ts';

const entriesOf = (...lines: string[]): AllowEntry[] =>
  parseAllowFile(Buffer.from(`${lines.join('\n')}\n`), 'L');

function guarded(text: string): AllowedNetwork {
  const network = parseNetwork(text);
  assert.ok(!('expected' in network));
  return { source: 'guard:own', network, ports: undefined, until: undefined };
}

/** A list with everything in it. */
function fullList() {
  const list = createAllowList();
  list.useEntries(entriesOf('192.0.2.0/24 ports=22', 'A.example ports=23', 'b.example'));
  const addresses: Readonly<Record<string, string[]>> = {
    'A.example': ['192.0.2.1', '2001:db8::1'],
    'b.example': ['192.0.2.2', 'no address'],
  };
  list.useHostNames((name) => addresses[name]!);
  list.useGuarded([guarded('192.0.2.1'), guarded('192.0.2.3')]);
  return list;
}

test('an empty list allows nobody', () => {
  const list = createAllowList();
  assert.equal(list.find('192.0.2.1', 22, 0), undefined);
  assert.deepEqual([...list.networks()], []);
});

test('an entry of the admin comes before the guard, also where the prefix of the guard is longer', () => {
  const list = fullList();
  assert.equal(list.find('192.0.2.1', 22, 0)?.source, '192.0.2.0/24');
  assert.equal(list.find('192.0.2.3', 22, 0)?.source, '192.0.2.0/24');
  assert.equal(list.find('192.0.2.3', 23, 0)?.source, 'guard:own');
});

test('a host name allows all of its addresses, with the limits of its entry', () => {
  const list = fullList();
  assert.equal(list.find('192.0.2.1', 23, 0)?.source, 'A.example');
  assert.equal(list.find('2001:db8::1', 23, 0)?.source, 'A.example');
  assert.equal(list.find('2001:db8::1', 24, 0), undefined);
  assert.equal(list.find('192.0.2.2', 99, 0)?.source, 'b.example');
});

test('networks has every entry, every address of a host name and what the guard found', () => {
  assert.deepEqual(
    [...fullList().networks()].map(({ source, network }) => `${source} ${network.text}`),
    [
      '192.0.2.0/24 192.0.2.0/24',
      'A.example 192.0.2.1/32',
      'A.example 2001:db8::1/128',
      'b.example 192.0.2.2/32',
      'guard:own 192.0.2.1/32',
      'guard:own 192.0.2.3/32',
    ],
  );
});

test('findAll has all that cover a source, entries first', () => {
  assert.deepEqual(
    fullList()
      .findAll('192.0.2.1')
      .map(({ source }) => source),
    ['192.0.2.0/24', 'A.example', 'guard:own'],
  );
});

test('each part is replaced for itself', () => {
  const list = fullList();
  list.useHostNames(() => []);
  assert.equal(list.find('192.0.2.2', 99, 0), undefined);
  list.useGuarded([]);
  assert.equal(list.find('192.0.2.3', 23, 0), undefined);
  assert.equal(list.find('192.0.2.3', 22, 0)?.source, '192.0.2.0/24');
  list.useEntries([]);
  assert.equal(list.find('192.0.2.3', 22, 0), undefined);
});
