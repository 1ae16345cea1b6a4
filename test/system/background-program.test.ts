import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { startBackgroundProgram } from '../../src/system/background-program.ts';
import { waitFor } from '../support/wait.ts';

const background = (script: string, limits: object = {}) =>
  startBackgroundProgram({
    program: 'sh',
    args: ['-c', script],
    env: { PATH: process.env.PATH ?? '' },
    timeoutMs: 10_000,
    keptBytes: 10,
    ...limits,
  });

test('of what a background program prints, the end is kept, and how it ended is told', async () => {
  const program = background('echo begun; echo problem >&2; printf 1234567890; exit 3');
  assert.equal(program.isRunning(), true);
  assert.deepEqual(await program.ended, { kind: 'exit', code: 3 });
  assert.equal(program.output().length, 10);
  assert.equal(program.isRunning(), false);
});

test('a background program has no environment but what it is given', async () => {
  const program = background('env', { keptBytes: 10_000, env: { PATH: '/usr/bin:/bin', OWN: 'yes' } });
  await program.ended;
  const names = program
    .output()
    .trim()
    .split('\n')
    .map((line) => line.split('=')[0]);
  assert.deepEqual(names.filter((name) => !['PWD', 'OLDPWD', '_', 'SHLVL'].includes(name!)).sort(), [
    'OWN',
    'PATH',
  ]);
});

test('killing a background program ends its children, too', async () => {
  const program = background('sleep 60 & echo $!; wait');
  await waitFor(() => /\d+\n/.test(program.output()), { deadlineMs: 10_000, what: 'its child' });
  const child = Number(program.output());
  program.kill();
  assert.equal((await program.ended).kind, 'failure');
  await waitFor(() => !isRunning(child), { deadlineMs: 10_000, what: `the end of ${child}` });
});

test('a background program has no more time than it is given, and its children end with it', async () => {
  assert.equal((await background('sleep 60', { timeoutMs: 100 }).ended).kind, 'failure');
  const leaving = background('sleep 60 & echo $!');
  assert.deepEqual(await leaving.ended, { kind: 'exit', code: 0 });
  const child = Number(leaving.output());
  await waitFor(() => !isRunning(child), { deadlineMs: 10_000, what: `the end of ${child}` });
});

test('a background program that is not there is missing', async () => {
  const program = background('', { program: 'no-such-program' });
  assert.deepEqual(await program.ended, { kind: 'missing' });
  program.kill();
});

/** A dead one that nobody has waited for yet is over. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
