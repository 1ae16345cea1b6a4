import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { rememberPorts } from '../../src/rules/remembered-ports.ts';
import { temporaryDirectory } from '../support/directory.ts';

const NOW = Date.UTC(2026, 10, 22);
const HOUR_MS = 3_600_000;
const DAY = 86_400;

function memory(context: TestContext): string {
  return join(temporaryDirectory(context), 'ports.json');
}

function remembered(path: string, inUse: number[], nowMs: number): Record<string, number> {
  const { remembered, problems } = rememberPorts(path, { ports: inUse, tracksConnections: false }, nowMs);
  assert.deepEqual(problems, []);
  return Object.fromEntries(remembered);
}

test('a port that was in use is remembered for what is left of a day, and then forgotten', (context) => {
  const path = memory(context);
  assert.deepEqual(remembered(path, [22, 80], NOW), {});
  assert.deepEqual(remembered(path, [80], NOW + HOUR_MS), { 22: DAY - 3600 });
  assert.deepEqual(remembered(path, [], NOW + 24 * HOUR_MS - 1000), { 22: 1, 80: 3601 });
  assert.deepEqual(remembered(path, [], NOW + 24 * HOUR_MS), { 80: 3600 });
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), {
    version: 1,
    ports: { 80: (NOW + HOUR_MS) / 1000 },
  });
});

test('a port that is in use again has its whole day again', (context) => {
  const path = memory(context);
  remembered(path, [22], NOW);
  remembered(path, [22], NOW + 23 * HOUR_MS);
  assert.deepEqual(remembered(path, [], NOW + 24 * HOUR_MS), { 22: DAY - 3600 });
});

test('a clock that was ahead makes no port stay longer than a day', (context) => {
  const path = memory(context);
  remembered(path, [22], NOW + 1000 * HOUR_MS);
  assert.deepEqual(remembered(path, [], NOW), { 22: DAY });
  assert.deepEqual(remembered(path, [], NOW + HOUR_MS), { 22: DAY - 3600 });
});

test('a file that is damaged is said, and begun anew', (context) => {
  const path = memory(context);
  const ports = (text: string) => `{"version":1,"ports":${text}}`;
  const texts = ['', '{', 'null', '[]', '7', '"x"', '{"version":1}', '{"version":2,"ports":{}}'];
  const contents = [
    'null',
    '[1]',
    '{"0":1}',
    '{"65536":1}',
    '{"x":1}',
    '{"22":"1"}',
    '{"22":null}',
    '{"22":1.5}',
  ];
  for (const text of [...texts, ...contents.map(ports)]) {
    writeFileSync(path, text);
    const { remembered, problems } = rememberPorts(path, { ports: [22], tracksConnections: false }, NOW);
    assert.deepEqual([...remembered], []);
    assert.match(
      problems.join('\n'),
      /^ports that were in use are forgotten, the file is begun anew: \S+ports\.json: expected [^\n]*$/,
      text,
    );
    assert.deepEqual(rememberPorts(path, { ports: [], tracksConnections: false }, NOW), {
      remembered: new Map([[22, DAY]]),
      tracksConnections: false,
      problems: [],
    });
  }
});

test('it is for nobody else to read, and no link is followed', (context) => {
  const path = memory(context);
  remembered(path, [22], NOW);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const link = join(temporaryDirectory(context), 'link.json');
  symlinkSync(path, link);
  const { remembered: ports, problems } = rememberPorts(link, { ports: [80], tracksConnections: false }, NOW);
  assert.deepEqual([...ports], []);
  assert.match(problems.join(), /got a symbolic link$/);
  assert.deepEqual(remembered(path, [], NOW), { 22: DAY });
  assert.deepEqual(remembered(link, [], NOW), { 80: DAY });
});

test('where it cannot be written it is said, and what is known is used all the same', (context) => {
  const path = memory(context);
  remembered(path, [22], NOW);
  // in the place of what becomes the file
  mkdirSync(`${path}.new/full`, { recursive: true });
  const { remembered: ports, problems } = rememberPorts(path, { ports: [80], tracksConnections: false }, NOW);
  assert.deepEqual([...ports], [[22, DAY]]);
  assert.match(
    problems.join(),
    /^ports that are in use now will not be remembered: cannot write \S+ports\.json: /,
  );
});

test('every port there is can be remembered', (context) => {
  const path = memory(context);
  const all = Array.from({ length: 65_535 }, (_, index) => index + 1);
  remembered(path, all, NOW);
  assert.equal(rememberPorts(path, { ports: [], tracksConnections: false }, NOW).remembered.size, 65_535);
});

test('a host that tracked connections within a day is one that does, and tells a day later no more', (context) => {
  const path = join(temporaryDirectory(context), 'ports.json');
  const tracks = (tracksConnections: boolean, nowMs: number) =>
    rememberPorts(path, { ports: [], tracksConnections }, nowMs).tracksConnections;
  assert.equal(tracks(false, NOW), false);
  assert.equal(tracks(true, NOW), true);
  assert.equal(tracks(false, NOW + 24 * HOUR_MS - 1000), true);
  assert.equal(tracks(false, NOW + 24 * HOUR_MS), false);
});
