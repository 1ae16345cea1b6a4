import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Talk } from '../../src/configuration/configuration.ts';
import { bytesOf, decoyWith, problemsOf, withKeys } from './support.ts';

const NOTHING = new Uint8Array(0);
const DAY_MS = 86_400_000;

/** What a decoy does that sends nothing and records nothing. */
const QUIET: Talk = {
  kind: 'talk',
  banner: NOTHING,
  capturedBytes: 0,
  holdMs: 10_000,
  staysOpen: false,
};

const BEHAVIOURS: readonly (readonly [title: string, keys: string, behaviour: unknown])[] = [
  ['without any of these keys a decoy closes', 'address: 192.0.2.1', undefined],
  [
    'with all of them off a decoy closes',
    'banner: off\ncapture: off\nhold: off\nresponse: off\ntarpit: off\nproxy_protocol: off',
    undefined,
  ],
  ['a tarpit that is false is none', 'tarpit: false', undefined],
  ['a banner alone is sent, and the decoy closes', 'banner: "220 x\\r\\n"', banner('220 x\r\n')],
  ['a banner is sent as UTF-8', 'banner: "\u00e4\u{1f600}\\0"', banner('\u00e4\u{1f600}\0')],
  ['a banner of one character is one', 'banner: " "', banner(' ')],
  ['a banner in a file is sent', 'banner: { file: /b }', banner('/b')],
  ['a capture alone ends with what it records', 'capture: 65536', { ...QUIET, capturedBytes: 65_536 }],
  [
    'banner and capture stand beside each other',
    'banner: "login: "\ncapture: 1',
    { ...banner('login: '), capturedBytes: 1 },
  ],
  [
    'a hold alone keeps the port open in silence',
    'hold: 7d',
    { ...QUIET, holdMs: 7 * DAY_MS, staysOpen: true },
  ],
  [
    'a hold beside a banner keeps it open once that is sent',
    'banner: x\nhold: 10s',
    { ...banner('x'), staysOpen: true },
  ],
  ['a hold that is off keeps nothing open', 'banner: x\nhold: off', banner('x')],
  ['a tarpit lasts for a day', 'tarpit: true', { kind: 'tarpit', capturedBytes: 0, holdMs: DAY_MS }],
  [
    'a tarpit records and lasts as it is told',
    'tarpit: true\ncapture: 512\nhold: 500ms',
    { kind: 'tarpit', capturedBytes: 512, holdMs: 500 },
  ],
  [
    'a tarpit whose other keys are off is one',
    'tarpit: true\nbanner: off\ncapture: off\nhold: off\nresponse: off',
    { kind: 'tarpit', capturedBytes: 0, holdMs: DAY_MS },
  ],
  [
    'a response may take five seconds',
    'response: { command: [/r] }',
    { kind: 'response', command: ['/r'], timeoutMs: 5000 },
  ],
  [
    'a response has arguments, empty ones as well, and a time of its own',
    'response: { command: [/usr/bin/printf, "", "%s\u00e4\\n"], timeout: 1h }\nbanner: off\ntarpit: false',
    { kind: 'response', command: ['/usr/bin/printf', '', '%s\u00e4\n'], timeoutMs: 3_600_000 },
  ],
];

function banner(text: string): Talk {
  return { ...QUIET, banner: bytesOf(text) };
}

for (const [title, keys, behaviour] of BEHAVIOURS) {
  test(title, () => assert.deepEqual(decoyWith(keys).behaviour, behaviour));
}

test('64 words of 4095 characters are a command, and 4096 characters a banner', () => {
  const word = 'x'.repeat(4095);
  const { behaviour } = decoyWith(`response: { command: [/r, ${`${word}, `.repeat(63)}] }`);
  assert.equal(behaviour?.kind === 'response' && behaviour.command.length, 64);
  const characters = '\u{1f600}'.repeat(4096);
  assert.deepEqual(decoyWith(`banner: "${characters}"`).behaviour, banner(characters));
});

const BY_ITSELF = 'as a response reads and answers by itself';

/** Keys of a decoy from line 3, column 5 on, and every problem that must come of them. */
const FAULTS: readonly (readonly [title: string, keys: string, ...problems: string[]])[] = [
  [
    'a banner without a character',
    'banner: ""',
    'F:3:13: decoys[0].banner: expected a text of 1 to 4096 characters, got ""',
  ],
  [
    'a banner that is too long',
    `banner: ${'x'.repeat(4097)}`,
    `F:3:13: decoys[0].banner: expected a text of 1 to 4096 characters, got "${'x'.repeat(56)}...`,
  ],
  [
    'a banner that is neither text nor mapping',
    'banner: [x]',
    'F:3:13: decoys[0].banner: expected a text or a mapping with the key file, or off, got ["x"]',
  ],
  [
    'a banner whose file is unknown',
    'banner: { text: x }',
    'F:3:13: decoys[0].banner: expected a key file',
    'F:3:15: decoys[0].banner.text: unknown key, expected one of file',
  ],
  [
    'a banner file without an absolute path',
    'banner: { file: ssh.banner }',
    'F:3:21: decoys[0].banner.file: expected an absolute path such as /etc/honeyport/ssh.banner, got "ssh.banner"',
  ],
  [
    'a capture of nothing',
    'capture: 0',
    'F:3:14: decoys[0].capture: expected a number of bytes between 1 and 65536, got 0',
  ],
  [
    'a capture of too much',
    'capture: 65537',
    'F:3:14: decoys[0].capture: expected a number of bytes between 1 and 65536, got 65537',
  ],
  [
    'a capture that is no number',
    'capture: on',
    'F:3:14: decoys[0].capture: expected a number of bytes between 1 and 65536, or off, got "on"',
  ],
  [
    'a hold longer than timers wait',
    'hold: 8d',
    'F:3:11: decoys[0].hold: expected a duration of at most 7d, got "8d"',
  ],
  [
    'a hold that is a millisecond too long, of a tarpit as well',
    'hold: 604800001ms\ntarpit: true',
    'F:3:11: decoys[0].hold: expected a duration of at most 7d, got "604800001ms"',
  ],
  [
    'a hold without a unit',
    'hold: 10',
    'F:3:11: decoys[0].hold: expected a duration such as 500ms, 10s or 5m, or off, got 10',
  ],
  [
    'a hold of no time',
    'hold: 0s',
    'F:3:11: decoys[0].hold: expected a duration such as 500ms, 10s or 5m, got "0s"',
  ],
  [
    'a tarpit that is neither true nor false',
    'tarpit: on',
    'F:3:13: decoys[0].tarpit: expected true or false, or off, got "on"',
  ],
  [
    'a banner beside a tarpit',
    'banner: x\ntarpit: true\ncapture: 1\nhold: 1s',
    "F:3:5: decoys[0].banner: expected no key banner, as a tarpit's slow answer is its banner",
  ],
  [
    'whatever stands beside a response',
    'banner: x\nresponse: { command: [/r] }\ncapture: 1\nhold: 1s\ntarpit: true',
    `F:3:5: decoys[0].banner: expected no key banner, ${BY_ITSELF}`,
    `F:5:5: decoys[0].capture: expected no key capture, ${BY_ITSELF}`,
    `F:6:5: decoys[0].hold: expected no key hold, ${BY_ITSELF}`,
    `F:7:5: decoys[0].tarpit: expected no key tarpit, ${BY_ITSELF}`,
  ],
  ['a response without a command', 'response: {}', 'F:3:15: decoys[0].response: expected a key command'],
  [
    'a response that is a text',
    'response: /r',
    'F:3:15: decoys[0].response: expected a mapping with the keys command and timeout, or off, got "/r"',
  ],
  [
    'a command that is a text',
    'response: { command: /r -x }',
    'F:3:26: decoys[0].response.command: expected a list of 1 to 64 texts, a program and its arguments, got "/r -x"',
  ],
  [
    'a command without a program',
    'response: { command: [] }',
    'F:3:26: decoys[0].response.command: expected a list of 1 to 64 texts, a program and its arguments, got []',
  ],
  [
    'a program that would have to be searched for',
    'response: { command: [response.sh, x] }',
    'F:3:27: decoys[0].response.command[0]: expected an absolute path such as /etc/honeyport/response.sh, got "response.sh"',
  ],
  [
    'a directory as program',
    'response: { command: [/bin/] }',
    'F:3:27: decoys[0].response.command[0]: expected an absolute path such as /etc/honeyport/response.sh, got "/bin/"',
  ],
  [
    'words that no program can be handed',
    `response: { command: [/r, "a\\0", 5, ${'x'.repeat(4096)}] }`,
    'F:3:31: decoys[0].response.command[1]: expected a text of at most 4095 characters, none of them NUL, got "a\\u0000"',
    'F:3:38: decoys[0].response.command[2]: expected a text of at most 4095 characters, none of them NUL, got 5',
    `F:3:41: decoys[0].response.command[3]: expected a text of at most 4095 characters, none of them NUL, got "${'x'.repeat(56)}...`,
  ],
  [
    'a program with NUL, once',
    'response: { command: ["r\\0"] }',
    'F:3:27: decoys[0].response.command[0]: expected a text of at most 4095 characters, none of them NUL, got "r\\u0000"',
  ],
  [
    'a command of 65 words',
    `response: { command: [${'/r, '.repeat(65)}] }`,
    'F:3:26: decoys[0].response.command: expected a list of 1 to 64 texts, a program and its arguments, got 65',
  ],
  [
    'a timeout of more than an hour',
    'response: { command: [/r], timeout: 61m }',
    'F:3:41: decoys[0].response.timeout: expected a duration of at most 1h, got "61m"',
  ],
  [
    'a timeout that is off',
    'response: { command: [/r], timeout: off }',
    'F:3:41: decoys[0].response.timeout: expected a duration such as 500ms, 10s or 5m, got "off"',
  ],
];

for (const [title, keys, ...problems] of FAULTS) {
  test(`${title} is reported at its place`, () => assert.deepEqual(problemsOf(withKeys(keys)), problems));
}

test('each decoy has its own behaviour, and a fault names its decoy', () => {
  const text = 'decoys:\n  - { ports: 1, tarpit: true }\n  - { ports: 2, tarpit: true, banner: x }\n';
  assert.deepEqual(problemsOf(text), [
    "F:3:31: decoys[1].banner: expected no key banner, as a tarpit's slow answer is its banner",
  ]);
});

test('exactly the keys that make sense together are accepted, and what they make never lacks a bound', () => {
  const keys = fc.record(
    {
      banner: fc.constantFrom('x', 'off', { file: '/b' }),
      capture: fc.constantFrom(1, 512, 'off'),
      hold: fc.constantFrom('1ms', '7d', 'off'),
      response: fc.constantFrom({ command: ['/r'] }, { command: ['/r'], timeout: '1h' }, 'off'),
      tarpit: fc.constantFrom(true, false, 'off'),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(keys, (decoy) => {
      const on = Object.entries(decoy).flatMap(([key, value]) =>
        value === 'off' || value === false ? [] : [key],
      );
      const makesSense =
        !(on.includes('response') && on.length > 1) && !(on.includes('tarpit') && on.includes('banner'));
      const keys = Object.entries(decoy).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
      assert.equal(problemsOf(withKeys(keys.join('\n'))).length === 0, makesSense);
      if (!makesSense) return;
      const { behaviour } = decoyWith(keys.join('\n'));
      const kind = on.includes('response') ? 'response' : on.includes('tarpit') ? 'tarpit' : 'talk';
      assert.equal(behaviour?.kind, on.length === 0 ? undefined : kind);
      if (behaviour === undefined) return;
      const mostMs = behaviour.kind === 'response' ? behaviour.timeoutMs : behaviour.holdMs;
      assert.ok(mostMs >= 1 && mostMs <= 7 * DAY_MS, `it lasts ${mostMs} ms`);
      if (behaviour.kind === 'talk') assert.equal(behaviour.staysOpen, on.includes('hold'));
    }),
    { numRuns: 400 },
  );
});
