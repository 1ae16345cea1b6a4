import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/address.ts';
import { covers } from '../../src/why/covers.ts';

const CASES: readonly (readonly [text: string, address: string, covered: boolean])[] = [
  ['198.51.100.7', '198.51.100.7', true],
  ['198.51.100.7/32', '198.51.100.7', true],
  ['198.51.100.70', '198.51.100.7', false],
  ['198.51.100.0/24', '198.51.100.7', true],
  ['198.51.101.0/24', '198.51.100.7', false],
  ['198.51.100.0/29', '198.51.100.7', true],
  ['198.51.100.8/29', '198.51.100.7', false],
  ['0.0.0.0/0', '198.51.100.7', true],
  ['::/0', '198.51.100.7', false],
  ['0.0.0.0/0', '2001:db8::7', false],
  ['2001:DB8:0::0007', '2001:db8::7', true],
  ['2001:db8::/64', '2001:db8::7', true],
  ['2001:db8:0:1::/64', '2001:db8::7', false],
  ['::ffff:198.51.100.0/120', '198.51.100.7', true],
  ['root', '198.51.100.7', false],
  ['198.51.100.7 \t2026-11-24', '198.51.100.7', false],
  ['', '198.51.100.7', false],
];

for (const [text, address, covered] of CASES) {
  test(`${JSON.stringify(text)} ${covered ? 'covers' : 'does not cover'} ${address}`, () => {
    assert.equal(covers(text, parseAddress(address)!), covered);
  });
}
