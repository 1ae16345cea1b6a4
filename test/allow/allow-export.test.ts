import assert from 'node:assert/strict';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { allowExportPath, createAllowExport, readExportedAddresses } from '../../src/allow/allow-export.ts';
import type { AllowedNetwork } from '../../src/configuration/allow-entry.ts';
import { parseAllowFile } from '../../src/configuration/allow-file.ts';
import { parseNetwork } from '../../src/network.ts';
import { temporaryDirectory } from '../support/directory.ts';

/** Timers that end when the test says so. Node's own mock of timers warns that it is experimental. */
function holdTimers(context: TestContext) {
  const timers = new Map<object, { milliseconds: number; readonly run: () => void }>();
  context.mock.method(globalThis, 'setTimeout', (run: () => void, milliseconds: number) => {
    const timer = { unref: () => timer };
    timers.set(timer, { milliseconds, run });
    return timer;
  });
  context.mock.method(globalThis, 'clearTimeout', (timer: object) => timers.delete(timer));
  return {
    tick(milliseconds: number): void {
      for (const [timer, held] of [...timers]) {
        held.milliseconds -= milliseconds;
        if (held.milliseconds > 0) continue;
        timers.delete(timer);
        held.run();
      }
    },
  };
}

const exportIn = (directory: string) => join(directory, 'honeyport.allow.json');

interface Started {
  readonly allowExport: ReturnType<typeof createAllowExport>;
  readonly told: string[];
}

function start(context: TestContext): Started {
  const told: string[] = [];
  const allowExport = createAllowExport({
    onTrouble: (path, error) => told.push(`trouble ${path} ${(error as NodeJS.ErrnoException).code}`),
    onRecovery: (path) => told.push(`recovery ${path}`),
  });
  context.after(() => allowExport.close());
  return { allowExport, told };
}

/** Looks in each turn of the event loop, also where the timers are the test's. */
async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < end, `waited 10 s for ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const bysOf = (path: string): string[] =>
  (JSON.parse(readFileSync(path, 'utf8')) as { entries: { by: string }[] }).entries.map(({ by }) => by);

function isWritten(path: string, ...bys: string[]): boolean {
  return contentOf(path) !== '' && JSON.stringify(bysOf(path)) === JSON.stringify(bys);
}

function network(text: string, source = text): AllowedNetwork {
  const found = parseNetwork(text);
  assert.ok(!('expected' in found));
  return { source, network: found, ports: undefined, until: undefined };
}

test('the export stands beside the log and is named after it', () => {
  assert.equal(
    allowExportPath('/var/log/honeyport/honeyport.log'),
    '/var/log/honeyport/honeyport.allow.json',
  );
  assert.equal(allowExportPath('/x/decoys.txt'), '/x/decoys.txt.allow.json');
  assert.equal(allowExportPath('/x/a.log.log'), '/x/a.log.allow.json');
});

test('the file has each network with what it is limited to, one a line, and not what has ended', async (context) => {
  const path = exportIn(temporaryDirectory(context));
  context.mock.method(Date, 'now', () => Date.UTC(2027, 0, 1, 12));
  const entries = parseAllowFile(
    Buffer.from(
      '192.0.2.7 ports=22,80-90 until=2027-01-01 # not told\n2001:DB8::/32\n::ffff:192.0.2.0/120\n10.0.0.1 until=2026-12-31\n',
    ),
    'L',
  );
  const networks = [
    ...(entries as AllowedNetwork[]),
    network('2001:db8::1', 'a.example'),
    network('::1', 'guard:own'),
  ];
  start(context).allowExport.write(path, networks);
  await until(() => contentOf(path) !== '', 'the export');
  assert.equal(
    readFileSync(path, 'utf8'),
    `{"version":1,"time":"2027-01-01T12:00:00.000Z","entries":[
{"by":"192.0.2.7","net":"192.0.2.7/32","ports":"22,80-90","until":1798848000},
{"by":"2001:DB8::/32","net":"2001:db8::/32"},
{"by":"::ffff:192.0.2.0/120","net":"192.0.2.0/24"},
{"by":"a.example","net":"2001:db8::1/128"},
{"by":"guard:own","net":"::1/128"}
]}
`,
  );
});

test('the file says whom the quarantine must spare, and that there is more than is known', async (context) => {
  const path = exportIn(temporaryDirectory(context));
  context.mock.method(Date, 'now', () => Date.UTC(2027, 0, 1, 12));
  start(context).allowExport.write(path, [network('192.0.2.1')], {
    spared: [network('172.18.0.1', 'guard:bridge')],
    incomplete: true,
  });
  await until(() => contentOf(path) !== '', 'the export');
  assert.equal(
    readFileSync(path, 'utf8'),
    `{"version":1,"time":"2027-01-01T12:00:00.000Z","incomplete":true,"entries":[
{"by":"192.0.2.1","net":"192.0.2.1/32"},
{"by":"guard:bridge","net":"172.18.0.1/32","only":"quarantine"}
]}
`,
  );
});

test('an empty list, and lists of just as many entries as are written at a time, are whole documents', async (context) => {
  const directory = temporaryDirectory(context);
  const { allowExport } = start(context);
  for (const count of [0, 1, 1999, 2000, 2001, 4000]) {
    const path = join(directory, `${count}.json`);
    allowExport.write(path, new Array<AllowedNetwork>(count).fill(network('192.0.2.1')));
    await until(() => contentOf(path) !== '', `${count} entries`);
    assert.equal(bysOf(path).length, count);
  }
});

test('the file has mode 0640, and nothing is left beside it', async (context) => {
  const directory = temporaryDirectory(context);
  const before = process.umask(0o022);
  context.after(() => process.umask(before));
  start(context).allowExport.write(exportIn(directory), [network('192.0.2.1')]);
  await until(() => contentOf(exportIn(directory)) !== '', 'the export');
  assert.equal(statSync(exportIn(directory)).mode & 0o777, 0o640);
  await until(() => readdirSync(directory).length === 1, 'the temporary file to go');
});

test('a reader never sees a part of a list, and the latest list wins', async (context) => {
  const path = exportIn(temporaryDirectory(context));
  const { allowExport, told } = start(context);
  const lists = Array.from({ length: 50 }, (_, n) =>
    new Array<AllowedNetwork>(20_000).fill(network('192.0.2.1', `list-${n}`)),
  );
  const seen: string[] = [];
  let latest = '';
  const sees = (by: string): boolean => {
    const text = contentOf(path);
    if (text !== '' && text !== latest) {
      const { entries } = JSON.parse(text) as { entries: { by: string }[] };
      assert.equal(entries.length, 20_000);
      assert.equal(new Set(entries.map((entry) => entry.by)).size, 1);
      latest = text;
      seen.push(entries[0]!.by);
    }
    return seen.at(-1) === by;
  };
  for (const [n, list] of lists.entries()) {
    allowExport.write(path, list);
    // every fifth is waited for; the others come while one is being written
    if (n % 5 === 4) await until(() => sees(`list-${n}`), `list ${n}`);
  }
  assert.ok(seen.length >= 10, `${seen.length} lists were seen`);
  const numbers = seen.map((by) => Number(by.slice('list-'.length)));
  assert.deepEqual(
    numbers,
    numbers.toSorted((one, other) => one - other),
  );
  assert.deepEqual(told, []);
});

test('of lists that come while one is being written only the latest follows', async (context) => {
  const path = exportIn(temporaryDirectory(context));
  const { allowExport } = start(context);
  const written: string[] = [];
  const listOf = (source: string): AllowedNetwork[] => [
    {
      ...network('192.0.2.1'),
      get source() {
        written.push(source);
        return source;
      },
    },
  ];
  for (const source of ['first', 'second', 'third', 'last']) allowExport.write(path, listOf(source));
  await until(() => isWritten(path, 'last'), 'the last list');
  assert.deepEqual(written, ['first', 'last']);
});

test('a directory that is missing is told once, and the list is written once it is there', async (context) => {
  const timers = holdTimers(context);
  const directory = join(temporaryDirectory(context), 'later');
  const path = exportIn(directory);
  const { allowExport, told } = start(context);
  allowExport.write(path, [network('192.0.2.1', 'one')]);
  await until(() => told.length > 0, 'the trouble');
  await settle();
  timers.tick(60_000);
  await settle();
  allowExport.write(path, [network('192.0.2.1', 'two')]);
  await settle();
  assert.deepEqual(told, [`trouble ${path} ENOENT`]);
  mkdirSync(directory);
  timers.tick(59_999);
  await settle();
  assert.equal(contentOf(path), '');
  timers.tick(1);
  await until(() => isWritten(path, 'two') && told.length > 1, 'the list and the recovery');
  assert.deepEqual(told, [`trouble ${path} ENOENT`, `recovery ${path}`]);
});

/** Long enough for what fails at once to have failed: a round trip through the file system of one's own. */
async function settle(): Promise<void> {
  const { stat } = await import('node:fs/promises');
  for (let turn = 0; turn < 20; turn++) await stat('/').then(() => new Promise((next) => setImmediate(next)));
}

test('a later list is written at once when what was in its way has gone', async (context) => {
  const directory = join(temporaryDirectory(context), 'later');
  const path = exportIn(directory);
  const { allowExport, told } = start(context);
  allowExport.write(path, [network('192.0.2.1', 'one')]);
  await until(() => told.length > 0, 'the trouble');
  mkdirSync(directory);
  allowExport.write(path, [network('192.0.2.1', 'two')]);
  await until(() => told.length > 1, 'the recovery');
  assert.deepEqual(bysOf(path), ['two']);
  assert.deepEqual(told, [`trouble ${path} ENOENT`, `recovery ${path}`]);
});

test('a list that can be gone through once is whole after a failure, too', async (context) => {
  const timers = holdTimers(context);
  const path = exportIn(temporaryDirectory(context));
  // rename fails, after all entries have been written
  mkdirSync(path);
  const { allowExport, told } = start(context);
  const networks = function* () {
    yield network('192.0.2.1', 'one');
    yield network('192.0.2.2', 'two');
  };
  allowExport.write(path, networks());
  await until(() => told.length > 0, 'the trouble');
  assert.deepEqual(told, [`trouble ${path} EISDIR`]);
  await settle();
  rmdirSync(path);
  timers.tick(60_000);
  await until(() => told.length > 1, 'the recovery');
  assert.deepEqual(bysOf(path), ['one', 'two']);
});

test('a list for another path is written at once though the one before it fails meanwhile', async (context) => {
  holdTimers(context);
  const directory = temporaryDirectory(context);
  const { allowExport, told } = start(context);
  allowExport.write(join(directory, 'missing', 'x.json'), [network('192.0.2.1', 'one')]);
  allowExport.write(exportIn(directory), [network('192.0.2.1', 'two')]);
  // no timer fires meanwhile: a list that waits for one never comes
  await until(() => isWritten(exportIn(directory), 'two'), 'the second list');
  assert.equal(told.length, 1);
});

test('what is left of an earlier writer is replaced, and a link there is not followed', async (context) => {
  const directory = temporaryDirectory(context);
  const path = exportIn(directory);
  const { allowExport, told } = start(context);
  writeFileSync(`${path}.new`, 'half a li');
  allowExport.write(path, [network('192.0.2.1', 'one')]);
  await until(() => isWritten(path, 'one'), 'the first list');
  const target = join(directory, 'target');
  writeFileSync(target, 'precious');
  symlinkSync(target, `${path}.new`);
  allowExport.write(path, [network('192.0.2.1', 'two')]);
  await until(() => isWritten(path, 'two'), 'the second list');
  assert.equal(readFileSync(target, 'utf8'), 'precious');
  await until(() => readdirSync(directory).length === 2, 'the temporary file to go');
  assert.deepEqual(told, []);
});

test('close gives up what is being written, silently, and leaves the list that was there', async (context) => {
  const directory = temporaryDirectory(context);
  const path = exportIn(directory);
  const { allowExport, told } = start(context);
  allowExport.write(path, [network('192.0.2.1', 'one')]);
  await until(() => isWritten(path, 'one'), 'the first list');
  await settle();
  allowExport.write(path, new Array<AllowedNetwork>(50_000).fill(network('192.0.2.1', 'two')));
  allowExport.close();
  await settle();
  await until(() => readdirSync(directory).length === 1, 'the temporary file to go');
  assert.deepEqual(bysOf(path), ['one']);
  assert.deepEqual(told, []);
});

test('the addresses of host names come back from an export, whatever the letters', async (context) => {
  const path = exportIn(temporaryDirectory(context));
  start(context).allowExport.write(path, [
    network('192.0.2.1', 'A.example'),
    network('2001:db8::1', 'A.example'),
    network('192.0.2.0/24', '192.0.2.0/24'),
    network('192.0.2.9', 'gone.example'),
  ]);
  await until(() => contentOf(path) !== '', 'the export');
  assert.deepEqual(
    readExportedAddresses(path, ['a.EXAMPLE', 'new.example']),
    new Map([
      ['a.example', ['192.0.2.1', '2001:db8::1']],
      ['new.example', []],
    ]),
  );
  assert.deepEqual(readExportedAddresses(path, []), new Map());
});

test('an export that is missing, no file, or not of this kind gives no addresses', (context) => {
  const directory = temporaryDirectory(context);
  const path = exportIn(directory);
  const none = new Map([['a.example', []]]);
  assert.deepEqual(readExportedAddresses(path, ['a.example']), none);
  assert.deepEqual(readExportedAddresses(dirname(path), ['a.example']), none);
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '5',
    '{"entries":5}',
    '{"entries":null}',
    '{"entries":[null]}',
    '{"entries":[{"by":5,"net":"192.0.2.1/32"}]}',
    '{"entries":[{"by":"a.example"}]}',
    '{"entries":[{"by":"a.example","net":5}]}',
    '{"entries":[{"by":"__proto__","net":"192.0.2.1/32"}]}',
    '\xff\xfe',
  ]) {
    writeFileSync(path, text, 'latin1');
    assert.deepEqual(readExportedAddresses(path, ['a.example']), none, text);
  }
});
