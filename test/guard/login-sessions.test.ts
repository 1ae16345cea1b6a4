import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readLoginAddresses } from '../../src/guard/login-sessions.ts';
import type { LoginSession } from '../../src/native/native.ts';
import { temporaryDirectory } from '../support/directory.ts';

const USER_PROCESS = 7;
const DEAD_PROCESS = 8;
/** Linux gives out none as high. */
const DEAD_PID = 2 ** 22 + 1;

interface Login {
  readonly type?: number;
  readonly pid?: number;
  readonly host: string;
}

/** A record of utmp(5), with what else is in it as far from an address as can be. */
function recordOf({ type = USER_PROCESS, pid = process.pid, host }: Login): Buffer {
  const size = ['arm64', 'riscv64', 'loong64'].includes(process.arch) ? 400 : 384;
  const record = Buffer.alloc(size, 0xff);
  const isLittle = endianness() === 'LE';
  if (isLittle) record.writeInt16LE(type, 0);
  else record.writeInt16BE(type, 0);
  if (isLittle) record.writeInt32LE(pid, 4);
  else record.writeInt32BE(pid, 4);
  record.fill(0, 76, 76 + 256).write(host, 76, 'latin1');
  return record;
}

function fileWith(context: TestContext, content: Uint8Array): string {
  const file = join(temporaryDirectory(context), 'utmp');
  writeFileSync(file, content);
  return file;
}

/** Of logins by this very process, as if it were a shell that sshd has started. */
const utmpAddresses = (context: TestContext, ...logins: Login[]) =>
  readLoginAddresses(undefined, fileWith(context, Buffer.concat(logins.map(recordOf))), isOurs);

function isOurs(pid: number): boolean {
  return pid === process.pid;
}

function logindAddresses(context: TestContext, ...sessions: Partial<LoginSession>[]): string[] {
  const whole = sessions.map((session) => ({
    state: 'active',
    class: 'user',
    remoteHost: undefined,
    ...session,
  }));
  return readLoginAddresses(() => whole, join(temporaryDirectory(context), 'missing'));
}

test('without logind and utmp nobody is known to be logged in', (context) => {
  assert.deepEqual(readLoginAddresses(undefined, join(temporaryDirectory(context), 'missing')), []);
  assert.deepEqual(utmpAddresses(context), []);
});

test('the remote ends of open sessions in utmp are found, of both families and in canonical text', (context) => {
  assert.deepEqual(
    utmpAddresses(
      context,
      { host: '198.51.100.7' },
      { host: '2001:DB8::7' },
      { host: '::ffff:192.0.2.7' },
      { host: 'fe80::7%eth0' },
    ),
    ['198.51.100.7', '2001:db8::7', '192.0.2.7', 'fe80::7'],
  );
});

test('a session that has ended, or whose program was killed, counts for nothing', (context) => {
  assert.deepEqual(
    utmpAddresses(
      context,
      { type: DEAD_PROCESS, host: '192.0.2.1' },
      { pid: DEAD_PID, host: '192.0.2.2' },
      { pid: 0, host: '192.0.2.3' },
      { pid: -1, host: '192.0.2.4' },
      ...[0, 1, 2, 3, 4, 5, 6, 9].map((type) => ({ type, host: `192.0.2.${10 + type}` })),
    ),
    [],
  );
});

test('a record of a program that no login has started counts for nothing: everybody may write one', (context) => {
  const records = [process.pid, process.ppid, 1, DEAD_PID].map((pid) => recordOf({ pid, host: '192.0.2.1' }));
  assert.deepEqual(readLoginAddresses(undefined, fileWith(context, Buffer.concat(records))), []);
});

test('host names, displays and multiplexers count for nothing: whoever connects may choose a name', (context) => {
  const hosts = [
    '',
    'host.example',
    ':0',
    ':1.0',
    'tmux(1).%0',
    'localhost',
    '192.0.2.1.example',
    '192.0.2',
    '10',
  ];
  assert.deepEqual(utmpAddresses(context, ...hosts.map((host) => ({ host }))), []);
});

test('a record that is not whole, and what is no utmp at all, counts for nothing', (context) => {
  const whole = recordOf({ host: '192.0.2.1' });
  const half = recordOf({ host: '192.0.2.2' }).subarray(0, 200);
  assert.deepEqual(readLoginAddresses(undefined, fileWith(context, Buffer.concat([whole, half])), isOurs), [
    '192.0.2.1',
  ]);
  assert.deepEqual(readLoginAddresses(undefined, fileWith(context, Buffer.alloc(10_000, 'x'))), []);
  const fifo = join(temporaryDirectory(context), 'fifo');
  execFileSync('mkfifo', [fifo]);
  assert.deepEqual(readLoginAddresses(undefined, fifo), []);
});

test('a utmp that cannot be read is an error, not an empty one', (context) => {
  assert.throws(() => readLoginAddresses(undefined, temporaryDirectory(context)), { code: 'EISDIR' });
});

test("people whom logind knows are found by their sessions' remote ends", (context) => {
  assert.deepEqual(
    logindAddresses(
      context,
      { remoteHost: '198.51.100.7' },
      { state: 'online', remoteHost: '2001:DB8::7' },
      { class: 'user-early', remoteHost: 'fe80::7%eth0' },
      { class: 'user-light', remoteHost: '192.0.2.8' },
      { class: 'user-early-light', remoteHost: '192.0.2.9' },
    ),
    ['198.51.100.7', '2001:db8::7', 'fe80::7', '192.0.2.8', '192.0.2.9'],
  );
});

test('sessions that are closing, of login screens and services, or still to be proved count for nothing', (context) => {
  const remoteHost = '192.0.2.1';
  assert.deepEqual(
    logindAddresses(
      context,
      { state: 'closing', remoteHost },
      { class: 'greeter', remoteHost },
      { class: 'lock-screen', remoteHost },
      { class: 'background', remoteHost },
      { class: 'manager', remoteHost },
      { class: 'user-incomplete', remoteHost },
      { class: undefined, remoteHost },
    ),
    [],
  );
});

test('a host name or nothing as the remote end of a session counts for nothing', (context) => {
  const hosts = [undefined, '', 'host.example', 'localhost'];
  assert.deepEqual(logindAddresses(context, ...hosts.map((remoteHost) => ({ remoteHost }))), []);
});

test('sessions of logind and of utmp are taken together', (context) => {
  const session = { state: 'active', class: 'user', remoteHost: '192.0.2.1' };
  const utmp = fileWith(context, recordOf({ host: '192.0.2.2' }));
  assert.deepEqual(
    readLoginAddresses(() => [session], utmp, isOurs),
    ['192.0.2.1', '192.0.2.2'],
  );
});
