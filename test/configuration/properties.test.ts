import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { brief } from '../../src/configuration/printable.ts';
import { CONFIGURATION_SCHEMA } from '../../src/configuration/schema.ts';
import type { SchemaNode } from '../../src/configuration/schema-nodes.ts';
import { problemsOf } from './support.ts';

/** problemsOf lets through what is no ConfigurationError. */
function assertProblemsAreLines(text: string | Uint8Array): void {
  for (const problem of problemsOf(text)) assert.match(problem, /^F(:\d+:\d+)?: [ -~]{1,500}$/);
}

test('whatever bytes a file has, each problem is one line of printable ASCII', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), assertProblemsAreLines), { numRuns: 1000 });
});

test('whatever text a file has, each problem is one line of printable ASCII', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), assertProblemsAreLines), {
    numRuns: 1000,
  });
});

test('whatever YAML signs a file has, each problem is one line of printable ASCII', () => {
  const sign = fc.constantFrom(
    'decoys',
    'ports',
    'log',
    'off',
    '1',
    '22',
    '-',
    ' ',
    '  ',
    '\n',
    '\n  ',
    ': ',
    '- ',
    '? ',
    '[',
    ']',
    '{',
    '}',
    ', ',
    '&a ',
    '*a',
    '!t ',
    '!!int ',
    '|',
    '>',
    '"',
    "'",
    '#',
    '---\n',
    '...\n',
    '%YAML 1.1\n',
    '<<',
    '\t',
    '\u00e4',
    '~',
    '@',
    '`',
  );
  const text = fc.array(sign, { maxLength: 60 }).map((signs) => signs.join(''));
  fc.assert(fc.property(text, assertProblemsAreLines), { numRuns: 5000 });
});

const anything = fc.anything({
  maxDepth: 3,
  withNullPrototype: false,
  values: [fc.integer(), fc.string({ unit: 'binary' }), fc.boolean(), fc.constant(null), fc.double()],
});

/** Values shaped like the schema, right at many places and wrong at some. */
function shapedLike(node: SchemaNode): fc.Arbitrary<unknown> {
  const examples = fc.constantFrom(
    ...(node.examples ?? node.enum ?? ['off', 0, 22, 70_000, '30-20', '1-9', 'fe80::1%lo']),
  );
  const options: fc.Arbitrary<unknown>[] = [examples, ...(node.anyOf ?? []).map(shapedLike)];
  if (node.properties) options.push(shapedMapping(node.properties), shapedMapping(node.properties));
  if (node.items) options.push(fc.array(shapedLike(node.items), { maxLength: 4 }));
  return fc.oneof({ weight: 9, arbitrary: fc.oneof(...options) }, { weight: 1, arbitrary: anything });
}

function shapedMapping(properties: Readonly<Record<string, SchemaNode>>): fc.Arbitrary<unknown> {
  const known = Object.fromEntries(
    Object.entries(properties).map(([name, node]) => [name, shapedLike(node)]),
  );
  return fc.record({ ...known, prots: fc.constant(1) }, { requiredKeys: [] });
}

test('whatever values a file has, each problem is one line of printable ASCII, and it is the same for JSON', () => {
  fc.assert(
    fc.property(shapedLike(CONFIGURATION_SCHEMA), (value) => {
      const json = JSON.stringify(value) ?? 'null';
      assertProblemsAreLines(json);
      assertProblemsAreLines(stringify(JSON.parse(json)));
    }),
    { numRuns: 600 },
  );
});

test('a file that is accepted never has a port out of range, a port twice on an address, or a name twice', () => {
  const port = fc.oneof(
    fc.integer({ min: -1, max: 8 }),
    fc.tuple(fc.nat(9), fc.nat(9)).map(([first, last]) => `${first}-${last}`),
  );
  const address = fc.constantFrom(
    undefined,
    '192.0.2.1',
    '::ffff:192.0.2.1',
    '192.0.2.2',
    '0.0.0.0',
    '::',
    '::1',
  );
  const name = fc.constantFrom(undefined, 'a', 'b', 'port-1');
  const decoys = fc.array(
    fc.record({ name, address, ports: fc.oneof(port, fc.array(port, { maxLength: 3 })) }),
    { minLength: 1, maxLength: 3 },
  );
  fc.assert(
    fc.property(decoys, (list) => {
      assert.equal(problemsOf(JSON.stringify({ decoys: list })).length === 0, isSound(list));
    }),
    { numRuns: 5000 },
  );
});

interface Draft {
  readonly name: string | undefined;
  readonly address: string | undefined;
  readonly ports: number | string | readonly (number | string)[];
}

/** The slow and plain way: every port with every other. */
function isSound(decoys: readonly Draft[]): boolean {
  const claims = decoys.flatMap(({ ports, address }) => expanded(ports).map((port) => ({ port, address })));
  const isClean = claims.every(
    ({ port }, at) =>
      port >= 1 &&
      claims.every(
        (other, index) => index === at || other.port !== port || !overlap(other.address, claims[at]!.address),
      ),
  );
  const rises = decoys.every(
    ({ ports }) => [ports].flat().length > 0 && [ports].flat().every((item) => expanded(item).length > 0),
  );
  const names = decoys.map(({ name, ports }) => name ?? `port-${expanded(ports)[0]}`);
  return isClean && rises && new Set(names).size === names.length;
}

function expanded(ports: Draft['ports']): number[] {
  return [ports].flat().flatMap((item) => {
    const [first, last = first] = String(item)
      .replace(/^-/, '_')
      .split('-')
      .map((end) => Number(end.replace('_', '-')));
    return Array.from({ length: Math.max(0, last! - first! + 1) }, (_, index) => first! + index);
  });
}

function overlap(one: string | undefined, other: string | undefined): boolean {
  const [first, second] = [one, other].map((address) => address?.replace('::ffff:', ''));
  if (first === undefined || second === undefined || first === second) return true;
  return (
    first.includes(':') === second.includes(':') &&
    [first, second].some((address) => address === '0.0.0.0' || address === '::')
  );
}

test('a value is shown in at most 60 characters of printable ASCII, a short one as JSON', () => {
  fc.assert(fc.property(anything, (value) => assert.match(brief(value), /^[ -~]{1,60}$/)));
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 2 }), (value) => {
      const json = JSON.stringify(value);
      if (/^[ -~]{0,60}$/.test(json) && !json.includes('-0') && !/e[+-]?\d/.test(json))
        assert.equal(brief(value), json.replaceAll('-0', '0'));
    }),
  );
});

test('of a huge value no more is looked at than is shown', () => {
  const items = new Proxy(new Array(1_000_000).fill(1), {
    get(target, key, receiver) {
      assert.ok(typeof key === 'symbol' || !(Number(key) > 60), `item ${String(key)} was looked at`);
      return Reflect.get(target, key, receiver);
    },
  });
  assert.equal(brief(items), `[${'1,'.repeat(28)}...`);
});
