import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Event } from '../../src/event.ts';
import { createConsole } from '../../src/sinks/console.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { waitFor } from '../support/wait.ts';

const EVENT: Event = { kind: 'stop', time: 0, signal: 'SIGTERM', id: 'x.1' };

/** Both ends of a pipe, through a FIFO, which anybody can make. */
function openPipe(directory: string) {
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { reader, writer: openSync(path, 'w') };
}

function readAll(fd: number): string {
  const buffer = Buffer.alloc(1 << 20);
  try {
    return buffer.toString('latin1', 0, readSync(fd, buffer));
  } catch {
    return '';
  }
}

test('a pipe that nobody reads holds nothing up; what is left out is counted once it is read', async (context) => {
  const { reader, writer } = openPipe(temporaryDirectory(context));
  const dropped: number[] = [];
  const sink = createConsole({
    fd: writer,
    format: () => 'x'.repeat(99),
    onDropped: (lines) => dropped.push(lines),
  })!;
  const written = 20_000;
  for (let n = 0; n < written; n++) {
    sink.write(EVENT);
    sink.flush();
  }
  let text = '';
  await waitFor(
    () => {
      text += readAll(reader);
      sink.flush();
      return dropped.length > 0 && text.length === (written - dropped[0]!) * 100;
    },
    { deadlineMs: 5000, what: 'the dropped lines to be told' },
  );
  assert.ok(dropped[0]! > 0);
  assert.match(text, /^(x{99}\n)+$/);
  await sink.close();
  closeSync(reader);
  closeSync(writer);
});

test('a reader that goes away ends the sink quietly', async (context) => {
  const { reader, writer } = openPipe(temporaryDirectory(context));
  const sink = createConsole({ fd: writer, format: () => 'x', onDropped: () => assert.fail() })!;
  closeSync(reader);
  for (let n = 0; n < 3; n++) {
    sink.write(EVENT);
    sink.flush();
  }
  await sink.close();
  closeSync(writer);
});
