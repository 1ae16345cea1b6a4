import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfiguration } from '../../src/configuration/load.ts';
import { problemsOf } from './support.ts';

/** What is wrong, the file, and every line that must come of it. */
const CASES: readonly (readonly [title: string, text: string | Uint8Array, ...problems: string[]])[] = [
  ['an empty file', '', 'F:1:1: expected a mapping with the key decoys, got nothing'],
  ['a file of comments', '# none\n', 'F:1:1: expected a mapping with the key decoys, got nothing'],
  ['a text instead of a mapping', 'hello', 'F:1:1: expected a mapping with the key decoys, got "hello"'],
  ['no decoys', 'sensor: a\n', 'F:1:1: expected a key decoys'],
  ['an empty list of decoys', 'decoys: []', 'F:1:9: decoys: expected a list of at least one decoy, got []'],
  ['decoys left empty', 'decoys:\n', 'F:1:8: decoys: expected a list of at least one decoy, got null'],
  [
    'a decoy that is no mapping',
    'decoys: [22]',
    'F:1:10: decoys[0]: expected a mapping with the key ports, got 22',
  ],
  [
    'a misspelt key',
    'decoys:\n  - prots: 22\n',
    'F:2:5: decoys[0]: expected a key ports',
    'F:2:5: decoys[0].prots: unknown key, did you mean ports?',
  ],
  [
    'a key like none that is known',
    'decoys: [{ ports: 22 }]\nlog: { zzzzzz: 1 }',
    'F:2:8: log.zzzzzz: unknown key, expected one of console, file, syslog',
  ],
  [
    'a key that JavaScript knows',
    'decoys: [{ ports: 22, __proto__: 1, constructor: 2 }]',
    'F:1:23: decoys[0].__proto__: unknown key, expected one of address, banner, capture, except, hold, name, ports, proxy_protocol, response, tarpit',
    'F:1:37: decoys[0].constructor: unknown key, expected one of address, banner, capture, except, hold, name, ports, proxy_protocol, response, tarpit',
  ],
  [
    'a key that has to be escaped',
    'decoys: [{ ports: 22 }]\n"\\e[2J\\n\u00e4": 1',
    'F:2:1: ["\\u001b[2J\\n\\xe4"]: unknown key, expected one of allow, brake, cookies, decoys, guard, limits, log, mark, metrics, sensor, user',
  ],
  [
    'ports out of range',
    'decoys:\n  - ports: [23, 70000, 0, -1, 22.5]\n',
    'F:2:17: decoys[0].ports[1]: expected a port between 1 and 65535, got 70000',
    'F:2:24: decoys[0].ports[2]: expected a port between 1 and 65535, got 0',
    'F:2:27: decoys[0].ports[3]: expected a port between 1 and 65535, got -1',
    'F:2:31: decoys[0].ports[4]: expected a port between 1 and 65535 or a range such as 5900-5910, got 22.5',
  ],
  [
    'one port out of range',
    'decoys: [{ ports: 70000 }]',
    'F:1:19: decoys[0].ports: expected a port between 1 and 65535, got 70000',
  ],
  [
    'a text that is no port',
    'decoys: [{ ports: ["23", 22-] }]',
    'F:1:20: decoys[0].ports[0]: expected a port between 1 and 65535 or a range such as 5900-5910, got "23"',
    'F:1:26: decoys[0].ports[1]: expected a port between 1 and 65535 or a range such as 5900-5910, got "22-"',
  ],
  [
    'no port at all',
    'decoys: [{ ports: [] }]',
    'F:1:19: decoys[0].ports: expected at least one port, got []',
  ],
  [
    'something else than ports',
    'decoys: [{ ports: { from: 1 } }, { ports: [[1]] }]',
    'F:1:19: decoys[0].ports: expected a port, a range such as 5900-5910, a list of them, or unused, got {"from":1}',
    'F:1:44: decoys[1].ports[0]: expected a port between 1 and 65535 or a range such as 5900-5910, got [1]',
  ],
  [
    'a range that falls',
    'decoys: [{ ports: 30-20 }]',
    'F:1:19: decoys[0].ports: expected a range that rises, got 30-20',
  ],
  [
    'a range out of range',
    'decoys: [{ ports: 60000-70000 }]',
    'F:1:19: decoys[0].ports: expected a range between 1 and 65535, got 60000-70000',
  ],
  [
    'a port twice in a decoy',
    'decoys: [{ ports: [22, 20-30] }]',
    'F:1:24: decoys[0].ports[1]: expected each port once, got 22 (line 1 has it)',
  ],
  [
    'a port twice in two decoys',
    'decoys:\n  - ports: 22\n  - { name: b, ports: 22 }\n',
    'F:3:23: decoys[1].ports: expected each port once, got 22 (line 2 has it)',
  ],
  [
    'a port on one address and on all',
    'decoys:\n  - { ports: 22, address: 192.0.2.1 }\n  - { name: b, ports: 22 }\n',
    'F:3:23: decoys[1].ports: expected each port once, got 22 (line 2 has it on 192.0.2.1)',
  ],
  [
    'a port on all addresses and on one',
    'decoys:\n  - { ports: 22 }\n  - { name: b, ports: 22, address: "::1" }\n',
    'F:3:23: decoys[1].ports: expected each port once, got 22 (line 2 has it on all addresses)',
  ],
  [
    'a port on all of IPv4 and on one address of it',
    'decoys:\n  - { ports: 22, address: 0.0.0.0 }\n  - { name: b, ports: 22, address: "::1" }\n  - { name: c, ports: 22, address: 192.0.2.1 }\n',
    'F:4:23: decoys[2].ports: expected each port once, got 22 (line 2 has it on 0.0.0.0)',
  ],
  [
    'a port on the same address, written in two ways',
    'decoys:\n  - { name: a, ports: 22, address: "2001:db8::1" }\n  - { name: b, ports: 22, address: "2001:DB8:0::1" }\n',
    'F:3:23: decoys[1].ports: expected each port once, got 22 (line 2 has it)',
  ],
  [
    'too many ports',
    `decoys:\n${[1, 2, 3].map((n) => `  - { name: d${n}, ports: 1-65535, address: 192.0.2.${n} }\n`).join('')}`,
    'F:4:24: decoys[2].ports: expected at most 131070 ports in all decoys, got more from here on',
  ],
  [
    'an address that is none',
    'decoys: [{ ports: 22, address: 192.0.2.300 }]',
    'F:1:32: decoys[0].address: expected an IPv4 or IPv6 address, got "192.0.2.300"',
  ],
  [
    'an address with a zone',
    'decoys: [{ ports: 22, address: fe80::1%eth0 }]',
    'F:1:32: decoys[0].address: expected an address without a zone, got "fe80::1%eth0"',
  ],
  [
    'a name twice',
    'decoys: [{ name: a, ports: 1 }, { name: a, ports: 2 }]',
    'F:1:41: decoys[1].name: expected each name once, got a (the decoy on line 1 has it)',
  ],
  [
    'two decoys that would be named after the same port',
    'decoys:\n  - { ports: 22, address: 192.0.2.1 }\n  - { ports: 22, address: 192.0.2.2 }\n',
    'F:3:5: decoys[1]: expected a key name, as port-22 is that of the decoy on line 2',
  ],
  [
    'a name that a decoy before it would get from its port',
    'decoys:\n  - ports: 22\n  - { name: port-22, ports: 23 }\n',
    'F:2:5: decoys[0]: expected a key name, as port-22 is that of the decoy on line 3',
  ],
  [
    'a name with capitals',
    'decoys: [{ name: SSH, ports: 22 }]',
    'F:1:18: decoys[0].name: expected 1 to 32 of the characters a-z 0-9 . _ -, got "SSH"',
  ],
  [
    'a sensor with a space',
    'sensor: web 1\ndecoys: [{ ports: 22 }]',
    'F:1:9: sensor: expected 1 to 255 of the characters A-Z a-z 0-9 . _ -, got "web 1"',
  ],
  [
    'a log that fail2ban could not find',
    'decoys: [{ ports: 22 }]\nlog: { file: { path: honeyport.log, mode: 0640 }, console: auto }',
    'F:2:22: log.file.path: expected an absolute path such as /var/log/honeyport/honeyport.log, got "honeyport.log"',
    'F:2:43: log.file.mode: expected octal permission bits in quotes such as "0640", got 640',
    'F:2:60: log.console: expected pretty, line, json or off, got "auto"',
  ],
  [
    'a directory as log',
    'decoys: [{ ports: 22 }]\nlog: { file: { path: /var/log/ } }',
    'F:2:22: log.file.path: expected an absolute path such as /var/log/honeyport/honeyport.log, got "/var/log/"',
  ],
  [
    'pending lines out of bounds',
    'decoys: [{ ports: 22 }]\nlimits: { pending_lines: 999 }',
    'F:2:26: limits.pending_lines: expected a number of lines between 1000 and 1000000, got 999',
  ],
  [
    'an unknown word',
    'decoys: [{ ports: 22 }]\ncookies: eat',
    'F:2:10: cookies: expected withhold or count, got "eat"',
  ],
  [
    'a boolean for on or off',
    'decoys: [{ ports: 22 }]\nguard: true',
    'F:2:8: guard: expected on or off, got true',
  ],
  [
    'a mapping of which another kind exists',
    'decoys: [{ ports: 22 }]\nallow: [{ file: 5 }, { file: /x, fil: 1 }, 5]',
    'F:2:17: allow[0].file: expected an absolute path such as /etc/honeyport/allow.list, got 5',
    'F:2:34: allow[1].fil: unknown key, did you mean file?',
    'F:2:44: allow[2]: expected an address, a network, a host name, or a mapping with the key source or file, got 5',
  ],
  [
    'a value of none of several kinds within several kinds',
    'decoys: [{ ports: 22, banner: 5 }, { ports: 23, banner: { file: x } }]',
    'F:1:31: decoys[0].banner: expected a text or a mapping with the key file, or off, got 5',
    'F:1:65: decoys[1].banner.file: expected an absolute path such as /etc/honeyport/ssh.banner, got "x"',
  ],
  [
    'a huge value',
    `decoys: [{ ports: 22 }]\nsensor: [${'"long", '.repeat(1000)}]`,
    'F:2:9: sensor: expected 1 to 255 of the characters A-Z a-z 0-9 . _ -, got ["long","long","long","long","long","long","long","long",...',
  ],
  [
    'a value that has to be escaped',
    'decoys: [{ ports: 22 }]\nsensor: "\u00e4\u{1f600}\\0"',
    'F:2:9: sensor: expected 1 to 255 of the characters A-Z a-z 0-9 . _ -, got "\\xe4\\u{1f600}\\u0000"',
  ],
  [
    'a list that does not end',
    'decoys: [22',
    'F:1:12: not valid YAML: flow sequence in block collection must be sufficiently indented and end with a ]',
  ],
  [
    'a key twice',
    'decoys:\n  - { ports: 1, ports: 2 }\n',
    'F:2:17: not valid YAML: key ports stands on line 2 already',
  ],
  [
    'two documents',
    'decoys: []\n---\ndecoys: []\n',
    'F:2:1: not valid YAML: expected one document, got a second one',
  ],
  ['an unknown tag', 'decoys: !secret x\n', 'F:1:9: not valid YAML: unresolved tag: !secret'],
  ['a key that is no text', '? [a]\n: 1\n', 'F:1:3: not valid YAML: expected a plain text as key'],
  ['an alias of nothing', 'decoys: *none\n', 'F:1:9: not valid YAML: no anchor none before this alias'],
  ['an alias that contains itself', 'decoys: &a [*a]\n', 'F:1:12: not valid YAML: nested too deep'],
  ['bytes that are not UTF-8', Buffer.from('sensor: \xff\n', 'latin1'), 'F:1:9: not valid YAML: not UTF-8'],
  ['nesting without end', '['.repeat(1_000_000), 'F:1:65: not valid YAML: nested too deep'],
  ['values without end', `a: [${'a,'.repeat(110_000)}]`, 'F:1:200001: not valid YAML: too many values'],
  [
    'lines without end',
    '\n'.repeat(1_000_000),
    'F:400002:1: not valid YAML: too many words, signs and lines',
  ],
  [
    'a good decoy beside several bad parts',
    'sensro: a\ndecoys:\n  - ports: 22\n  - name: b\n  - { name: b, ports: [22, 9-1], address: x }\n',
    'F:1:1: sensro: unknown key, did you mean sensor?',
    'F:4:5: decoys[1]: expected a key ports',
    'F:5:13: decoys[2].name: expected each name once, got b (the decoy on line 4 has it)',
    'F:5:28: decoys[2].ports[1]: expected a range that rises, got 9-1',
    'F:5:43: decoys[2].address: expected an IPv4 or IPv6 address, got "x"',
  ],
];

for (const [title, text, ...problems] of CASES) {
  test(`${title} is reported at its place`, () => assert.deepEqual(problemsOf(text), problems));
}

test('aliases that multiply end at a bound', () => {
  const levels = [...'bcdefghij'].map(
    (name, index) => `${name}: &${name} [${`*${'abcdefghij'[index]} ,`.repeat(9)}]`,
  );
  const problems = problemsOf(`a: &a [1,1,1,1,1,1,1,1,1]\n${levels.join('\n')}`);
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, /: not valid YAML: too many values$/);
});

test('a problem within what an alias stands for is reported where that is written', () => {
  assert.deepEqual(problemsOf('decoys:\n  - &a { name: a, ports: [0] }\n  - *a\n'), [
    'F:2:16: decoys[1].name: expected each name once, got a (the decoy on line 2 has it)',
    'F:2:27: decoys[0].ports[0]: expected a port between 1 and 65535, got 0',
    'F:2:27: decoys[1].ports[0]: expected a port between 1 and 65535, got 0',
  ]);
});

test('after a hundred problems a line says how many more there are', () => {
  const problems = problemsOf(`decoys: [{ ports: [${'0,'.repeat(250)}] }]`);
  assert.equal(problems.length, 101);
  assert.equal(problems[100], 'F: 150 more problems');
});

test('the name of the file cannot break the line', () => {
  assert.throws(() => parseConfiguration(Buffer.from(''), 'a\nb\u00e4'), {
    problems: ['a\\x0ab\\xe4:1:1: expected a mapping with the key decoys, got nothing'],
  });
});

test('mappings where texts belong are refused like any other value', () => {
  assert.deepEqual(
    problemsOf('decoys: [{ ports: 22 }]\nallow: [{ source: a.example, ports: [{}], until: {} }]').length,
    2,
  );
});
