import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNat } from '../../src/withhold/nat.ts';

const GATEWAY = '172.18.0.1';

function startNat() {
  const told: string[] = [];
  const nat = createNat((source, count, total) => told.push(`${source} ${count}/${total}`));
  const fromGateway = (source = GATEWAY) => nat.hides(source, true);
  const fromOther = () => nat.hides('198.51.100.7', false);
  return { told, fromGateway, fromOther };
}

const times = (count: number, run: () => boolean) => Array.from({ length: count }, run);

test('fewer than ten connections say nothing, also where there are no others', () => {
  const { told, fromGateway } = startNat();
  assert.ok(!times(9, fromGateway).includes(true));
  assert.deepEqual(told, []);
  assert.ok(fromGateway());
  assert.deepEqual(told, ['172.18.0.1 10/10']);
});

test('a translator hides the others while more than half of the connections are its own', () => {
  const { told, fromGateway, fromOther } = startNat();
  times(10, fromOther);
  assert.ok(!times(10, () => fromGateway()).includes(true));
  assert.ok(fromGateway());
  assert.deepEqual(told, ['172.18.0.1 11/21']);
  times(2, fromOther);
  assert.ok(!fromGateway());
  assert.ok(fromGateway());
});

test('each translator is told once, and counted for itself', () => {
  const { told, fromGateway, fromOther } = startNat();
  times(50, () => fromGateway());
  times(60, fromOther);
  assert.ok(!fromGateway());
  times(60, () => fromGateway());
  assert.deepEqual(told, ['172.18.0.1 10/10']);
  times(250, () => fromGateway('172.19.0.1'));
  assert.equal(told.length, 2);
  assert.match(told[1]!, /^172\.19\.0\.1 /);
});

test('what is no translator hides nobody, however often it comes', () => {
  const { told, fromOther } = startNat();
  assert.ok(!times(1000, fromOther).includes(true));
  assert.deepEqual(told, []);
});

test('counts are halved at 256 connections, so that the latest weigh most', () => {
  const { told, fromGateway, fromOther } = startNat();
  times(10_000, fromOther);
  // without halving it would take as many again
  const needed = times(300, () => fromGateway()).indexOf(true) + 1;
  assert.ok(needed > 10 && needed < 256, `${needed}`);
  assert.equal(told.length, 1);
  const calm = times(300, fromOther).length;
  assert.equal(calm, 300);
  assert.ok(!fromGateway());
});

test('halving keeps the shares', () => {
  const { told, fromGateway, fromOther } = startNat();
  // two of three, then of 254 the 255th and the 256th
  for (let n = 0; n < 85; n++) {
    fromGateway();
    fromGateway();
    fromOther();
  }
  assert.deepEqual(told, ['172.18.0.1 10/14']);
  assert.ok(fromGateway());
  assert.ok(fromGateway());
});
