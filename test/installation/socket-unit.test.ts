import assert from 'node:assert/strict';
import { test } from 'node:test';
import { socketDropInText, socketUnitText } from '../../src/installation/socket-unit.ts';
import { configurationOf } from '../configuration/support.ts';

function streams(text: string): string[] {
  return [...socketUnitText(configurationOf(text)).matchAll(/^ListenStream=(.*)$/gm)].map(
    ([, stream]) => stream!,
  );
}

function settings(text: string, name: string): string[] {
  return [...text.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value!);
}

test('the socket unit has each port of each decoy, with its address', () => {
  const text = `
decoys:
  - ports: [23, 5900-5902]
  - { ports: 22, address: 192.0.2.10 }
  - { name: ssh6, ports: [22], address: "2001:DB8::1" }
`;
  assert.deepEqual(streams(text), ['23', '5900', '5901', '5902', '192.0.2.10:22', '[2001:db8::1]:22']);
  assert.deepEqual(settings(socketUnitText(configurationOf(text)), 'BindIPv6Only'), ['both']);
});

test('beside a decoy on all of IPv6 alone, all addresses are a socket for each family', () => {
  const text =
    'decoys: [{ ports: 23 }, { ports: 24, address: "::" }, { name: v4, ports: 24, address: 0.0.0.0 }]';
  assert.deepEqual(streams(text), ['0.0.0.0:23', '[::]:23', '[::]:24', '0.0.0.0:24']);
  assert.deepEqual(settings(socketUnitText(configurationOf(text)), 'BindIPv6Only'), ['ipv6-only']);
});

test('both files say whose they are, and that they are replaced', () => {
  const configuration = configurationOf('decoys: [{ ports: 23 }]');
  for (const text of [socketUnitText(configuration), socketDropInText(configuration)]) {
    assert.match(text, /^# Author: {2}the honeyport project$/m);
    assert.match(text, /which replaces it/);
    assert.match(text, /systemctl edit /);
  }
});

test('the drop-in takes every capability away', () => {
  for (const name of ['AmbientCapabilities', 'CapabilityBoundingSet'])
    assert.deepEqual(settings(socketDropInText(configurationOf('decoys: [{ ports: 23 }]')), name), ['']);
});

test('ports: unused has no port that systemd opens, and leaves the service the right that it takes', () => {
  const text = 'decoys: [{ ports: 23 }, { ports: unused }]';
  assert.deepEqual(streams(text), ['23']);
  for (const name of ['AmbientCapabilities', 'CapabilityBoundingSet'])
    assert.deepEqual(settings(socketDropInText(configurationOf(text)), name), ['CAP_NET_RAW']);
});
