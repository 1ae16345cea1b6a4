import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { Dome9Configuration } from '../../src/configuration/dome9.ts';
import {
  describeStatus,
  openStatusFile,
  processMark,
  type ServiceStatus,
  targetName,
} from '../../src/dome9/status.ts';
import { UserError } from '../../src/errors.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { recordBans } from '../support/dome9-service.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const NOW = Date.parse('2026-11-24T15:00:00Z');
/** More than the kernel gives. */
const NOBODY = 1 << 30;
const KEY = { id: 'Hx2Pf6Lm4Gd0Tc', secret: 'Zq7Xv9Kw3Jt5Ry8Bn' };

function configurationOf(context: TestContext): Dome9Configuration {
  return {
    file: undefined,
    api: 'v2',
    url: 'https://api.dome9.com',
    key: KEY,
    ca: undefined,
    sensor: 'web-1',
    list: 'honeyport-web-1',
    state: temporaryDirectory(context),
    maxItems: 500,
  };
}

const STATUS: ServiceStatus = {
  version: 1,
  pid: process.pid,
  started: processMark(process.pid),
  target: 'list honeyport-web-1 at https://api.dome9.com',
  present: 2,
  foreign: 3,
  leftOut: 0,
  lastSyncAt: NOW - 61_000,
  nextAttemptAt: NOW + 539_000,
  calls: 4,
  error: undefined,
};

/** What is said with this in the file; without an argument with no file. */
function say(context: TestContext, status?: unknown) {
  const configuration = configurationOf(context);
  recordBans(configuration.state, [
    { ip: '192.0.2.1' },
    { ip: '192.0.2.2', until: NOW / 1000 + 1 },
    { ip: '192.0.2.3', until: NOW / 1000 },
  ]);
  if (status !== undefined) writeFileSync(openStatusFile(configuration.state).path, JSON.stringify(status));
  return describeStatus(configuration, NOW);
}

test('a service that runs without trouble is told in seven lines, and all is well', (context) => {
  assert.deepEqual(say(context, STATUS), {
    isWell: true,
    text: `target:     list honeyport-web-1 at https://api.dome9.com
service:    runs, process ${process.pid}
wanted:     2
present:    2, beside 3 items that are not ours
last sync:  2026-11-24T14:58:59.000Z, 61 s ago
next:       in 9 min, or as something changes
calls:      4
last error: none
`,
  });
});

test('a service that never ran is told, and that is not well', (context) => {
  assert.deepEqual(say(context), {
    isWell: false,
    text: 'target:     list honeyport-web-1 at https://api.dome9.com\nservice:    does not run\nwanted:     2\n',
  });
});

test('a service that ran once is told with what it did last, and that is not well', (context) => {
  const { text, isWell } = say(context, { ...STATUS, pid: NOBODY });
  assert.match(text, /^service: {4}does not run\n/m);
  assert.match(text, /^present: {4}2, beside/m);
  assert.equal(isWell, false);
});

test('of another process that has the number of the service it is told that the service does not run', (context) => {
  const [boot, start] = processMark(process.pid)!.split(' ') as [string, string];
  const otherBoot = boot.replace(/^./, (first) => (first === '0' ? '1' : '0'));
  for (const started of [`${boot} ${Number(start) - 1}`, `${otherBoot} ${start}`, '']) {
    const { text, isWell } = say(context, { ...STATUS, started });
    assert.match(text, /^service: {4}does not run$/m, started);
    assert.equal(isWell, false, started);
  }
});

test('a status that does not say which process wrote it is not well, whatever has its number', (context) => {
  const { text, isWell } = say(context, { ...STATUS, started: undefined });
  assert.match(text, /^service: {4}not known: restart it, so that process \d+ can be told from another$/m);
  assert.equal(isWell, false);
  const gone = say(context, { ...STATUS, started: undefined, pid: NOBODY });
  assert.match(gone.text, /^service: {4}does not run$/m);
  assert.equal(gone.isWell, false);
});

test('a service whose next attempt is overdue for more than five minutes hangs, and that is not well', (context) => {
  const at = (overdueMs: number) => say(context, { ...STATUS, nextAttemptAt: NOW - overdueMs });
  assert.deepEqual(at(300_000), { text: at(0).text, isWell: true });
  const { text, isWell } = at(300_001);
  assert.match(text, new RegExp(`^service: {4}hangs, process ${process.pid}$`, 'm'));
  assert.match(text, /^next: {7}overdue for 5 min$/m);
  assert.equal(isWell, false);
});

test('a process has one mark as long as it runs, whatever its name, and none as soon as it has ended', async (context) => {
  // proc(5) writes the name between parentheses, before the state
  const program = join(temporaryDirectory(context), 'x) Z 1 2 (');
  copyFileSync(requireProgram('sleep'), program);
  const child = spawn(program, ['60']);
  context.after(() => child.kill('SIGKILL'));
  const name = () => readFileSync(`/proc/${child.pid}/comm`, 'utf8');
  await waitFor(() => name().startsWith('x)'), { deadlineMs: 10_000, what: () => `its name, got ${name()}` });
  const mark = processMark(child.pid!);
  assert.match(mark ?? '', /^[0-9a-f-]{36} [0-9]+$/);
  assert.equal(processMark(child.pid!), mark);
  assert.notEqual(processMark(process.pid), mark);
  child.kill('SIGKILL');
  // this thread has not waited for its end yet: what is left is a zombie
  const end = performance.now() + 10_000;
  while (processMark(child.pid!) !== undefined && performance.now() < end);
  assert.match(readFileSync(`/proc/${child.pid}/stat`, 'latin1'), /\) Z \d+ \d+ \d+ /, 'no zombie was seen');
  assert.equal(processMark(child.pid!), undefined);
  assert.equal(processMark(NOBODY), undefined);
});

test('before the first sync nothing is known of the list', (context) => {
  const { text, isWell } = say(context, {
    ...STATUS,
    present: undefined,
    foreign: undefined,
    lastSyncAt: undefined,
    nextAttemptAt: NOW,
  });
  assert.match(text, /^present: {4}not known yet\nlast sync: {2}never\nnext: {7}now\n/m);
  assert.equal(isWell, true);
});

test('of the old blacklist nobody knows what else is there', (context) => {
  const configuration = { ...configurationOf(context), api: 'v1' as const };
  openStatusFile(configuration.state).write({ ...STATUS, foreign: undefined });
  const { text } = describeStatus(configuration, NOW);
  assert.match(text, /^target: {5}the v1 blacklist at https:\/\/api\.dome9\.com\n/);
  assert.match(text, /^present: {4}2\n/m);
});

test('an error is told with since when, and what to do about it', (context) => {
  const error = { since: NOW - 3 * 3_600_000, message: 'GET /v2/IpList: 401', hint: 'correct it' };
  const { text, isWell } = say(context, { ...STATUS, error });
  assert.ok(
    text.endsWith(
      'last error: GET /v2/IpList: 401 (since 2026-11-24T12:00:00.000Z, 3 h ago)\n            correct it\n',
    ),
    text,
  );
  assert.equal(isWell, false);
  const { text: short } = say(context, { ...STATUS, error: { ...error, hint: undefined } });
  assert.match(short, /3 h ago\)\n$/);
});

test('what is left out is told', (context) => {
  const { text, isWell } = say(context, { ...STATUS, leftOut: 7 });
  assert.match(text, /^left out: {3}7, for which there is no room or which are not taken$/m);
  assert.equal(isWell, true);
});

test('times are told in the unit that fits, and a clock that was set back does no harm', (context) => {
  const next = (ms: number) =>
    /^next: +(.*)$/m.exec(say(context, { ...STATUS, nextAttemptAt: NOW + ms }).text)![1];
  assert.equal(next(119_400), 'in 119 s, or as something changes');
  assert.equal(next(120_000), 'in 2 min, or as something changes');
  assert.equal(next(7_199_000), 'in 120 min, or as something changes');
  assert.equal(next(7_200_000), 'in 2 h, or as something changes');
  assert.equal(next(-5), 'now');
  const { text } = say(context, { ...STATUS, lastSyncAt: NOW + 5000 });
  assert.match(text, /^last sync: {2}2026-11-24T15:00:05\.000Z, 0 s ago$/m);
});

test('what is wanted cannot be told where it cannot be read, and that is not well', (context) => {
  const configuration = configurationOf(context);
  openStatusFile(configuration.state).write(STATUS);
  const missing = describeStatus(configuration, NOW);
  assert.match(missing.text, /^wanted: {5}.*\/wanted is not there: no jail/m);
  assert.equal(missing.isWell, false);
  mkdirSync(join(configuration.state, 'wanted'));
  writeFileSync(join(configuration.state, 'wanted/a.json'), '{');
  const broken = describeStatus(configuration, NOW);
  assert.match(broken.text, /^wanted: {5}cannot use .*\/a\.json: /m);
  assert.equal(broken.isWell, false);
});

test('a status file that cannot be read is an error that names it', (context) => {
  const configuration = configurationOf(context);
  mkdirSync(join(configuration.state, 'status.json'));
  assert.throws(
    () => describeStatus(configuration, NOW),
    (error) => error instanceof UserError && /status\.json: expected a regular file/.test(error.message),
  );
});

test('a status that the service would not write is taken as none', (context) => {
  const bad: unknown[] = [
    null,
    [],
    'text',
    { ...STATUS, version: 2 },
    { ...STATUS, pid: `${process.pid}/..` },
    { ...STATUS, pid: 1.5 },
    { ...STATUS, started: 5 },
    { ...STATUS, leftOut: '7' },
    { ...STATUS, calls: null },
    { ...STATUS, calls: undefined },
    { ...STATUS, present: {} },
    { ...STATUS, foreign: '3' },
    { ...STATUS, lastSyncAt: 'now' },
    { ...STATUS, lastSyncAt: 8_640_000_000_000_001 },
    { ...STATUS, nextAttemptAt: -1 },
    { ...STATUS, nextAttemptAt: undefined },
    { ...STATUS, error: 'text' },
    { ...STATUS, error: { since: NOW } },
    { ...STATUS, error: { since: 'x', message: 'x' } },
  ];
  for (const status of bad) {
    const { text, isWell } = say(context, status);
    assert.match(text, /^service: {4}does not run\nwanted: {5}2\n$/m, JSON.stringify(status));
    assert.equal(isWell, false);
  }
});

/** What a terminal, a line or a decoder could stumble over. */
const nasty = fc.string({
  unit: fc.constantFrom(
    '\n',
    '\r',
    '\0',
    '\x1b',
    '\x7f',
    '\x9b',
    '\u2028',
    '\u{1f600}',
    '\ud800',
    'a',
    ' ',
    '"',
  ),
});

test('whatever stands in the status file, what is printed is printable and of one line for each thing', (context) => {
  const configuration = configurationOf(context);
  const value = fc.oneof(fc.constantFrom(NOW, 0, 1, process.pid, -1, null), nasty);
  const error = fc.record({
    since: fc.constantFrom<unknown>(NOW, 0, 8_640_000_000_000_000, null),
    message: nasty,
    hint: value,
  });
  const status = fc.record(
    { present: value, foreign: value, lastSyncAt: value, nextAttemptAt: value, error, extra: value },
    { requiredKeys: [] },
  );
  const { path } = openStatusFile(configuration.state);
  fc.assert(
    fc.property(status, (content) => {
      writeFileSync(
        path,
        JSON.stringify({
          version: 1,
          pid: process.pid,
          started: STATUS.started,
          leftOut: 1,
          calls: 1,
          nextAttemptAt: NOW,
          ...content,
        }),
      );
      const { text } = describeStatus(configuration, NOW);
      assert.match(text, /^(?:[ -~]{12,}\n){3,10}$/);
    }),
    { numRuns: 25 },
  );
});

test('what the API said cannot begin a line, or steer a terminal', (context) => {
  const error = { since: NOW, message: 'GET: 400: \x1b[2J\ntarget: ä', hint: 'a\nb' };
  const { text } = say(context, { ...STATUS, error });
  assert.match(text, /^last error: GET: 400: \\x1b\[2J\\x0atarget: \\xe4 \(since /m);
  assert.match(text, /^ {12}a\\x0ab$/m);
});

test('the key is in no status', (context) => {
  const { text } = say(context, STATUS);
  for (const part of Object.values(KEY)) assert.ok(!text.includes(part), text);
});

test('the target is named by its list and its place', (context) => {
  const configuration = configurationOf(context);
  assert.equal(targetName(configuration), 'list honeyport-web-1 at https://api.dome9.com');
  assert.equal(targetName({ ...configuration, api: 'v1' }), 'the v1 blacklist at https://api.dome9.com');
});
