import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import {
  DEFAULT_DOME9_FILE,
  listNameOf,
  loadDome9Configuration,
  parseDome9Configuration,
} from '../../src/configuration/dome9.ts';
import { DOME9_SCHEMA, LONGEST_LIST_NAME } from '../../src/configuration/schema-dome9.ts';
import type { SchemaNode } from '../../src/configuration/schema-nodes.ts';
import { schemaFaults } from '../../src/configuration/validate.ts';
import { ConfigurationError } from '../../src/errors.ts';
import { temporaryDirectory } from '../support/directory.ts';

/** No piece of four characters of them stands in any word that a problem could have. */
const ID = 'Hx2Pf6Lm4Gd0Tc';
const SECRET = 'Zq7Xv9Kw3Jt5Ry8Bn';
const KEY = `key: { id: ${ID}, secret: ${SECRET} }\n`;
const ENVIRONMENT = { DOME9_ACCESS_ID: 'env-id', DOME9_SECRET_KEY: 'env-secret' };

function errorOf(text: string | Uint8Array, environment = {}): ConfigurationError | undefined {
  try {
    parseDome9Configuration(typeof text === 'string' ? Buffer.from(text) : text, 'F', environment);
    return undefined;
  } catch (error) {
    if (error instanceof ConfigurationError) return error;
    throw error;
  }
}

function problemsOf(text: string | Uint8Array, environment = {}): readonly string[] {
  return errorOf(text, environment)?.problems ?? [];
}

function configurationOf(text: string, environment = {}) {
  const configuration = parseDome9Configuration(Buffer.from(text), 'F', environment);
  // with a prototype, to be compared
  return { ...configuration, key: { ...configuration.key } };
}

const ID_EXPECTED = 'expected a text of 1 to 512 printable ASCII characters without blanks and colons';
const SECRET_EXPECTED =
  'expected a text of 1 to 512 printable ASCII characters, in quotes where it is a number';
const KEYS = 'api, ca, key, list, max_items, sensor, state, url';

/** What is wrong, the file, and every line that must come of it. */
const CASES: readonly (readonly [title: string, text: string | Uint8Array, ...problems: string[]])[] = [
  ['an empty file', '', 'F:1:1: expected a key key'],
  ['a file without the key', '# none\nsensor: a\n', 'F:1:1: expected a key key'],
  ['a text instead of a mapping', 'hello', 'F:1:1: expected a mapping with the key key, got something else'],
  ['a list', '- hello', 'F:1:1: expected a mapping with the key key, got something else'],
  ['an empty text', '""', 'F:1:1: expected a mapping with the key key, got something else'],
  [
    'a key without id and secret',
    'api: v2\nkey: {}\n',
    'F:2:6: key: expected a key id',
    'F:2:6: key: expected a key secret',
  ],
  [
    'a key left empty',
    'key:\n',
    'F:1:5: key: expected a mapping with the keys id and secret, got something else',
  ],
  ['a key without a secret', 'key:\n  id: a\n', 'F:2:3: key: expected a key secret'],
  [
    'a key that is a list',
    'key: [a, b]',
    'F:1:6: key: expected a mapping with the keys id and secret, got something else',
  ],
  [
    'an id and a secret that are numbers',
    'key: { id: 5, secret: 1_000 }\nmax_items: 1_0',
    `F:1:12: key.id: ${ID_EXPECTED}, got something else`,
    'F:2:12: max_items: expected a number between 1 and 100000, got "1_0"',
  ],
  [
    'a secret that is a number',
    'key: { id: a, secret: 123456 }',
    `F:1:23: key.secret: ${SECRET_EXPECTED}, got something else`,
  ],
  [
    'an id with a colon',
    'key: { id: "a:b", secret: x }',
    `F:1:12: key.id: ${ID_EXPECTED}, got something else`,
  ],
  [
    'an id with a blank',
    'key: { id: "a b", secret: x }',
    `F:1:12: key.id: ${ID_EXPECTED}, got something else`,
  ],
  [
    'a secret with a line break and an empty id',
    'key: { id: "", secret: "x\\n" }',
    `F:1:12: key.id: ${ID_EXPECTED}, got something else`,
    `F:1:24: key.secret: ${SECRET_EXPECTED}, got something else`,
  ],
  [
    'a secret of 513 characters',
    `key: { id: a, secret: ${'x'.repeat(513)} }`,
    `F:1:23: key.secret: ${SECRET_EXPECTED}, got something else`,
  ],
  [
    'a secret that is not ASCII',
    'key: { id: a, secret: ä }',
    `F:1:23: key.secret: ${SECRET_EXPECTED}, got something else`,
  ],
  [
    'an unknown key, and one within the key',
    'keys: 1\nkey: { id: a, secret: b, sekret: c }',
    'F:1:1: unknown key, did you mean key?',
    'F:2:26: key: unknown key, did you mean secret?',
  ],
  ['a key like none that is known', `${KEY}zzzzzzzz: 1`, `F:2:1: unknown key, expected one of ${KEYS}`],
  ['another API', `${KEY}api: v3`, 'F:2:6: api: expected v2 or v1, got "v3"'],
  [
    'a URL of another scheme',
    `${KEY}url: ftp://api.example`,
    'F:2:6: url: expected a URL such as https://api.dome9.com, got something else',
  ],
  [
    'a URL of no host',
    `${KEY}url: "https://"`,
    'F:2:6: url: expected a URL such as https://api.dome9.com, got something else',
  ],
  [
    'http to elsewhere',
    `${KEY}url: http://api.dome9.com`,
    'F:2:6: url: expected a URL with https, or http to this host itself, got something else',
  ],
  [
    'a user in the URL',
    `${KEY}url: https://me@api.example`,
    'F:2:6: url: expected a URL without user and password, got something else',
  ],
  [
    'relative paths',
    `${KEY}ca: ca.pem\nstate: /var/lib/\n`,
    'F:2:5: ca: expected an absolute path such as /etc/honeyport/proxy-ca.pem, got "ca.pem"',
    'F:3:8: state: expected an absolute path such as /var/lib/honeyport/dome9, got "/var/lib/"',
  ],
  [
    'a list without a letter, and a sensor with a blank',
    `${KEY}list: "12-3"\nsensor: a b`,
    'F:2:7: list: expected 1 to 50 of the characters A-Z a-z 0-9 / - _ : with a letter among them, got "12-3"',
    'F:3:9: sensor: expected 1 to 255 of the characters A-Z a-z 0-9 . _ -, got "a b"',
  ],
  [
    'a list of 51 characters',
    `${KEY}list: ${'l'.repeat(51)}`,
    `F:2:7: list: expected 1 to 50 of the characters A-Z a-z 0-9 / - _ : with a letter among them, got "${'l'.repeat(51)}"`,
  ],
  [
    'no room and too much of it',
    `${KEY}max_items: 0`,
    'F:2:12: max_items: expected a number between 1 and 100000, got 0',
  ],
  [
    'more items than the program can hold',
    `${KEY}max_items: 100001`,
    'F:2:12: max_items: expected a number between 1 and 100000, got 100001',
  ],
  ['a list that does not end', 'key: [22', 'F:1:9: not valid YAML'],
  ['a key twice', 'key: { id: a,\n  id: b, secret: c }', 'F:2:3: not valid YAML'],
  ['two documents', `${KEY}---\n${KEY}`, 'F:2:1: not valid YAML'],
  ['an unknown tag', 'key: !secret x\n', 'F:1:6: not valid YAML'],
  ['an alias of nothing', 'api: v2\nkey: *none\n', 'F:2:6: not valid YAML'],
  ['bytes that are not UTF-8', Buffer.from('sensor: \xff\n', 'latin1'), 'F:1:9: not valid YAML'],
];

for (const [title, text, ...problems] of CASES) {
  test(`dome9.yaml: ${title} is reported at its place`, () => assert.deepEqual(problemsOf(text), problems));
}

const SIGNS = ['*', '&', '!', '%', '@', '`', '{', '}', '[', ']', '|', '>', '"', "'", '#', ',', ':', '?', '-'];
const WITHIN = [': ', ' #', '"', "'", ', ', '\t', ' ', '\n', '\n\t', ' }', ' ]', '\\x', '\x01', '\x7f', 'ä'];

/** All forms in which somebody may get the key wrong. */
const MISTAKES: readonly (string | Uint8Array)[] = [
  SECRET,
  `${ID}:${SECRET}`,
  `"${SECRET}`,
  `- ${ID}\n- ${SECRET}\n`,
  `${SECRET}: 1\n`,
  `${ID}: ${SECRET}\n`,
  `? ${SECRET}\n`,
  `? [${ID}, ${SECRET}]\n: 1\n`,
  `id: ${ID}\nsecret: ${SECRET}\n`,
  `key:\nid: ${ID}\nsecret: ${SECRET}\n`,
  `key:\n  id: ${ID}\nsecret: ${SECRET}\n`,
  `DOME9_ACCESS_ID=${ID}\nDOME9_SECRET_KEY=${SECRET}\n`,
  `dome9: { key: { id: ${ID}, secret: ${SECRET} } }`,
  `key: ${SECRET}\n`,
  `key: ${ID}:${SECRET}\n`,
  `key: [${ID}, ${SECRET}]\n`,
  `key: { ${ID}: ${SECRET} }\n`,
  `key: { ${ID}, ${SECRET} }\n`,
  `key: { id: ${ID}, ${SECRET}: secret }\n`,
  `key: { id: ${ID} }\nsecret: ${SECRET}\n`,
  `key: { secret: ${SECRET} }\n`,
  `key: { id: [${ID}], secret: [${SECRET}] }\n`,
  `key: { id: { ${ID}: ${ID} }, secret: { ${SECRET}: ${SECRET} } }\n`,
  `key: { id: "${ID} ", secret: "${SECRET}\\n" }\n`,
  `key: { id: "${ID}:", secret: "${SECRET}\\u0001" }\n`,
  `key: { id: ${ID.repeat(60)}, secret: ${SECRET.repeat(60)} }\n`,
  `key: { id: ${ID}, id: ${ID}, secret: ${SECRET} }\n`,
  `${SECRET}: 1\n${SECRET}: 2\n`,
  `key: { id: ${ID}, secret: ${SECRET}, ${SECRET}: 1, ${SECRET}: 2 }\n`,
  `${KEY}---\n${KEY}`,
  `${KEY}${SECRET}\n`,
  `${KEY}...\n${SECRET}\n`,
  `%${SECRET}\n---\n${KEY}`,
  `key: &${SECRET} { id: *${ID}, secret: x }\n`,
  `key: { id: ${ID}, secret: !!int ${SECRET} }\n`,
  `key: { id: ${ID}, secret: !!binary ${SECRET} }\n`,
  `<<: { id: ${ID}, secret: ${SECRET} }\n`,
  `key: { <<: { id: ${ID}, secret: ${SECRET} } }\n`,
  `key:\n\tid: ${ID}\n\tsecret: ${SECRET}\n`,
  `key:\n  id: ${ID}\n   secret: ${SECRET}\n`,
  `key:\n  id: |\n    ${ID}\n  secret: >\n    ${SECRET}\n`,
  `key: { id: 0, secret: 0 } # ${SECRET}\n`,
  `[${'['.repeat(100)}${SECRET}`,
  `\ufeff${KEY}${SECRET}: 1`,
  Buffer.from(`key: { id: ${ID}, secret: ${SECRET}\xe4 }\n`, 'latin1'),
  Buffer.from(`${KEY}${SECRET}: 1\n`, 'utf16le'),
  ...SIGNS.flatMap((sign) =>
    [`${sign}${SECRET}`, `${sign}${SECRET}${sign}`, `${SECRET}${sign}`, `${sign} ${SECRET}`].flatMap(
      (text) => [
        `key: { id: ${ID}, secret: ${text} }\n${ID}: 1\n`,
        `key:\n  id: ${ID}\n  secret: ${text}\n${ID}: 1\n`,
        `key:\n  id: ${text}\n  secret: ${SECRET}\n${SECRET}: 1\n`,
      ],
    ),
  ),
  ...WITHIN.flatMap((text) => [
    `key: { id: ${ID}, secret: ${SECRET}${text}${SECRET} }\nx: ${ID}\n`,
    `key:\n  id: ${ID}${text}${ID}\n  secret: "${SECRET}${text}${SECRET}"\n${SECRET}: 1\n`,
  ]),
];

const PIECES = [ID, SECRET].flatMap((text) =>
  Array.from({ length: text.length - 3 }, (_, at) => text.slice(at, at + 4)),
);

/** Fails where so much as four characters of the key are shown. Tells whether there was a problem. */
function assertNothingShown(text: string | Uint8Array, environment = {}): boolean {
  const error = errorOf(text, environment);
  const said = `${error?.message}\n${error?.problems.join('\n')}\n${error?.hint}`;
  const shown = PIECES.filter((piece) => said.includes(piece));
  assert.ok(shown.length === 0, `${JSON.stringify(text)} is told as ${said}`);
  return error !== undefined;
}

test('whatever mistake is made with the key, it is found, and no problem shows a part of it', () => {
  const found = MISTAKES.filter((text) => assertNothingShown(text));
  // a sign at the end of a secret is a part of it
  assert.ok(found.length > 150, `only ${found.length} of ${MISTAKES.length} are found`);
  for (const text of MISTAKES.slice(0, 40)) assertNothingShown(text, ENVIRONMENT);
});

test('whatever YAML signs stand about the key, no problem shows a part of it', () => {
  const words = [ID, SECRET, 'key', 'id', 'secret', ...SIGNS, ': ', '- ', '\n', '\n  ', ' ', '---\n', '\t'];
  const text = fc.array(fc.constantFrom(...words), { maxLength: 25 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(text, (file) => void assertNothingShown(file)),
    { numRuns: 500 },
  );
});

test('a key that stands within another key by mistake is not shown', () => {
  const value = `{ id: ${ID}, secret: ${SECRET} }`;
  for (const name of ['api', 'url', 'ca', 'sensor', 'list', 'state', 'max_items']) {
    assertNothingShown(`${name}:\n  key: ${value}\n`);
    assertNothingShown(`${name}: ${value}\n`);
    assertNothingShown(`key: &a ${value}\n${name}: *a\n`);
    assertNothingShown(`${name}: [${SECRET}]\nkey: ${value}\n`);
  }
});

test('a URL that cannot be parsed or has more than a place is reported at its place', () => {
  for (const [url, expected] of [
    ['https://api.example:99999', 'a URL such as https://api.dome9.com'],
    ['https://api.example/?a', 'a URL without ? and #'],
    ['https://api.example#a', 'a URL without ? and #'],
  ]) {
    const problems = problemsOf(`${KEY}url: "${url}"`);
    assert.equal(problems.length, 1, url);
    assert.ok(problems[0]!.startsWith(`F:2:6: url: expected ${expected}, got `), problems[0]);
  }
});

test('a key that stands in the URL as user and password is not shown, however long it is', () => {
  const long = 'u'.repeat(60);
  for (const url of [
    `https://${ID}:${SECRET}@`,
    `https://${ID}:${SECRET}@api.example`,
    `https://${ID}:${SECRET}${long}@api.example`,
    `https://${SECRET}${long}@api.example`,
    `http://${ID}:${SECRET}${long}@api.example/`,
    `https://${ID}:${SECRET} ${long}@api.example`,
    `ftp://${ID}:${SECRET}${long}@api.example`,
    `${ID}:${SECRET}${long}@api.example`,
  ]) {
    assertNothingShown(`${KEY}url: "${url}"\n`);
  }
});

test('a key that stands elsewhere in the URL is not shown', () => {
  for (const url of [
    `https://api.example/?key=${SECRET}`,
    `https://api.example/#${SECRET}`,
    `https://${ID}:${SECRET}`,
  ]) {
    assertNothingShown(`${KEY}url: "${url}"\n`);
  }
});

test('of everything in the file a good configuration is made', () => {
  const text = `
api: v1
url: https://api.eu1.dome9.com/base//
key: { id: "me@example.org", secret: "a b:c" }
ca: /etc/ca.pem
sensor: web.1
list: a/b
state: /var/lib/x
max_items: 7
`;
  assert.deepEqual(configurationOf(text), {
    file: 'F',
    api: 'v1',
    url: 'https://api.eu1.dome9.com/base',
    key: { id: 'me@example.org', secret: 'a b:c' },
    ca: '/etc/ca.pem',
    sensor: 'web.1',
    list: 'a/b',
    state: '/var/lib/x',
    maxItems: 7,
  });
});

test('what the file does not say has its default', () => {
  const { sensor, list, ...rest } = configurationOf(KEY);
  assert.deepEqual(rest, {
    file: 'F',
    api: 'v2',
    url: 'https://api.dome9.com',
    key: { id: ID, secret: SECRET },
    ca: undefined,
    state: '/var/lib/honeyport/dome9',
    maxItems: 500,
  });
  assert.equal(sensor, hostname().replace(/[^A-Za-z0-9._-]/g, '-'));
  assert.equal(list, listNameOf(sensor));
});

test('the key comes from the environment where the file has none, and the one in the file wins', () => {
  const expected = { id: 'env-id', secret: 'env-secret' };
  for (const text of ['', 'null', '# nothing\n', 'sensor: web-1\n'])
    assert.deepEqual(configurationOf(text, ENVIRONMENT).key, expected, text);
  assert.deepEqual(configurationOf(KEY, ENVIRONMENT).key, { id: ID, secret: SECRET });
});

test('half a key in the environment is none', () => {
  for (const environment of [
    {},
    { DOME9_ACCESS_ID: 'a' },
    { DOME9_SECRET_KEY: 'b' },
    { DOME9_ACCESS_ID: '', DOME9_SECRET_KEY: 'b' },
    { DOME9_ACCESS_ID: 'a', DOME9_SECRET_KEY: '' },
  ]) {
    const error = errorOf('sensor: a', environment);
    assert.deepEqual(error?.problems, ['F:1:1: expected a key key']);
    assert.match(error?.hint ?? '', /DOME9_ACCESS_ID and DOME9_SECRET_KEY/);
  }
});

test('half a key in the file is not made whole by the environment', () => {
  assert.deepEqual(problemsOf('key: { id: a }', ENVIRONMENT), ['F:1:6: key: expected a key secret']);
});

test('without a file the environment and the defaults are enough, and else it is said which file there could be', (context) => {
  if (existsSync(DEFAULT_DOME9_FILE)) return context.skip('the host has a file of its own');
  const { file, key, url } = loadDome9Configuration(undefined, ENVIRONMENT);
  assert.deepEqual(
    { file, key, url },
    { file: undefined, key: { id: 'env-id', secret: 'env-secret' }, url: 'https://api.dome9.com' },
  );
  assert.throws(() => loadDome9Configuration(undefined, {}), {
    problems: [`${DEFAULT_DOME9_FILE}: no such file`],
    hint: /^docs\/dome9\.yaml is a sample/,
  });
});

test('a file that is named must be there, whatever the environment has', (context) => {
  const file = join(temporaryDirectory(context), 'dome9.yaml');
  assert.throws(() => loadDome9Configuration(file, ENVIRONMENT), { problems: [`${file}: no such file`] });
});

function fileOf(context: TestContext, mode: number, text = KEY): string {
  const file = join(temporaryDirectory(context), 'dome9.yaml');
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

const IS_ROOT = process.geteuid?.() === 0;

for (const mode of [0o600, 0o400, 0o700]) {
  test(`a file of mode 0${mode.toString(8)} is read`, (context) => {
    assert.equal(loadDome9Configuration(fileOf(context, mode), {}).key.secret, SECRET);
  });
}

for (const mode of [0o644, 0o660, 0o604, 0o602, 0o620, 0o610, 0o601, 0o777]) {
  test(`a file of mode 0${mode.toString(8)} is refused before it is read`, (context) => {
    const file = fileOf(context, mode, 'not a configuration');
    assert.throws(() => loadDome9Configuration(file, ENVIRONMENT), {
      problems: [
        `${file}: expected a file that others can neither read nor write, got mode 0${mode.toString(8)}`,
      ],
      hint: /^the key is in it: chmod 600/,
    });
  });
}

for (const mode of [0o640, 0o440]) {
  test(`a file of mode 0${mode.toString(8)} is read where root owns it, and else refused`, (context) => {
    const file = fileOf(context, mode);
    if (IS_ROOT) {
      assert.equal(loadDome9Configuration(file, {}).key.secret, SECRET);
      chownSync(file, 65_534, 65_534);
    }
    assert.throws(() => loadDome9Configuration(file, {}), /got mode 0[64]40$/);
  });
}

test('a directory and a FIFO are refused without waiting, and a file of more than a mebibyte', (context) => {
  const directory = temporaryDirectory(context);
  const at = (name: string) => join(directory, name);
  mkdirSync(at('directory'), { mode: 0o700 });
  execFileSync('mkfifo', ['-m', '600', at('fifo')]);
  writeFileSync(at('large'), `# ${'x'.repeat(1 << 20)}\n`, { mode: 0o600 });
  writeFileSync(at('linked'), KEY, { mode: 0o600 });
  symlinkSync('linked', at('link'));
  const problem = (name: string) => {
    try {
      return loadDome9Configuration(at(name), {}).key.id;
    } catch (error) {
      return (error as ConfigurationError).message.replace(directory, '');
    }
  };
  assert.equal(problem('directory'), '/directory: expected a regular file, got a directory');
  assert.equal(problem('fifo'), '/fifo: expected a regular file, got a FIFO');
  assert.equal(problem('large'), '/large: expected at most 1 MiB, got more');
  assert.equal(problem('link'), ID);
});

test('a problem in a file is told with its path, line and column', (context) => {
  const file = fileOf(context, 0o600, `${KEY}api: v3\n`);
  assert.throws(() => loadDome9Configuration(file, {}), {
    problems: [`${file}:2:6: api: expected v2 or v1, got "v3"`],
  });
});

for (const url of [
  'http://127.0.0.1',
  'http://127.0.0.1:8080/base',
  'http://127.255.255.254',
  'http://[::1]:8080',
  'http://localhost:8080',
  // what the URL standard makes 127.0.0.1 of is connected to as that
  'http://127.1',
  'http://127.0.0.1.',
  'http://0x7f.1',
  'http://2130706433',
  'https://127.0.0.1.example',
  'https://[2001:db8::1]:8443/a/b',
]) {
  test(`${url} may be the API`, () => assert.equal(configurationOf(`${KEY}url: "${url}"`).url, url));
}

for (const url of [
  'http://127.0.0.1.example',
  'http://127.0.0.1x',
  'http://localhost.example',
  'http://localhost.',
  'http://my-localhost',
  'http://0.0.0.0',
  'http://128.0.0.1',
  'http://126.1',
  'http://10.127.0.0',
  'http://[::]',
  'http://[::2]',
  'http://[::ffff:127.0.0.1]',
  'http://[::127.0.0.1]',
  'http://xn--localhost',
  'http:127.0.0.1',
  'HTTP://127.0.0.1',
  'http://example.com/127.0.0.1',
  'http://example.com#127.0.0.1',
  'http://127.0.0.1@example.com',
  'http://127.0.0.1:80@example.com',
  'http://localhost%2eexample',
  'https://user@api.example',
  'https://user:password@api.example',
  'https://:password@api.example',
  'https://api.example?a=b',
  'https://api.example/#a',
  'https://api example',
  'https://api.example/\\u0007',
  'https:///',
  'api.example',
  '//api.example',
  '',
]) {
  test(`${url === '' ? 'nothing' : url} may not be the API`, () => {
    const problems = problemsOf(`${KEY}url: "${url}"`);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0]!, /^F:2:6: url: expected a URL /);
  });
}

test('a backslash or a slash too many leads nowhere else than to the host that was looked at', () => {
  for (const url of [
    'http://127.0.0.1\\\\@example.com',
    'http:///127.0.0.1',
    'http://127.0.0.1/@example.com',
  ])
    assert.equal(new URL(configurationOf(`${KEY}url: "${url}"`).url).hostname, '127.0.0.1', url);
});

const LIST_NAME = /^(?=.*[a-zA-Z])[a-zA-Z0-9/\-_:]{1,50}$/;
const sensors = fc.string({
  unit: fc.constantFrom(...'ABCXYZabcxyz0189._-'),
  minLength: 1,
  maxLength: 255,
});

test('the name of the list follows from the sensor', () => {
  assert.equal(listNameOf('web-1'), 'honeyport-web-1');
  assert.match(listNameOf('web.1'), /^honeyport-web-1-[0-9a-f]{8}$/);
  assert.equal(listNameOf('a'.repeat(40)), `honeyport-${'a'.repeat(40)}`);
  assert.match(listNameOf('a'.repeat(41)), /^honeyport-a{31}-[0-9a-f]{8}$/);
  assert.equal(configurationOf(`${KEY}sensor: web-9`).list, 'honeyport-web-9');
});

test('whatever the sensor is, the API takes the name of its list, and the schema does', () => {
  fc.assert(
    fc.property(sensors, (sensor) => {
      const name = listNameOf(sensor);
      assert.match(name, LIST_NAME);
      assert.ok(name.length <= LONGEST_LIST_NAME, `${name} is too long`);
      assert.equal(listNameOf(sensor), name);
    }),
  );
});

test('two sensors that look alike have two lists', () => {
  const names = ['a.b', 'a_b', 'a-b', 'a..b', 'a.b.', ...['x', 'y'].map((end) => 'l'.repeat(254) + end)];
  assert.equal(new Set(names.map(listNameOf)).size, names.length);
  fc.assert(
    fc.property(sensors, sensors, (one, other) => one === other || listNameOf(one) !== listNameOf(other)),
  );
});

test('a sensor that is named as the list of another one is has a list of its own', () => {
  for (const sensor of ['a.b', 'l'.repeat(60)]) {
    const name = listNameOf(sensor);
    const other = name.replace('honeyport-', '');
    assert.notEqual(listNameOf(other), name, `${sensor} and ${other}`);
  }
});

function nodesOf(node: SchemaNode, path = ''): (readonly [path: string, node: SchemaNode])[] {
  const inner = Object.entries(node.properties ?? {});
  const at = (name: string) => (path === '' ? name : `${path}.${name}`);
  return [[path, node], ...inner.flatMap(([name, child]) => nodesOf(child, at(name)))];
}

const KEY_NODES = nodesOf(DOME9_SCHEMA).filter(([path]) => path !== '');

test('the schema of dome9.yaml is one of draft 2020-12, and survives being printed', () => {
  const ajv = new Ajv2020({ strict: false });
  assert.ok(ajv.validateSchema(DOME9_SCHEMA), ajv.errorsText());
  assert.deepEqual(JSON.parse(JSON.stringify(DOME9_SCHEMA)), DOME9_SCHEMA);
  assert.equal(DOME9_SCHEMA.$schema, 'https://json-schema.org/draft/2020-12/schema');
});

test('every key of dome9.yaml has a title, a description in sentences, and examples', () => {
  for (const [path, node] of KEY_NODES) {
    assert.ok(node.title, path);
    assert.match(node.description ?? '', /\.$/, path);
    assert.ok(node.examples && node.examples.length > 0, path);
  }
});

test('the examples and the default of every key of dome9.yaml pass the schema and the checks', () => {
  for (const [path, node] of KEY_NODES) {
    for (const value of [...(node.examples ?? []), ...(node.default === undefined ? [] : [node.default])]) {
      const [outer, inner] = path.split('.') as [string, string?];
      const pair = { id: 'a', secret: 'b' };
      const file = { key: pair, [outer]: inner === undefined ? value : { ...pair, [inner]: value } };
      assert.deepEqual(problemsOf(JSON.stringify(file)), [], path);
      assert.deepEqual(schemaFaults(file, DOME9_SCHEMA), [], path);
    }
  }
});

test('every node of dome9.yaml says what it expects, and every mapping refuses unknown keys', () => {
  for (const [path, node] of nodesOf(DOME9_SCHEMA)) {
    assert.match(node.expected, /^[ -~]+[^.]$/, path);
    if (node.type === 'object') assert.equal(node.additionalProperties, false, path);
  }
});
