import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseLine } from '../../src/format/parse-line.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, readLines, startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, runLoad } from '../support/load.ts';
import { fillDisk, freeBytes, mountTinyDisk } from '../support/tiny-disk.ts';
import { waitFor } from '../support/wait.ts';

const NOTHING = { missing: [], duplicated: [], invented: [] };
const PORT = 24_100;
const CONFIG = `decoys: [{ name: one, ports: ${PORT} }]
guard: off
limits: { lines_per_source: off, lines: off }
log: { file: { path: LOG }, console: off }
`;
const NOBODY = 65_534;

const knock = (count: number) =>
  runLoad({
    address: '127.0.0.1',
    ports: PORT,
    count,
    concurrency: 64,
    mode: 'rst',
    firstSource: '127.20.0.1',
  });

function connects(...files: string[]): string[] {
  return files.flatMap(readLines).filter((line) => line.includes(': connect '));
}

/** Sum of the counts of all suppressed lines. */
function suppressed(lines: readonly string[]): number {
  return lines
    .map((line) => parseLine(line)?.event)
    .reduce((sum, event) => sum + (event?.kind === 'suppressed' ? event.count : 0), 0);
}

async function waitForConnects(count: number, ...files: string[]): Promise<void> {
  const what = () => `${count} connect lines, got ${connects(...files).length}`;
  await waitFor(() => connects(...files).length >= count, { deadlineMs: 20_000, what });
}

function assertWhole(lines: readonly string[]): void {
  for (const line of lines) assert.notEqual(parseLine(line), undefined, `torn: ${line}`);
}

test('a log renamed and made anew, and one deleted, under load: every line is in one of the files, once', async (context) => {
  const honeyport = await startHoneyport({ config: CONFIG });
  context.after(() => honeyport.stop());
  const { logFile } = honeyport;
  const load = knock(20_000);
  for (const n of [1, 2, 3]) {
    await waitForConnects(n * 4000, logFile, ...[1, 2, 3].map((k) => `${logFile}.${k}`));
    renameSync(logFile, `${logFile}.${n}`);
    // logrotate's `create` makes it; without, the listener does
    if (n !== 2) writeFileSync(logFile, '', { flag: 'a' });
  }
  const { established } = await load;
  const files = [1, 2, 3].map((n) => `${logFile}.${n}`);
  await waitForConnects(established.length, logFile, ...files);
  assert.deepEqual(compareLogWithManifest(connects(logFile, ...files), established), NOTHING);
  assertWhole([logFile, ...files].flatMap(readLines));
  rmSync(logFile);
  const more = await knock(10);
  await waitForConnects(10, logFile);
  assert.deepEqual(compareLogWithManifest(connects(logFile), more.established), NOTHING);
});

test('a full disk that is freed again: what waited within the bound is written, the rest is counted', async (context) => {
  const disk = mountTinyDisk(context, 2048);
  const config = CONFIG.replace('limits: {', 'limits: { pending_lines: 1000,');
  const honeyport = await startHoneyport({ config, dir: disk });
  context.after(() => honeyport.stop());
  const { logFile } = honeyport;
  const ballast = join(disk, 'ballast');
  writeFileSync(ballast, Buffer.alloc(freeBytes(disk) - 100 * 1024));
  const { established } = await knock(4000);
  assert.equal(established.length, 4000);
  await honeyport.waitForStderr(
    /warning: cannot write the log \S+: no space left on the device; lines wait in memory\n/,
  );
  const inFile = connects(logFile).length;
  assert.ok(inFile > 0 && inFile < 3000, `${inFile} lines before the disk was full`);

  rmSync(ballast);
  await honeyport.waitForLine(/ suppressed count=\d+ reason=queue id=/);
  await honeyport.waitForStderr(/the log \S+ can be written again\n/);
  const more = await knock(10);
  await waitForConnects(1, logFile);
  assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
  const lines = readLines(logFile);
  assertWhole(lines);
  assert.equal(connects(logFile).length + suppressed(lines), established.length + more.established.length);
  assert.ok(connects(logFile).length >= inFile + 1000 + more.established.length, 'the bound was used');
  const differences = compareLogWithManifest(lines, [...established, ...more.established]);
  assert.deepEqual([differences.duplicated, differences.invented], [[], []]);
});

test('a reload while lines wait for a full disk keeps them, with the log that they wait for', async (context) => {
  const disk = mountTinyDisk(context, 512);
  const honeyport = await startHoneyport({ config: CONFIG, dir: disk });
  context.after(() => honeyport.stop());
  const ballast = fillDisk(disk);
  const { established } = await knock(300);
  await honeyport.waitForStderr(/cannot write the log/);
  // the disk is full, so the file is edited in place, where it has room left in its page
  const config = readFileSync(honeyport.configFile, 'latin1');
  writeFileSync(honeyport.configFile, `${config.replace('console: off', 'console: line')}sensor: renamed\n`);
  await honeyport.waitForStderr(/reloaded: 1 decoy, 1 port\n/);
  rmSync(ballast);
  await waitForConnects(300, honeyport.logFile);
  await honeyport.waitForLine(/ renamed honeyport\[\d+\]: reload result=applied /);
  assert.deepEqual(compareLogWithManifest(honeyport.lines(), established), NOTHING);
  assertWhole(honeyport.lines());
});

test('a reload to another log while lines wait for a full disk: what the old one loses is counted in the new', async (context) => {
  const disk = mountTinyDisk(context, 64);
  const old = join(disk, 'old.log');
  const config = (log: string) => CONFIG.replaceAll('LOG', log);
  const honeyport = await startHoneyport({ config: config(old) });
  context.after(() => honeyport.stop());
  fillDisk(disk);
  const { established } = await knock(300);
  await honeyport.waitForStderr(/cannot write the log/);
  writeFileSync(honeyport.configFile, config(honeyport.logFile));
  await honeyport.waitForLine(/: suppressed count=\d+ reason=queue /);
  await honeyport.waitForStderr(
    new RegExp(`error: \\d+ lines are lost: the log ${old} could not be written\\n`),
  );
  const counted = suppressed(honeyport.lines());
  assert.equal(connects(old).length + counted, established.length);
});

test('a log that is emptied to free the disk begins with a whole line', async (context) => {
  const disk = mountTinyDisk(context, 64);
  const logFile = join(disk, 'honeyport.log');
  const honeyport = await startHoneyport({ config: CONFIG.replaceAll('LOG', logFile) });
  context.after(() => honeyport.stop());
  await knock(450);
  await honeyport.waitForStderr(/cannot write the log/);
  writeFileSync(logFile, '');
  await honeyport.waitForStderr(/can be written again/);
  assertWhole(readLines(logFile));
  assert.equal(honeyport.stderr().match(/can be written again/g)!.length, 1);
});

test('a disk that stays full at the end: what is lost is said, and the exit code tells', async (context) => {
  const disk = mountTinyDisk(context, 64);
  const honeyport = await startHoneyport({ config: CONFIG, dir: disk });
  context.after(() => honeyport.stop());
  fillDisk(disk);
  const { established } = await knock(500);
  await honeyport.waitForStderr(/cannot write the log/);
  assert.deepEqual(await honeyport.stop(), { code: 1, signal: null });
  // of the line that the end of the disk cut off, a part is there: it counts as lost. The stop line is lost, too.
  const lost = established.length - connects(honeyport.logFile).length + 1;
  assert.match(
    honeyport.stderr(),
    new RegExp(`error: ${lost} lines are lost: the log \\S+ could not be written\n`),
  );
});

test('a listener that starts on a full disk listens, and writes when there is room', async (context) => {
  const disk = mountTinyDisk(context, 64);
  const config = CONFIG.replaceAll('LOG', join(disk, 'honeyport.log'));
  writeFileSync(join(disk, 'honeyport.log'), 'torn');
  const ballast = fillDisk(disk);
  // the torn line's page has room left, so fill it, too
  writeFileSync(join(disk, 'honeyport.log'), Buffer.alloc(4096, 'x'));
  const honeyport = await startHoneyport({ config });
  context.after(() => honeyport.stop());
  await honeyport.waitForStderr(/no space left on the device/);
  const { established } = await knock(5);
  rmSync(ballast);
  const file = join(disk, 'honeyport.log');
  await waitForConnects(5, file);
  assert.deepEqual(compareLogWithManifest(readLines(file), established), NOTHING);
  assert.match(readLines(file)[1]!, / start version=/);
});

test('a directory that becomes unwritable: lines wait until it is writable again', async (context) => {
  const dir = temporaryDirectory(context);
  chownSync(dir, NOBODY, NOBODY);
  const log = join(dir, 'log');
  mkdirSync(log);
  chownSync(log, NOBODY, NOBODY);
  const logFile = join(log, 'honeyport.log');
  const honeyport = await startHoneyport({
    dir,
    config: CONFIG.replace('LOG', logFile),
    wrapper: ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'],
  });
  context.after(() => honeyport.stop());
  const before = await knock(10);
  await waitForConnects(10, logFile);
  renameSync(logFile, `${logFile}.1`);
  chmodSync(log, 0o500);
  const during = await knock(10);
  await honeyport.waitForStderr(
    new RegExp(`cannot write the log ${logFile}: user ${NOBODY} has no right to`),
  );
  chmodSync(log, 0o700);
  await waitForConnects(10, logFile);
  assert.deepEqual(compareLogWithManifest(connects(`${logFile}.1`), before.established), NOTHING);
  assert.deepEqual(compareLogWithManifest(connects(logFile), during.established), NOTHING);
});

test('kill -9 in the middle of the load: lines are whole but for the last, which the next start ends', async (context) => {
  const first = await startHoneyport({ config: CONFIG });
  const load = knock(20_000).catch(() => undefined);
  await waitForConnects(2000, first.logFile);
  first.process.kill('SIGKILL');
  await first.ended();
  await load;
  const text = readFileSync(first.logFile, 'latin1');
  // whether the kill hit a write or not: from here on the line is torn
  writeFileSync(first.logFile, text.slice(0, -7));
  const second = await startHoneyport({ config: CONFIG, dir: first.dir });
  context.after(() => rmSync(first.dir, { recursive: true, force: true }));
  const { established } = await knock(10);
  await second.waitForStderr(
    /warning: the log \S+ ended inside a line, as after a crash; the line was ended\n/,
  );
  await waitFor(() => connects(first.logFile).length >= 2010, { deadlineMs: 10_000, what: 'the new lines' });
  await second.stop();
  const lines = readLines(first.logFile);
  const torn = lines.filter((line) => parseLine(line) === undefined);
  assert.ok(torn.length <= 1, torn.join('\n'));
  const start = lines.findLastIndex((line) => line.includes(': start '));
  assert.equal(lines[start - 1], text.slice(0, -7).split('\n').at(-1));
  assert.deepEqual(compareLogWithManifest(lines.slice(start), established), NOTHING);
});

test('without a descriptor to spare every connection is still logged', async (context) => {
  const honeyport = await startHoneyport({ config: CONFIG });
  context.after(() => honeyport.stop());
  const limit = descriptors(honeyport) + 1;
  prlimit(honeyport, limit);
  const { established } = await knock(500);
  await waitForConnects(500, honeyport.logFile);
  assert.deepEqual(compareLogWithManifest(honeyport.lines(), established), NOTHING);
  // not even one: the spare descriptor lets them in, one by one
  prlimit(honeyport, limit - 1);
  const more = await knock(500);
  await waitForConnects(1000, honeyport.logFile);
  assert.deepEqual(compareLogWithManifest(honeyport.lines().slice(501), more.established), NOTHING);
});

function descriptors({ pid }: RunningHoneyport): number {
  const numbers = readdirSync(`/proc/${pid}/fd`).map(Number);
  return Math.max(...numbers) + 1;
}

function prlimit({ pid }: RunningHoneyport, files: number): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${files}:${files}`]);
}
