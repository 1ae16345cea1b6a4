import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Configuration } from '../../src/configuration/configuration.ts';
import { parseConfiguration } from '../../src/configuration/load.ts';
import { portsInUse } from '../../src/rules/ports-in-use.ts';

const CONFIGURATION = configuration(`decoys:
  - { name: all, ports: [23, 2323] }
  - { name: one, ports: 22, address: 192.0.2.10 }
  - { name: six, ports: 22, address: "2001:db8::10" }
  - { ports: unused }
`);

function configuration(text: string): Configuration {
  return parseConfiguration(Buffer.from(text), 'honeyport.yaml');
}

function inUse(...sockets: [address: string, port: number][]): number[] {
  return portsInUse(
    sockets.map(([address, port]) => ({ address, port })),
    CONFIGURATION,
  );
}

test('what listens for others is in use, each port once, rising', () => {
  assert.deepEqual(
    inUse(['::', 8080], ['0.0.0.0', 25], ['192.0.2.1', 25], ['2001:db8::1', 8443], ['fe80::1', 53]),
    [25, 53, 8080, 8443],
  );
});

test('what listens on loopback alone is not', () => {
  assert.deepEqual(inUse(['127.0.0.1', 5432], ['127.0.0.53', 53], ['::1', 631], ['0.0.0.0', 631]), [631]);
});

test("the listener's own sockets are not, but another one at a decoy's port is", () => {
  assert.deepEqual(
    inUse(['::', 23], ['0.0.0.0', 2323], ['192.0.2.10', 22], ['2001:db8::10', 22], ['::', 65_535]),
    [],
  );
  assert.deepEqual(inUse(['192.0.2.11', 22]), [22]);
  assert.deepEqual(inUse(['::', 22]), [22]);
  assert.deepEqual(inUse(['192.0.2.11', 65_535]), [65_535]);
});
