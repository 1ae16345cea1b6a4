import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SRC = join(ROOT, 'src');

/** Floors of the house, from docs/architecture.md: imports go down, or stay within a room. */
const FLOORS: readonly (readonly [floor: number, room: RegExp])[] = [
  [4, /^(cli\.ts|commands\/)/],
  [3, /^(daemon|allowance|why|dome9|setup|doctor|demo|rules)\//],
  [
    2,
    /^(capture|conversation|allow|guard|withhold|throttle|sinks|system|installation|nftables)\/|^voice\.ts$/,
  ],
  [1, /^(configuration|native)\/|^resolve-host-name\.ts$/],
  [0, /^(event|address|network|errors|back-off)\.ts$|^format\//],
];

/** Floor 0 is pure: of Node only what touches neither files nor sockets nor processes. */
const PURE_MODULES = ['node:util'];

interface SourceFile {
  readonly name: string;
  readonly text: string;
  readonly imports: readonly string[];
  readonly packages: readonly string[];
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .sort()
  .map(read);

function read(name: string): SourceFile {
  const text = readFileSync(join(SRC, name), 'utf8');
  const targets = [...text.matchAll(/(?:^|\n)(?:import|export)\b[^;]*?\bfrom '([^']+)';/g)].map(
    (match) => match[1]!,
  );
  const local = targets.filter((target) => target.startsWith('.'));
  return {
    name,
    text,
    imports: local.map((target) => relative(SRC, join(SRC, dirname(name), target))),
    packages: targets.filter((target) => !target.startsWith('.')),
  };
}

function floorOf(name: string): number {
  const found = FLOORS.find(([, room]) => room.test(name));
  assert.ok(found, `${name} is in no room`);
  return found[0];
}

const roomOf = (name: string) => (name.includes('/') ? name.slice(0, name.indexOf('/')) : name);
const packageOf = (target: string) =>
  target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/');

test('every import names a file that exists', () => {
  const names = new Set(files.map(({ name }) => name));
  for (const { name, imports } of files) {
    for (const target of imports) assert.ok(names.has(target), `${name} imports ${target}`);
  }
});

test('imports go down, or stay in their room', () => {
  for (const { name, imports } of files) {
    for (const target of imports) {
      const down = floorOf(target) < floorOf(name);
      const level = floorOf(name) === floorOf(target);
      // cli.ts is the door of its floor, and the ground floor is one room
      const open = level && (name === 'cli.ts' || floorOf(name) === 0);
      assert.ok(down || open || roomOf(name) === roomOf(target), `${name} imports ${target}`);
    }
  }
});

test('no imports go in a circle', () => {
  const byName = new Map(files.map((file) => [file.name, file]));
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    assert.ok(!path.includes(name), `${[...path, name].join(' -> ')}`);
    if (done.has(name)) return;
    for (const target of byName.get(name)!.imports) visit(target, [...path, name]);
    done.add(name);
  };
  for (const { name } of files) visit(name, []);
});

test('each package is imported by one file, each is declared with its exact version, and none is idle', () => {
  const importers = new Map<string, string[]>();
  for (const { name, packages } of files) {
    for (const target of new Set(packages.filter((target) => !target.startsWith('node:')).map(packageOf))) {
      importers.set(target, [...(importers.get(target) ?? []), name]);
    }
  }
  // every command adds itself to commander's program, which only cli.ts makes
  const shared = importers.get('commander')!.filter((name) => name !== 'cli.ts');
  for (const name of shared)
    assert.match(read(name).text, /import type \{ Command \} from 'commander'/, name);
  importers.set('commander', ['cli.ts']);
  for (const [target, names] of importers) assert.equal(names.length, 1, `${target}: ${names.join(', ')}`);
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.deepEqual([...importers.keys()].sort(), Object.keys(dependencies).sort());
  for (const [name, version] of Object.entries(dependencies))
    assert.match(version as string, /^\d+\.\d+\.\d+$/, name);
});

test('the ground floor does no I/O', () => {
  for (const { name, packages } of files.filter((file) => floorOf(file.name) === 0)) {
    for (const target of packages.filter((target) => target.startsWith('node:'))) {
      assert.ok(PURE_MODULES.includes(target), `${name} imports ${target}`);
    }
  }
});

test('docs/architecture.md has a caption for every file, a reason for every package, and nothing that is gone', () => {
  const text = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
  const captions = [...text.matchAll(/^\| `(src\/[^`]+)` +\| (\S.*?) +\|$/gm)].map((match) => match[1]!);
  assert.deepEqual(captions.sort(), files.map(({ name }) => `src/${name}`).sort());
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const versions = [...text.matchAll(/^\| `([^`]+)` (\d+\.\d+\.\d+) +\| \S/gm)].map(([, name, version]) => [
    name,
    version,
  ]);
  assert.deepEqual(Object.fromEntries(versions), { ...dependencies, ...devDependencies });
});

test("README names only commands, scripts and documents that exist, and the test command is CI's", () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const commands = readdirSync(join(SRC, 'commands')).map((name) => name.replace('.ts', ''));
  for (const [, name] of readme.matchAll(/`?honeyport ([a-z]+)`/g)) assert.ok(commands.includes(name!), name);
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  for (const [, name] of readme.matchAll(/npm run ([a-z]+)/g)) assert.ok(name! in scripts, name);
  const documents = readdirSync(join(ROOT, 'docs'));
  for (const [, name] of readme.matchAll(/\(docs\/([^)]+)\)/g)) assert.ok(documents.includes(name!), name);
  assert.match(readme, /^ {4}npm test$/m);
  assert.match(readFileSync(join(ROOT, '.ci/run'), 'utf8'), /^npm test$/m);
});

test("docs/log.md shows the formatter's keys", async () => {
  const { LINE_KEYS } = await import('../src/format/line-keys.ts');
  const text = readFileSync(join(ROOT, 'docs/log.md'), 'utf8');
  for (const kind of Object.keys(LINE_KEYS) as (keyof typeof LINE_KEYS)[]) {
    const row = new RegExp(`^\\| \`${kind}\` .*$`, 'm').exec(text)?.[0] ?? '';
    const shown = [...row.split('|')[3]!.matchAll(/`([a-z_]+)`/g)].map((match) => match[1]!);
    const keys = LINE_KEYS[kind].map(({ name }) => name);
    const own = keys.slice(keys.indexOf('decoy') === -1 ? 0 : keys.indexOf('id') + 1);
    assert.deepEqual(shown, own, kind);
  }
});
