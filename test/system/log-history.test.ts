import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readLogHistory } from '../../src/system/log-history.ts';
import { temporaryDirectory } from '../support/directory.ts';

const MEBIBYTE = 1024 * 1024;

test('a log and its rotated siblings are read, oldest first', async (context) => {
  const { log, write, read } = makeLog(context);
  write('', 'now\n');
  for (const number of [1, 2, 9, 10]) write(`.${number}`, `number ${number}\n`);
  write('.11.gz', gzipSync('number 11\n'));
  write('-20261124', 'date 24\n');
  write('-20261123.gz', gzipSync('date 23\n'));
  write('.2026-11-22', 'date 22\n');
  write('-20261124-1764000000', 'date 24, later\n');
  const { lines, files, troubles } = await read();
  assert.deepEqual(troubles, []);
  assert.deepEqual(lines, [
    'date 22',
    'date 23',
    'date 24',
    'date 24, later',
    ...[11, 10, 9, 2, 1].map((number) => `number ${number}`),
    'now',
  ]);
  assert.equal(files.length, lines.length);
  assert.equal(files.at(-1), log);
});

test('what is named otherwise is not read', async (context) => {
  const { write, read } = makeLog(context);
  write('', 'now\n');
  for (const name of ['x', '.bak', '.1.bak', '.1~', '.gz', '-2026', '.1.gz.2', '.a1', '.1\n'])
    write(name, 'other\n');
  const { lines, troubles } = await read();
  assert.deepEqual([lines, troubles], [['now'], []]);
});

test('a log that is being compressed is read once, from the file that is whole', async (context) => {
  const { write, read } = makeLog(context);
  write('.1', 'whole\n');
  write('.1.gz', gzipSync('whole\n').subarray(0, 5));
  write('.2', 'older\n');
  write('.2.xz', 'begun');
  const { lines, troubles } = await read();
  assert.deepEqual([lines, troubles], [['older', 'whole'], []]);
});

test('a log that is there under two names is read once', async (context) => {
  const { log, write, read } = makeLog(context);
  write('', 'once\n');
  linkSync(log, `${log}.1`);
  assert.deepEqual(await read(), { lines: ['once'], files: [log], troubles: [] });
});

test('a torn last line is no line, and the next file begins anew', async (context) => {
  const { write, read } = makeLog(context);
  write('.1', 'first\ntorn');
  write('', 'second\n\nthird\ntorn, too');
  assert.deepEqual((await read()).lines, ['first', 'second', '', 'third']);
});

test('lines are whole wherever a chunk of the file ends, and their bytes are kept', async (context) => {
  const { write, read } = makeLog(context);
  const wanted = Array.from({ length: 40_000 }, (_, index) => `${index} ${'x'.repeat(index % 97)} \xff\x00`);
  write('', Buffer.from(`${wanted.join('\n')}\n`, 'latin1'));
  write('.1.gz', gzipSync(Buffer.from(`${wanted.join('\n')}\n`, 'latin1')));
  assert.deepEqual((await read()).lines, [...wanted, ...wanted]);
});

test('no log, an empty one, and no directory are no trouble', async (context) => {
  const { log, write, read } = makeLog(context);
  assert.deepEqual(await read(), { lines: [], files: [], troubles: [] });
  write('', '');
  write('.1.gz', '');
  assert.deepEqual(await read(), { lines: [], files: [`${log}.1.gz`, log], troubles: [] });
  rmSync(dirname(log), { recursive: true });
  assert.deepEqual(await read(), { lines: [], files: [], troubles: [] });
});

test('what is no regular file is said and never waited for, and the rest is read', {
  timeout: 10_000,
}, async (context) => {
  const { log, write, read } = makeLog(context);
  assert.equal(spawnSync('mkfifo', [`${log}.1`]).status, 0);
  mkdirSync(`${log}.2`);
  symlinkSync('/dev/zero', `${log}.3`);
  symlinkSync(`${log}.5`, `${log}.4`);
  symlinkSync(`${log}.6`, `${log}.6`);
  write('', 'now\n');
  const { lines, troubles } = await read();
  assert.deepEqual(lines, ['now']);
  const irregular = [1, 2, 3].map((number) => `${log}.${number}: expected a regular file, so it is not read`);
  assert.deepEqual(troubles.slice(0, 3), irregular);
  assert.match(troubles.slice(3).join('\n'), /^[^\n]*log\.6: [^\n]*ELOOP[^\n]*$/);
});

test('a file without right to read is said, and the rest is read', (context) => {
  const { log, write } = makeLog(context);
  write('', 'now\n');
  write('.1', 'secret\n');
  chmodSync(`${log}.1`, 0o000);
  const { lines, troubles } = readAsNobody(log);
  assert.deepEqual([lines, troubles], [['now'], [`${log}.1: permission denied`]]);
  chmodSync(dirname(log), 0o311);
  const blind = readAsNobody(log);
  chmodSync(dirname(log), 0o755);
  assert.deepEqual(blind.lines, ['now']);
  assert.deepEqual(blind.troubles, [`${log}: its rotated siblings cannot be looked for: permission denied`]);
});

test('damaged and unknown compression is said, and what comes before the damage is read', async (context) => {
  const { log, write, read } = makeLog(context);
  const packed = gzipSync(Array.from({ length: 9999 }, () => `${Math.random()}\n`).join(''));
  write('.1.gz', packed.subarray(0, packed.length - 100));
  write('.2.gz', 'no gzip at all\n');
  write('.3.xz', 'whatever\n');
  write('', 'now\n');
  const { lines, files, troubles } = await read();
  assert.ok(lines.length > 5000 && lines.at(-1) === 'now');
  assert.deepEqual(files, [`${log}.2.gz`, `${log}.1.gz`, log]);
  assert.deepEqual(troubles, [
    `${log}.3.xz: of compressed logs only .gz is read`,
    `${log}.2.gz: the compressed data is damaged; what follows in it is missing`,
    `${log}.1.gz: the compressed data ends early; what follows in it is missing`,
  ]);
});

test('a line of a gigabyte and a gzip bomb take no memory, and the lines around them are read', (context) => {
  const { log, write } = makeLog(context);
  write('', 'before\n');
  // a hole: it takes no room on the disk
  const file = openSync(log, 'r+');
  writeSync(file, '\nafter\n', 1024 * MEBIBYTE);
  closeSync(file);
  write('.1.gz', gzipSync(Buffer.concat([Buffer.alloc(256 * MEBIBYTE), Buffer.from('\nunpacked\n')])));
  const { lines, troubles, peakMebibytes } = readAsNobody(log);
  assert.deepEqual(lines, ['unpacked', 'before', 'after']);
  assert.deepEqual(troubles, [
    `${log}.1.gz: lines longer than 524288 bytes are left out: 1`,
    `${log}: lines longer than 524288 bytes are left out: 1`,
  ]);
  assert.ok(peakMebibytes < 200, `${peakMebibytes} MiB`);
});

test('a line of the greatest length is read, and one byte more is not', async (context) => {
  const { log, write, read } = makeLog(context);
  const longest = 'x'.repeat(512 * 1024);
  write('', `${longest}\n${longest}y\nafter\n`);
  const { lines, troubles } = await read();
  assert.ok(lines.length === 2 && lines[0] === longest && lines[1] === 'after');
  assert.deepEqual(troubles, [`${log}: lines longer than 524288 bytes are left out: 1`]);
});

test('a log that grows while it is read is read up to where it was', async (context) => {
  const { log, write } = makeLog(context);
  write('', 'line\n');
  let lines = 0;
  const onLine = () => {
    lines++;
    if (lines < 1000) appendFileSync(log, 'line\n');
  };
  await readLogHistory({ path: log, onLine, onTrouble: assert.fail });
  assert.equal(lines, 1);
});

test('a file that vanishes after it was opened is read, and a rotation meanwhile takes nothing away', async (context) => {
  const { log, write } = makeLog(context);
  write('.2', 'two\n');
  write('.1', 'one\n');
  write('', 'now\n');
  const lines: string[] = [];
  const onLine = (line: string) => {
    if (lines.push(line) === 1) for (const name of ['.2', '.1', '']) rmSync(`${log}${name}`);
  };
  await readLogHistory({ path: log, onLine, onTrouble: assert.fail });
  assert.deepEqual(lines, ['two', 'one', 'now']);
});

test('of a thousand siblings the newest are read, and it is said', async (context) => {
  const { log, write, read } = makeLog(context);
  for (let number = 1; number <= 1000; number++) write(`.${number}`, `${number}\n`);
  write('', 'now\n');
  const { lines, troubles } = await read();
  assert.deepEqual([lines.length, lines[0], lines.at(-1)], [500, '499', 'now']);
  assert.deepEqual(troubles, [`${log}: only the newest 500 of 1001 files are read`]);
});

interface History {
  readonly lines: string[];
  readonly files: string[];
  readonly troubles: string[];
}

/** A directory for a log: `write` takes what a file's name has after that of the log. */
function makeLog(context: TestContext) {
  const log = join(temporaryDirectory(context), 'honeyport.log');
  chmodSync(dirname(log), 0o755);
  const write = (suffix: string, content: string | Uint8Array) => {
    writeFileSync(`${log}${suffix}`, content);
    // the order is that of the names, whatever was copied when
    utimesSync(`${log}${suffix}`, 1, Math.random() * 1e9);
  };
  const read = async (): Promise<History> => {
    const lines: string[] = [];
    const troubles: string[] = [];
    const onLine = (line: string) => lines.push(line);
    const files = await readLogHistory({ path: log, onLine, onTrouble: (message) => troubles.push(message) });
    return { lines, files, troubles };
  };
  return { log, write, read };
}

const PROGRAM = `
import { readFileSync } from 'node:fs';
const [module, path] = process.argv.slice(1);
const { readLogHistory } = await import(module);
const [nobody, lines, troubles] = [65534, [], []];
const isRoot = process.geteuid() === 0;
if (isRoot) process.setgroups([]), process.setgid(nobody), process.setuid(nobody);
await readLogHistory({ path, onLine: (line) => lines.push(line), onTrouble: (message) => troubles.push(message) });
// not resourceUsage(), which has the parent's from before exec
const peakMebibytes = /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1] / 1024;
console.log(JSON.stringify({ lines, troubles, peakMebibytes }));`;

/** In a process of its own, and without root's right to read everything. */
function readAsNobody(log: string): History & { peakMebibytes: number } {
  const module = new URL('../../src/system/log-history.ts', import.meta.url).href;
  const args = ['--import', 'tsx', '--input-type=module', '-e', PROGRAM, module, log];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.ok(stdout !== '', stderr);
  return JSON.parse(stdout);
}
