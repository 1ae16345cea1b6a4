/**
 * What every sink promises, whatever is at its other end: events in order and each once; no exception and no wait while
 * the other end is away; what is lost is counted; an end in bounded time.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { SyslogTarget } from '../../src/configuration/configuration.ts';
import type { Event } from '../../src/event.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import { loadNative } from '../../src/native/native.ts';
import { createConsole } from '../../src/sinks/console.ts';
import { openLogWriter } from '../../src/sinks/log-writer.ts';
import type { Sink } from '../../src/sinks/sink.ts';
import { openSyslog } from '../../src/sinks/syslog.ts';
import { createAuthority } from '../support/certificates.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { idsOf, type Receiver, startDatagramReceiver, startReceiver } from '../support/receiver.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 10_000;
const BOUND = 1000;
const ORIGIN = { sensor: 'web-1', pid: 812, version: '0.1.0' };

/** A sink and what is at its other end. */
interface Subject {
  readonly sink: Sink;
  /** What has arrived, in its order. */
  readonly messages: () => readonly string[];
  /** Events that the sink says it has lost. */
  readonly lost: () => number;
  /** Whether the sink would take one more, where it can be asked; what it refuses counts as lost. */
  readonly hasRoom?: () => boolean;
  readonly goAway: () => Promise<void>;
  readonly comeBack: () => Promise<void>;
}

type Open = (context: TestContext) => Promise<Subject>;

const openFile: Open = async (context) => {
  const directory = join(temporaryDirectory(context), 'log');
  const elsewhere = `${directory}-elsewhere`;
  const path = join(directory, 'honeyport.log');
  execFileSync('mkdir', [directory]);
  let lost = 0;
  const sink = openLogWriter({
    path,
    mode: 0o640,
    origin: ORIGIN,
    maxPendingLines: BOUND,
    onTrouble: () => {},
    onRecovery: () => {},
    onTornLine: () => assert.fail('a line was torn'),
    onClosed: (lines) => {
      lost += lines;
    },
  });
  return {
    sink,
    messages: () => readFileSync(path, 'latin1').split('\n').slice(0, -1),
    lost: () => lost,
    hasRoom: () => {
      if (!sink.hasRoom()) lost += 1;
      return sink.hasRoom();
    },
    goAway: async () => renameSync(directory, elsewhere),
    comeBack: async () => renameSync(elsewhere, directory),
  };
};

const openConsole: Open = async (context) => {
  const path = join(temporaryDirectory(context), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, 'w');
  let lost = 0;
  let text = '';
  let away = false;
  const onDropped = (lines: number) => {
    lost += lines;
  };
  const sink = createConsole({ fd: writer, format: createLineFormatter(ORIGIN), onDropped })!;
  context.after(() => {
    for (const fd of [reader, writer]) closeSync(fd);
  });
  return {
    sink,
    messages: () => {
      if (!away) text += readAll(reader);
      return text.split('\n').slice(0, -1);
    },
    lost: () => lost,
    goAway: async () => {
      away = true;
    },
    comeBack: async () => {
      away = false;
    },
  };
};

function readAll(fd: number): string {
  const buffer = Buffer.alloc(1 << 20);
  try {
    return buffer.toString('latin1', 0, readSync(fd, buffer));
  } catch {
    return '';
  }
}

const openUdp: Open = async (context) => {
  const receiver = await startDatagramReceiver();
  context.after(() => receiver.stop());
  const { sink, lost } = openSyslogTo(context, { wire: 'udp', host: '127.0.0.1', port: receiver.port });
  // nobody can tell that a datagram was not taken
  return { sink, lost, messages: () => receiver.messages, goAway: async () => {}, comeBack: async () => {} };
};

const openTcp: Open = (context) => openStream(context, (port) => ({ wire: 'tcp', host: '127.0.0.1', port }));

const openTls: Open = (context) => {
  const authority = createAuthority(temporaryDirectory(context), 'authority');
  const { certificate, key } = authority.issue('server', { names: ['IP:127.0.0.1'] });
  return openStream(context, (port) => ({ wire: 'tls', host: '127.0.0.1', port }), {
    tls: { cert: readFileSync(certificate), key: readFileSync(key) },
    ca: authority.certificate,
  });
};

const openUnix: Open = (context) => {
  const path = join(temporaryDirectory(context), 'socket');
  return openStream(context, () => ({ wire: 'unix', path }), { path });
};

async function openStream(
  context: TestContext,
  targetOf: (port: number) => SyslogTarget,
  { ca, ...options }: { path?: string; tls?: object; ca?: string } = {},
): Promise<Subject> {
  let receiver: Receiver = await startReceiver(options);
  const former: string[] = [];
  context.after(() => receiver.stop());
  const { sink, lost } = openSyslogTo(context, targetOf(receiver.port), ca);
  return {
    sink,
    lost,
    messages: () => [...former, ...receiver.messages],
    goAway: async () => {
      former.push(...receiver.messages);
      await receiver.stop();
      receiver.messages.length = 0;
    },
    comeBack: async () => {
      receiver = await startReceiver({ ...options, port: receiver.port });
    },
  };
}

function openSyslogTo(context: TestContext, target: SyslogTarget, ca?: string) {
  let lost = 0;
  const count = (events: number) => {
    lost += events;
  };
  const sink = openSyslog({
    receiver: {
      address: 'a receiver',
      target,
      format: 'rfc5424',
      facility: 'local0',
      framing: 'octet-counting',
      enterprise: 32473,
      tls: ca === undefined ? {} : { ca },
    },
    origin: ORIGIN,
    maxWaiting: BOUND,
    socketOptions: loadNative(),
    onTrouble: () => {},
    onRecovery: () => {},
    onLost: count,
    onClosed: count,
    timing: { firstRetryMs: 20, longestRetryMs: 50, trialMs: 20, closeMs: 500, keepSentMs: 100 },
  });
  let closing: Promise<void> | undefined;
  const once = { ...sink, close: () => (closing ??= sink.close()) };
  context.after(once.close);
  return { sink: once, lost: () => lost };
}

const SINKS: Readonly<Record<string, { open: Open; tellsLoss: boolean }>> = {
  file: { open: openFile, tellsLoss: true },
  console: { open: openConsole, tellsLoss: true },
  udp: { open: openUdp, tellsLoss: false },
  tcp: { open: openTcp, tellsLoss: true },
  tls: { open: openTls, tellsLoss: true },
  unix: { open: openUnix, tellsLoss: true },
};

function eventAt(n: number): Event {
  const ends = { src: '2001:db8::7', spt: 40112, dst: '2001:db8::5', dpt: 23, decoy: 'telnet' };
  return { kind: 'connect', time: Date.now(), ...ends, id: `x.${n}` };
}

/** Writes events as the recorder does: only what has room, a flush for each batch. */
function write({ sink, hasRoom }: Subject, from: number, to: number): void {
  for (let n = from; n <= to; n++) {
    if (hasRoom?.() ?? true) sink.write(eventAt(n));
    if (n % 10 === 0 || n === to) sink.flush();
  }
}

const numberOf = (id: string) => Number(id.slice(2));

for (const [name, { open, tellsLoss }] of Object.entries(SINKS)) {
  describe(`the sink ${name}`, () => {
    test('has every event in order and once', async (context) => {
      const subject = await open(context);
      for (let batch = 0; batch < 9; batch++) {
        write(subject, batch * 100 + 1, batch * 100 + 100);
        await waitFor(() => subject.messages().length >= (batch + 1) * 100, {
          deadlineMs: DEADLINE_MS,
          what: () => `${(batch + 1) * 100} events, got ${subject.messages().length}`,
        });
      }
      await subject.sink.close();
      assert.deepEqual(
        idsOf(subject.messages()).map(numberOf),
        Array.from({ length: 900 }, (_, n) => n + 1),
      );
      assert.equal(subject.lost(), 0);
    });

    test('takes events while the other end is away, and counts what it has no room for', async (context) => {
      const subject = await open(context);
      write(subject, 1, 10);
      await waitFor(() => subject.messages().length === 10, { deadlineMs: DEADLINE_MS, what: 'ten events' });
      await subject.goAway();
      write(subject, 11, 5000);
      if (!tellsLoss) return;
      await subject.comeBack();
      const found = () => new Set(idsOf(subject.messages()).map(numberOf));
      const isComplete = () => {
        subject.sink.flush();
        return found().size + subject.lost() === 5000;
      };
      await waitFor(isComplete, {
        deadlineMs: DEADLINE_MS,
        what: () => `5000 events, got ${found().size} and ${subject.lost()} counted`,
      });
      assert.notEqual(subject.lost(), 0);
      write(subject, 5001, 5001);
      await waitFor(() => found().has(5001), { deadlineMs: DEADLINE_MS, what: 'the next event' });
      await subject.sink.close();
    });

    test('ends while the other end is away, and counts what was still to come', async (context) => {
      const subject = await open(context);
      await subject.goAway();
      write(subject, 1, 500);
      await subject.sink.close();
      // a console's reader that is away has lost nothing that the log does not have
      if (!tellsLoss || name === 'console') return;
      if (name === 'file')
        assert.equal(subject.lost(), 0, 'the open file takes them though its path is gone');
      else assert.equal(subject.lost() + subject.messages().length, 500);
    });
  });
}
