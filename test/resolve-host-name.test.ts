import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAddress } from '../src/address.ts';
import { resolveHostName } from '../src/resolve-host-name.ts';

const NEVER = new AbortController().signal;

test('localhost is what /etc/hosts says, in canonical text, whatever the letters', async () => {
  const lines = readFileSync('/etc/hosts', 'utf8').split('\n');
  const addresses = lines
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/))
    .filter(([, ...names]) => names.includes('localhost'))
    .flatMap(([address]) => parseAddress(address!) ?? []);
  assert.ok(addresses.length > 0, 'expected localhost in /etc/hosts, which every Linux has');
  const textsOf = (family: 4 | 6) =>
    addresses.filter((address) => address.family === family).map(({ text }) => text);
  const expected = { ipv4: textsOf(4), ipv6: textsOf(6), ttlSeconds: 60, failure: undefined };
  assert.deepEqual(await resolveHostName('localhost', NEVER), expected);
  assert.deepEqual(await resolveHostName('LocalHost', NEVER), expected);
});

test('a name that DNS cannot have is a failure with a reason, and no addresses are known', async () => {
  // refused before anything is sent: a label has at most 63 characters
  const { ipv4, ipv6, failure } = await resolveHostName(`${'a'.repeat(64)}.example`, NEVER);
  assert.deepEqual([ipv4, ipv6], [undefined, undefined]);
  assert.equal(failure, 'EBADNAME');
});
