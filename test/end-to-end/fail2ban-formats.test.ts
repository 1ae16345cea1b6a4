import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { Endpoints, Event } from '../../src/event.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import {
  findAddresses,
  makeConfiguration,
  RELEASES,
  type Release,
  startFail2ban,
  temporaryDirectory,
} from '../support/fail2ban.ts';
import { cleanUpAfter, createNetwork } from '../support/namespaces.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const SENSOR = 'web-1';
const PID = 812;
const UNIT = 'honeyport.service';
const HOSTILE_EVENTS = 300;

const formatLine = createLineFormatter({ sensor: SENSOR, pid: PID });

/** The sources of bannable lines, which the filter is to find, in this order. */
const SOURCES = ['198.51.100.7', '2001:db8::7', '198.51.100.99'];
/** The source of every other line. */
const HARMLESS = '203.0.113.66';

const MACHINE_ID = '0123456789abcdef0123456789abcdef';

/** rsyslog's own templates, each into a file of its own. */
const TEMPLATES = ['RSYSLOG_FileFormat', 'RSYSLOG_TraditionalFileFormat', 'RSYSLOG_SyslogProtocol23Format'];

/** How a message comes to rsyslog, without the line feed that ends it. */
const FRAMES: Readonly<Record<string, (message: string) => string>> = {
  'RFC 3164': (message) => `<134>${traditionalDate(new Date())} ${SENSOR} honeyport[${PID}]: ${message}`,
  'RFC 5424': (message) => `<134>1 ${new Date().toISOString()} ${SENSOR} honeyport ${PID} - - ${message}`,
  'RFC 5424 with structured data': (message) =>
    `<134>1 ${new Date().toISOString()} ${SENSOR} honeyport ${PID} CONNECT ` +
    `[conn@32473 decoy="telnet" note="\\"\\]"][meta sequenceId="42"] ${message}`,
};

for (const [name, frame] of Object.entries(FRAMES)) {
  describe(`lines that a real rsyslogd has received as ${name}`, () => {
    let directory: string;
    let seed: number;

    before(async () => {
      directory = temporaryDirectory();
      const hostile = hostileMessages();
      seed = hostile.seed;
      await throughRsyslog(directory, mixed(hostile.messages).map(frame));
    });
    after(() => rmSync(directory, { recursive: true, force: true }));

    for (const template of TEMPLATES) {
      for (const release of RELEASES) {
        test(`the filter finds exactly the bannable ones in ${template}, ${reader(release)}`, () => {
          const found = findIn(release, directory, join(directory, template));
          assert.deepEqual(found, SOURCES, `with the hostile events of seed ${seed}`);
        });
      }
    }
  });
}

describe('lines in a real journal', () => {
  let directory: string;
  let journal: string;
  let seed: number;

  before(() => {
    directory = temporaryDirectory();
    journal = join(directory, 'test.journal');
    const hostile = hostileMessages();
    seed = hostile.seed;
    const own = mixed(hostile.messages).map((message) => ({ unit: UNIT, message }));
    const forged = { unit: 'evil.service', message: bannable(HARMLESS) };
    // as a program of a response would say it with logger(1)
    const logged = { unit: UNIT, transport: 'syslog', message: bannable(HARMLESS) };
    writeJournal(journal, [forged, logged, ...own, logged, forged]);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  for (const release of RELEASES) {
    test(`the filter finds exactly the bannable ones of honeyport's own unit, ${reader(release)}`, () => {
      const found = findIn(release, directory, `systemd-journal[journalfiles="${journal}"]`);
      assert.deepEqual(found, SOURCES, `with the hostile events of seed ${seed}`);
    });

    test(`a jail with backend=systemd bans exactly their sources, ${reader(release)}`, async (context) => {
      const cleanUp = cleanUpAfter(context);
      const network = createNetwork();
      cleanUp(network.dispose);
      const jails = `[honeyport]\nenabled = true\nbackend = systemd[journalfiles="${journal}"]\n`;
      const fail2ban = await startFail2ban({ network, release, jails, binds: [directory] });
      cleanUp(fail2ban.dispose);
      // The last one comes last: with it banned, all others were looked at.
      await fail2ban.waitForBan(SOURCES.at(-1)!);
      assert.deepEqual(fail2ban.banned().sort(), [...SOURCES].sort());
    });
  }
});

function reader(release: Release): string {
  return release === 'host' ? "read by this machine's fail2ban" : "read by Debian 13's";
}

function findIn(release: Release, directory: string, source: string): string[] {
  rmSync(join(directory, 'etc'), { recursive: true, force: true });
  makeConfiguration(join(directory, 'etc'), release);
  return findAddresses(release, directory, source);
}

/** Bannable messages among harmless and hostile ones; the last is bannable. */
function mixed(hostile: readonly string[]): string[] {
  const [first, second, last] = SOURCES.map(bannable);
  const half = hostile.length / 2;
  return [first!, ...hostile.slice(0, half), second!, ...hostile.slice(half), ...otherEvents(), last!];
}

function endpoints(src: string): Endpoints {
  return { src, spt: 40112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' };
}

function bannable(src: string): string {
  const fingerprint = { ttl: 52, win: 64240, syn: 'mss:1460,sok,ts,nop,ws:7' };
  return message({ kind: 'connect', time: Date.now(), id: '7f3k9q2x.42', ...endpoints(src), ...fingerprint });
}

function otherEvents(): string[] {
  const common = { time: Date.now(), id: '7f3k9q2x.43', ...endpoints(HARMLESS) };
  const events: Event[] = [
    { kind: 'allowed', ...common, by: '203.0.113.0/24' },
    { kind: 'withheld', ...common, reason: 'cookie' },
    { kind: 'close', ...common, duration_ms: 3, rx: 9, tx: 0, by: 'peer' },
    {
      kind: 'suppressed',
      time: common.time,
      id: common.id,
      src: HARMLESS,
      count: 3,
      dpt: '23',
      reason: 'rate',
    },
  ];
  return events.map(message);
}

/** Data events as peers would have them who know the filter, and the seed that makes them again. */
function hostileMessages(): { messages: string[]; seed: number } {
  const seed = Date.now() % 2 ** 31;
  const line = bannable(HARMLESS);
  const whole = formatLine({ kind: 'connect', time: 0, id: 'x.1', ...endpoints(HARMLESS) });
  const part = fc.oneof(
    fc.constantFrom(
      line,
      whole,
      '"',
      '\\',
      '\\"',
      '\n',
      '\r\n',
      '\0',
      ' ',
      ']',
      '] ',
      '<134>1 ',
      '#012',
      '\x9b',
      ': ',
    ),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  );
  const text = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(''));
  const messages = fc.sample(text, { seed, numRuns: HOSTILE_EVENTS }).map((sent) => {
    const common = { time: Date.now(), id: '7f3k9q2x.44', ...endpoints(HARMLESS) };
    return message({ kind: 'data', ...common, bytes: sent.length, guess: 'unknown', text: sent });
  });
  return { messages, seed };
}

/** What stands after the tag in the daemon's own line. */
function message(event: Event): string {
  const line = formatLine(event);
  return line.slice(line.indexOf(']: ') + 3);
}

/** Gives frames to a private rsyslogd and waits until every template's file has all of them. */
async function throughRsyslog(directory: string, frames: readonly string[]): Promise<void> {
  const socket = join(directory, 'rsyslog.socket');
  const configuration = join(directory, 'rsyslog.conf');
  writeFileSync(configuration, rsyslogConfiguration(directory, socket));
  const rsyslogd = startRsyslogd(configuration, join(directory, 'rsyslog.pid'));
  try {
    await waitFor(() => existsSync(socket), { deadlineMs: 10_000, what: "rsyslogd's socket" });
    await send(socket, frames);
    const complete = (template: string) => lineCount(join(directory, template)) === frames.length;
    await waitFor(() => TEMPLATES.every(complete), {
      deadlineMs: 20_000,
      what: () => `${frames.length} lines in ${TEMPLATES.map((name) => lineCount(join(directory, name)))}`,
    });
  } finally {
    rsyslogd.kill('SIGKILL');
  }
}

function rsyslogConfiguration(directory: string, socket: string): string {
  const files = TEMPLATES.map(
    (template) => `action(type="omfile" file="${join(directory, template)}" template="${template}")`,
  );
  return [
    `global(workDirectory="${directory}" maxMessageSize="64k")`,
    'module(load="imptcp")',
    `input(type="imptcp" path="${socket}")`,
    // Its own start and stop messages are none of ours.
    'if $programname != "honeyport" then stop',
    ...files,
    '',
  ].join('\n');
}

function startRsyslogd(configuration: string, pidFile: string): ChildProcess {
  const argv = ['-n', '-f', configuration, '-i', pidFile];
  const rsyslogd = spawn(requireProgram('rsyslogd'), argv, { stdio: ['ignore', 'inherit', 'inherit'] });
  const end = () => rsyslogd.kill('SIGKILL');
  process.once('exit', end);
  rsyslogd.once('exit', () => process.off('exit', end));
  return rsyslogd;
}

async function send(socket: string, frames: readonly string[]): Promise<void> {
  const connection = connect(socket);
  connection.end(`${frames.join('\n')}\n`);
  await once(connection, 'finish');
}

function lineCount(file: string): number {
  return existsSync(file) ? readFileSync(file, 'latin1').split('\n').length - 1 : 0;
}

interface JournalEntry {
  readonly unit: string;
  /** How it came to journald; default: standard output. */
  readonly transport?: string;
  readonly message: string;
}

/** Makes a journal file as journald would have it: the fields that begin with `_` cannot be forged there. */
function writeJournal(file: string, entries: readonly JournalEntry[]): void {
  const start = Date.now() * 1000 - entries.length;
  const text = entries.map(({ unit, transport = 'stdout', message }, index) =>
    [
      `__REALTIME_TIMESTAMP=${start + index}`,
      `__MONOTONIC_TIMESTAMP=${1_000_000 + index}`,
      `_BOOT_ID=${MACHINE_ID}`,
      `_MACHINE_ID=${MACHINE_ID}`,
      `_HOSTNAME=${SENSOR}`,
      `_SYSTEMD_UNIT=${unit}`,
      `_TRANSPORT=${transport}`,
      'SYSLOG_IDENTIFIER=honeyport',
      `_PID=${PID}`,
      'PRIORITY=6',
      `MESSAGE=${message}`,
      '\n',
    ].join('\n'),
  );
  const made = spawnSync(requireProgram('systemd-journal-remote'), ['-o', file, '-'], {
    input: text.join(''),
    encoding: 'utf8',
    timeout: 30_000,
  });
  assert.equal(made.status, 0, made.stderr);
}

/** The date of RFC 3164, in local time: `Nov  2 03:04:58`. */
function traditionalDate(date: Date): string {
  const month = date.toLocaleString('en-US', { month: 'short' });
  return `${month} ${String(date.getDate()).padStart(2)} ${date.toTimeString().slice(0, 8)}`;
}
