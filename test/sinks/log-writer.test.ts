import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseLine } from '../../src/format/parse-line.ts';
import { openLogWriter } from '../../src/sinks/log-writer.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { anyEvent } from '../support/events.ts';

function open(path: string, maxPendingLines = 1000) {
  const lost: number[] = [];
  const writer = openLogWriter({
    path,
    mode: 0o600,
    origin: { sensor: 'web-1', pid: 1 },
    maxPendingLines,
    onTrouble: (error) => assert.fail(error),
    onRecovery: () => {},
    onTornLine: () => {},
    onClosed: (lines) => lost.push(lines),
  });
  return { writer, lost };
}

test('what was written is in the file when flush returns: winston keeps nothing back', async (context) => {
  const path = join(temporaryDirectory(context), 'x.log');
  const { writer, lost } = open(path);
  const events = fc.sample(anyEvent, 500);
  for (const event of events) writer.write(event);
  writer.flush();
  const lines = readFileSync(path, 'latin1').split('\n').slice(0, -1);
  assert.deepEqual(
    lines.map((line) => parseLine(line)?.event),
    events,
  );
  await writer.close();
  assert.deepEqual(lost, [0]);
});

test('there is room for as many lines as may be pending, and again after they are written', async (context) => {
  const { writer } = open(join(temporaryDirectory(context), 'x.log'), 3);
  const [event] = fc.sample(anyEvent, 1);
  const rooms = Array.from({ length: 5 }, () => {
    const room = writer.hasRoom();
    if (room) writer.write(event!);
    return room;
  });
  assert.deepEqual(rooms, [true, true, true, false, false]);
  writer.flush();
  assert.equal(writer.hasRoom(), true);
  await writer.close();
});

test('lines with captured bytes count by their bytes, too: a KiB is what a line may have on the average', async (context) => {
  const { writer } = open(join(temporaryDirectory(context), 'x.log'), 1000);
  const ends = { src: '198.51.100.7', spt: 1, dst: '203.0.113.5', dpt: 23, decoy: 'd' };
  const text = '\0'.repeat(65_536);
  let written = 0;
  for (; writer.hasRoom() && written < 1000; written++) {
    writer.write({ kind: 'data', time: 1, id: 'x.1', ...ends, bytes: 65_536, guess: 'unknown', text });
  }
  assert.equal(written, 4, 'a quarter of a MiB each');
  writer.flush();
  assert.ok(writer.hasRoom(), 'there is room again');
  await writer.close();
});
