import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../../src/event.ts';
import { createRecorder } from '../../src/sinks/recorder.ts';
import type { BoundedSink } from '../../src/sinks/sink.ts';

/** A sink with as much room as the test says. */
function createRoom(room: number): BoundedSink & { events: Event[]; room: number; flushes: number } {
  return {
    events: [],
    room,
    flushes: 0,
    hasRoom() {
      return this.room > 0;
    },
    write(event) {
      this.events.push(event);
      this.room -= 1;
    },
    flush() {
      this.flushes += 1;
    },
    close: async () => {},
  };
}

const stop = (n: number) => ({ kind: 'stop', time: n, signal: `S${n}` }) as const;
const numberOf = ({ id }: Event) => id.split('.')[1];

test('ids of a start share a random instance, and rise by one without gaps', () => {
  const file = createRoom(100);
  const recorder = createRecorder({ file, others: [] });
  for (let n = 0; n < 5; n++) recorder.record(stop(n));
  assert.deepEqual(file.events.map(numberOf), ['1', '2', '3', '4', '5']);
  const instances = new Set(file.events.map(({ id }) => id.split('.')[0]));
  assert.equal(instances.size, 1);
  assert.match([...instances][0]!, /^[a-z2-7]{8}$/);
  const other = createRoom(1);
  createRecorder({ file: other, others: [] }).record(stop(1));
  assert.ok(!instances.has(other.events[0]!.id.split('.')[0]!));
});

test('every sink gets the same event, and one flush a batch', () => {
  const file = createRoom(10);
  const shown = createRoom(10);
  const recorder = createRecorder({ file, others: [shown] });
  recorder.record(stop(1));
  recorder.record(stop(2));
  recorder.flush();
  assert.deepEqual(file.events, shown.events);
  assert.deepEqual([file.flushes, shown.flushes], [1, 1]);
});

test('what finds no room takes no id, and is counted in a suppressed event once there is room', () => {
  const file = createRoom(2);
  const recorder = createRecorder({ file, others: [] }, 'inst');
  for (let n = 0; n < 7; n++) recorder.record(stop(n));
  recorder.flush();
  assert.equal(recorder.lost, 5);
  file.room = 10;
  recorder.flush();
  const { time, ...suppressed } = file.events.at(-1)!;
  assert.deepEqual(suppressed, { kind: 'suppressed', count: 5, reason: 'queue', id: 'inst.3' });
  assert.equal(recorder.lost, 0);
});

test('a loss is told before the event that finds room again', () => {
  const file = createRoom(1);
  const recorder = createRecorder({ file, others: [] }, 'inst');
  recorder.record(stop(1));
  recorder.record(stop(2));
  file.room = 10;
  recorder.record(stop(3));
  assert.deepEqual(
    file.events.map(({ kind, id }) => `${kind} ${id}`),
    ['stop inst.1', 'suppressed inst.2', 'stop inst.3'],
  );
});

test('what a sink took and lost is told like what found no room', () => {
  const file = createRoom(10);
  const recorder = createRecorder({ file, others: [] }, 'inst');
  recorder.lose(3);
  recorder.flush();
  const { time, ...suppressed } = file.events[0]!;
  assert.deepEqual(suppressed, { kind: 'suppressed', count: 3, reason: 'queue', id: 'inst.1' });
});

test('sinks that are replaced get the next ids', () => {
  const before = createRoom(10);
  const after = createRoom(10);
  const recorder = createRecorder({ file: before, others: [] }, 'inst');
  recorder.record(stop(1));
  recorder.use({ file: after, others: [] });
  recorder.record(stop(2));
  assert.deepEqual(
    [before, after].map(({ events }) => events.map(({ id }) => id)),
    [['inst.1'], ['inst.2']],
  );
});
