import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { loadConfiguration } from '../../src/configuration/load.ts';
import { CONFIGURATION_SCHEMA } from '../../src/configuration/schema.ts';
import type { SchemaNode } from '../../src/configuration/schema-nodes.ts';
import { schemaFaults } from '../../src/configuration/validate.ts';
import { configurationOf, problemsOf } from './support.ts';

interface Key {
  readonly path: string;
  readonly node: SchemaNode;
  readonly isAvailable: boolean;
}

/** Every key of the schema, as docs/configuration.md names it. */
function keysOf(node: SchemaNode, path = '', isAvailable = true): Key[] {
  const inner = (child: SchemaNode, at: string) =>
    keysOf(child, at, isAvailable && node.notAvailableYet !== true);
  const named = Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const at = path === '' ? name : `${path}.${name}`;
    const available = isAvailable && node.notAvailableYet !== true && child.notAvailableYet !== true;
    return [{ path: at, node: child, isAvailable: available }, ...inner(child, at)];
  });
  const items = node.items === undefined ? [] : inner(node.items, `${path}[]`);
  return [...named, ...items, ...(node.anyOf ?? []).flatMap((branch) => inner(branch, path))];
}

function nodesOf(node: SchemaNode): SchemaNode[] {
  const children = [
    ...Object.values(node.properties ?? {}),
    ...(node.anyOf ?? []),
    ...(node.items ? [node.items] : []),
  ];
  return [node, ...children.flatMap(nodesOf)];
}

const KEYS = keysOf(CONFIGURATION_SCHEMA);
const DOCS = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');

/** Cells of the rows by key. */
const ROWS = new Map(
  [...DOCS.matchAll(/^\| `([^`]+)` +\| (.*) \|$/gm)].map(
    ([, key, cells]) => [key!, cells!.split(' | ').map((cell) => cell.trim())] as const,
  ),
);

const NOT_AVAILABLE = ['metrics'];

/** A file with one more key of a receiver. */
function receiverWith(path: string, value: unknown): string {
  const [key, inner] = path.split('.');
  const pair = inner === 'key' ? { certificate: '/c' } : inner === 'certificate' ? { key: '/k' } : {};
  const nested = inner === undefined ? value : { ...pair, [inner]: value };
  const receiver = { address: 'tls://siem.example:6514', [key!]: nested };
  return JSON.stringify({ decoys: [{ ports: 22 }], log: { syslog: [receiver] } });
}

/** A file with one more key. */
function fileWith(path: string, value: unknown): string {
  const [parent, key] = path.split('.');
  const whole = { 'allow[]': [{ source: '192.0.2.1' }], brake: { sources: 1, window: '1s' } }[parent!];
  if (path.startsWith('log.syslog[].')) return receiverWith(path.slice('log.syslog[].'.length), value);
  if (key !== undefined && whole !== undefined)
    return fileWithin(parent!.replace('[]', ''), whole, key, value);
  if (path === 'decoys[].response.timeout')
    return fileWith('decoys[].response', { command: ['/bin/true'], timeout: value });
  if (path === 'decoys[].except') return JSON.stringify({ decoys: [{ ports: 'unused', except: value }] });
  const inner = path.replace(/^decoys\[\]\./, '');
  const nested = inner.split('.').reduceRight((within: unknown, key) => ({ [key]: within }), value);
  const file =
    inner === path
      ? { decoys: [{ ports: 22 }], ...Object(nested) }
      : { decoys: [{ ports: 22, ...Object(nested) }] };
  return JSON.stringify(file);
}

/** A file with one more key in a value that needs others, too; `allow[].file` stands alone. */
function fileWithin(parent: string, whole: object, key: string, value: unknown): string {
  const item = Array.isArray(whole) ? whole[0] : whole;
  const changed = { ...(key === 'file' ? {} : item), [key]: value };
  return JSON.stringify({ decoys: [{ ports: 22 }], [parent]: Array.isArray(whole) ? [changed] : changed });
}

test('exactly the parts that are not built yet are marked', () => {
  const marked = KEYS.filter(({ node }) => node.notAvailableYet === true).map(({ path }) => path);
  assert.deepEqual(marked.toSorted(), NOT_AVAILABLE);
});

for (const path of NOT_AVAILABLE) {
  const shown = path.replace('[]', '[0]');
  const { node } = KEYS.find((key) => key.path === path)!;

  test(`${path} is not available yet, whatever good value it has`, () => {
    for (const example of (node.examples ?? []).filter((value) => value !== 'off')) {
      const problems = problemsOf(fileWith(path, example));
      assert.deepEqual(
        problems.map((problem) => problem.replace(/^F:\d+:\d+: /, '')),
        [`${shown}: not available yet`],
      );
    }
  });

  test(`${path} may be off`, () => assert.deepEqual(problemsOf(fileWith(path, 'off')), []));
}

test('every key has a title, a description in sentences, and examples', () => {
  for (const { path, node } of KEYS) {
    assert.ok(node.title, path);
    assert.match(node.description ?? '', /\.$/, path);
    assert.ok(node.examples && node.examples.length > 0, path);
  }
});

test('the examples and the default of every key pass the schema', () => {
  // Keys within those that are not available yet stand in the examples of these.
  for (const { path, node } of KEYS.filter((key) => key.isAvailable || NOT_AVAILABLE.includes(key.path))) {
    for (const value of [...(node.examples ?? []), ...(node.default === undefined ? [] : [node.default])]) {
      const problems = problemsOf(fileWith(path, value));
      assert.deepEqual(
        problems.filter((problem) => !problem.endsWith('not available yet')),
        [],
        path,
      );
    }
  }
});

test('every node says what it expects, and every mapping refuses unknown keys', () => {
  for (const node of nodesOf(CONFIGURATION_SCHEMA)) {
    assert.match(node.expected, /^[ -~]+[^.]$/);
    if (node.type === 'object') assert.equal(node.additionalProperties, false, node.expected);
  }
});

test('the schema is one of draft 2020-12', () => {
  const ajv = new Ajv2020({ strict: false });
  assert.ok(ajv.validateSchema(CONFIGURATION_SCHEMA), ajv.errorsText());
});

test('the schema survives being printed', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(CONFIGURATION_SCHEMA)), CONFIGURATION_SCHEMA);
  assert.equal(CONFIGURATION_SCHEMA.$schema, 'https://json-schema.org/draft/2020-12/schema');
});

test("the whole example of the project's design passes the schema, but for what is not available yet", () => {
  const example = {
    sensor: 'web-1',
    decoys: [
      { ports: [23, 2323, '5900-5910'] },
      {
        name: 'ssh',
        ports: 22,
        address: '192.0.2.10',
        banner: 'SSH-2.0-OpenSSH_9.6\r\n',
        capture: 512,
        hold: '10s',
      },
      { name: 'classic', ports: 31337, response: { command: ['/etc/honeyport/response.sh'], timeout: '5s' } },
      { name: 'slow', ports: 2200, tarpit: true },
      { name: 'behind', ports: 8443, proxy_protocol: ['10.0.0.0/8'] },
      { name: 'dark', ports: 'unused', except: [80, 113, 443, 'ephemeral'] },
    ],
    allow: [
      '192.0.2.0/24',
      { source: 'scanner.example.net', ports: [22], until: '2027-01-31', comment: 'weekly scan' },
      { file: '/etc/honeyport/allow.list' },
    ],
    guard: 'on',
    brake: { sources: 200, window: '1m' },
    log: {
      file: { path: '/var/log/honeyport/honeyport.log', mode: '0640' },
      console: 'pretty',
      syslog: [{ address: 'udp://siem.example:514', format: 'rfc5424' }],
    },
    limits: {
      conversations: 1024,
      responses: 64,
      lines_per_source: '100/10s',
      lines: '20000/1s',
      pending_lines: 100000,
    },
    cookies: 'withhold',
    mark: 0x686f6e65,
    metrics: { address: '127.0.0.1:9464' },
    user: 'honeyport',
  };
  const messages = schemaFaults(example).map(({ message }) => message);
  assert.equal(messages.length, NOT_AVAILABLE.length);
  assert.ok(
    messages.every((message) => /^not available yet$/.test(message)),
    messages.join('\n'),
  );
});

test('docs/configuration.md has a row for each key of the schema, and none besides', () => {
  assert.deepEqual([...ROWS.keys()].toSorted(), KEYS.map(({ path }) => path).toSorted());
});

test('docs/configuration.md names the defaults of the schema', () => {
  for (const { path, node } of KEYS) {
    const cell = ROWS.get(path)?.[1] ?? '';
    if (node.default === undefined) assert.doesNotMatch(cell, /`/, path);
    else assert.equal(cell, `\`${defaultText(path, node.default)}\``);
  }
});

function defaultText(path: string, value: unknown): string {
  if (path === 'mark') return `0x${Number(value).toString(16)}`;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

test('docs/configuration.md says which keys are required', () => {
  for (const node of nodesOf(CONFIGURATION_SCHEMA)) {
    for (const name of node.required ?? []) {
      const { path } = KEYS.find((key) => key.node === node.properties?.[name])!;
      assert.match(ROWS.get(path)?.[1] ?? '', /^none, required$/, path);
    }
  }
});

test('docs/configuration.md says what is not available yet', () => {
  for (const { path, isAvailable } of KEYS)
    assert.equal(ROWS.get(path)?.[3], isAvailable ? 'yes' : 'not yet', path);
});

const SAMPLE = new URL('../../docs/honeyport.yaml', import.meta.url).pathname;

test('the sample docs/honeyport.yaml loads', () => {
  const { decoys } = loadConfiguration(SAMPLE);
  assert.deepEqual(
    decoys.map(({ name }) => name),
    ['telnet', 'vnc', 'port-31337'],
  );
});

test('the sample loads with every key that it only mentions, too', () => {
  const [, ...lines] = readFileSync(SAMPLE, 'utf8').split('\n');
  const text = lines.join('\n').replace(/^( *)# ( *(?:- |[a-z_]+:(?: |$)))/gm, '$1$2');
  const { sensor, decoys, allow, log } = configurationOf(text);
  assert.deepEqual(
    decoys.map(({ name, behaviour, proxies }) => [name, behaviour?.kind, proxies.length]),
    [
      ['telnet', 'talk', 0],
      ['vnc', undefined, 0],
      ['port-31337', undefined, 0],
      ['ssh', 'talk', 0],
      ['classic', 'response', 0],
      ['slow', 'tarpit', 0],
      ['behind', undefined, 1],
      ['unused', undefined, 0],
    ],
  );
  assert.deepEqual([sensor, allow.length, log.syslog.length], ['web-1', 2, 1]);
});

test('the limits of the sample are the defaults', () => {
  assert.deepEqual(loadConfiguration(SAMPLE).limits, configurationOf('decoys: [{ ports: 22 }]').limits);
});
