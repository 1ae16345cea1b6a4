import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTrustedProxies } from '../../src/daemon/trusted-proxies.ts';
import { type Network, parseNetwork } from '../../src/network.ts';

function networks(...texts: string[]): Network[] {
  return texts.map((text) => {
    const network = parseNetwork(text);
    assert.ok(!('expected' in network), text);
    return network;
  });
}

test('an address is trusted exactly where one of the networks covers it', () => {
  const isTrusted = createTrustedProxies(
    networks('10.0.0.0/8', '192.0.2.4/31', '192.0.2.77', '2001:db8::/32', '::1'),
  );
  for (const source of [
    '10.0.0.0',
    '10.255.255.255',
    '192.0.2.4',
    '192.0.2.5',
    '192.0.2.77',
    '2001:db8:ffff::1',
    '::1',
  ])
    assert.ok(isTrusted(source), source);
  for (const source of [
    '9.255.255.255',
    '11.0.0.0',
    '192.0.2.3',
    '192.0.2.6',
    '192.0.2.78',
    '2001:db9::',
    '::2',
    '::',
  ])
    assert.ok(!isTrusted(source), source);
});

test('without networks nobody is trusted', () => {
  const isTrusted = createTrustedProxies([]);
  assert.ok(!isTrusted('127.0.0.1'), 'IPv4');
  assert.ok(!isTrusted('::1'), 'IPv6');
});
