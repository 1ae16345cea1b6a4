import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runProgram } from '../../src/system/run-program.ts';
import { temporaryDirectory } from '../support/directory.ts';

const LIMITS = { timeoutMs: 10_000, mostBytes: 10_000 };
const shell = (script: string, limits: object = {}) =>
  runProgram({ program: 'sh', args: ['-c', script], ...LIMITS, ...limits });

test('a program has its arguments as they are, the C locale and nothing on standard input', async () => {
  const args = [
    '-c',
    'cat; printf "%s|" "$LC_ALL" "$@"; echo problem >&2; exit 3',
    'sh',
    'a b',
    '$(id)',
    '*',
    '',
  ];
  const { end, stdout, stderr } = await runProgram({ program: 'sh', args, ...LIMITS });
  assert.deepEqual(end, { kind: 'exit', code: 3 });
  assert.deepEqual([stdout, stderr], ['C|a b|$(id)|*||', 'problem\n']);
});

test('a program that is not there is missing, and one that may not be run fails', async (context) => {
  const file = join(temporaryDirectory(context), 'program');
  writeFileSync(file, 'no program');
  assert.deepEqual((await runProgram({ program: 'no-such-program', args: [], ...LIMITS })).end, {
    kind: 'missing',
  });
  const { end } = await runProgram({ program: file, args: [], ...LIMITS });
  assert.deepEqual(end, { kind: 'failure', message: `spawn ${file} EACCES` });
});

test('a program that is killed fails', async () => {
  const { end } = await shell('kill -9 $$');
  assert.ok(end.kind === 'failure' && /SIGKILL/.test(end.message));
});

for (const [title, script] of [
  ['a program', 'echo begun; exec sleep 30'],
  ['a program that ignores SIGTERM', 'trap "" TERM; echo begun; sleep 30; sleep 30'],
  ['a program whose child holds its output open', 'echo begun; sleep 30 & exit 0'],
]) {
  test(`${title} has no more time than it is given`, async () => {
    const begin = performance.now();
    const { end, stdout } = await shell(script!, { timeoutMs: 500 });
    assert.deepEqual([end, stdout], [{ kind: 'timeout' }, 'begun\n']);
    assert.ok(performance.now() - begin < 5000);
  });
}

test('a program that prints without an end is ended', async () => {
  const { end, stdout } = await shell('yes');
  assert.deepEqual(end, { kind: 'too much output' });
  assert.equal(stdout.length, LIMITS.mostBytes);
  assert.deepEqual((await shell('yes >&2')).end, { kind: 'too much output' });
});

test('as much as is allowed is not too much', async () => {
  const { end, stdout } = await shell(`head -c ${LIMITS.mostBytes} /dev/zero`);
  assert.deepEqual([end, stdout.length], [{ kind: 'exit', code: 0 }, LIMITS.mostBytes]);
});

test('a program in a group of its own is not reached by what ours is sent', async () => {
  const group = 'read -r _ _ _ _ group _ < /proc/$$/stat; echo $group';
  const [ours, own] = await Promise.all([shell(group), shell(`echo $$; ${group}`, { ownGroup: true })]);
  const [pid, ownGroup] = own.stdout.trim().split('\n');
  assert.equal(ownGroup, pid);
  assert.notEqual(ours.stdout.trim(), ownGroup);
});

test('a program that is cancelled is ended, also before it has begun', async () => {
  const controller = new AbortController();
  const running = shell('trap "" TERM; echo begun; sleep 30; sleep 30', { cancel: controller.signal });
  controller.abort();
  assert.equal((await running).end.kind, 'failure');
  assert.equal((await shell('sleep 30', { cancel: controller.signal })).end.kind, 'failure');
});
