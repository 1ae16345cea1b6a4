import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { exceptedPorts } from '../../src/nftables/excepted-ports.ts';
import { temporaryDirectory } from '../support/directory.ts';

function procWith(context: TestContext, range: string): string {
  const proc = temporaryDirectory(context);
  mkdirSync(join(proc, 'sys/net/ipv4'), { recursive: true });
  writeFileSync(join(proc, 'sys/net/ipv4/ip_local_port_range'), range);
  return proc;
}

const HTTP = { first: 80, last: 80 };

test("the kernel's range of outgoing connections is among them where it is asked for", (context) => {
  const proc = procWith(context, '1024\t65000\n');
  assert.deepEqual(exceptedPorts({ ports: [HTTP], ephemeral: true }, proc), [
    HTTP,
    { first: 1024, last: 65_000 },
  ]);
  assert.deepEqual(exceptedPorts({ ports: [HTTP], ephemeral: false }, proc), [HTTP]);
});

test('ranges that touch or overlap are one', (context) => {
  const proc = procWith(context, '1024 2000\n');
  const ports = [
    { first: 1000, last: 1023 },
    { first: 1999, last: 3000 },
  ];
  assert.deepEqual(exceptedPorts({ ports, ephemeral: true }, proc), [{ first: 1000, last: 3000 }]);
});

test('where the kernel tells no range, its own default is taken', (context) => {
  const usual = [{ first: 32_768, last: 60_999 }];
  for (const range of ['', 'x y', '5', '9 3', '0 70000', 'x'.repeat(1000)])
    assert.deepEqual(exceptedPorts({ ports: [], ephemeral: true }, procWith(context, range)), usual, range);
  assert.deepEqual(exceptedPorts({ ports: [], ephemeral: true }, '/nonexistent'), usual);
});
