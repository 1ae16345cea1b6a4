import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { readOwnAddresses } from '../../src/guard/own-addresses.ts';

/** An interface's address as node tells it. */
function infoOf(cidr: string, internal = false): NetworkInterfaceInfo {
  const address = cidr.split('/')[0]!;
  const others = { address, netmask: '', mac: '00:00:00:00:00:00', internal, cidr };
  return isIPv6(address) ? { ...others, family: 'IPv6', scopeid: 0 } : { ...others, family: 'IPv4' };
}

const findingsOf = (...cidrs: string[]) => readOwnAddresses({ eth0: cidrs.map((cidr) => infoOf(cidr)) });
const bridgesOf = (...cidrs: string[]) => findingsOf(...cidrs).bridges;

test('own addresses are those of every interface, in canonical text and without a zone', () => {
  const { own } = readOwnAddresses({
    lo: [infoOf('127.0.0.1/8', true), infoOf('::1/128', true)],
    eth0: [infoOf('203.0.113.5/24'), infoOf('2001:DB8::5/64'), infoOf('fe80::5%eth0/64')],
    down: undefined,
  });
  assert.deepEqual(own, ['127.0.0.1', '::1', '203.0.113.5', '2001:db8::5', 'fe80::5']);
});

test("a private network's first address is a bridge, in whatever range it is private", () => {
  for (const [cidr, bridge] of [
    ['172.18.0.5/16', '172.18.0.1'],
    ['172.31.255.254/20', '172.31.240.1'],
    ['10.88.0.7/16', '10.88.0.1'],
    ['10.1.2.3/8', '10.0.0.1'],
    ['192.168.122.77/24', '192.168.122.1'],
    ['100.64.3.4/10', '100.64.0.1'],
    ['10.0.0.130/25', '10.0.0.129'],
    ['10.0.0.6/30', '10.0.0.5'],
    ['fd00::5/64', 'fd00::1'],
    ['fd12:3456:789a:1::42/64', 'fd12:3456:789a:1::1'],
    ['fc00::a/126', 'fc00::9'],
  ] as const) {
    assert.deepEqual(bridgesOf(cidr), [bridge], cidr);
  }
});

test('public, link-local and documentation networks have no bridge', () => {
  for (const cidr of [
    '203.0.113.5/24',
    '172.15.0.5/16',
    '172.32.0.5/16',
    '192.169.0.5/24',
    '100.128.0.5/16',
    '11.0.0.5/8',
    '169.254.0.5/16',
    '2001:db8::5/64',
    'fe80::5/64',
    'fe00::5/64',
  ]) {
    assert.deepEqual(bridgesOf(cidr), [], cidr);
  }
});

test('a host that has the first address itself is the bridge, and has none', () => {
  assert.deepEqual(bridgesOf('172.17.0.1/16'), []);
  assert.deepEqual(bridgesOf('172.17.0.5/16', '172.17.0.1/16'), []);
  assert.deepEqual(bridgesOf('fd00::1/64'), []);
});

test('networks of one or two addresses have no bridge', () => {
  assert.deepEqual(bridgesOf('10.0.0.2/31', '10.0.0.2/32', 'fd00::2/127', 'fd00::2/128'), []);
});

test('an interface within the host, and one whose network is not known, has no bridge', () => {
  const { own, bridges } = readOwnAddresses({
    lo: [infoOf('10.0.0.5/8', true)],
    tun0: [{ ...infoOf('10.9.0.5/24'), cidr: null }],
  });
  assert.deepEqual([own, bridges], [['10.0.0.5', '10.9.0.5'], []]);
});

test("this host's own interfaces are read where none are given", () => {
  const { own } = readOwnAddresses();
  const count = Object.values(networkInterfaces()).flat().length;
  assert.equal(own.length, count);
});
