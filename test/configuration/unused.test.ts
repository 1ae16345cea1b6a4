import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { isDecoyPort, portCount } from '../../src/configuration/decoy-ports.ts';
import { handOverPort } from '../../src/configuration/hand-over-port.ts';
import { CONFIGURATION_SCHEMA } from '../../src/configuration/schema.ts';
import { configurationOf, problemsOf } from './support.ts';

const range = (first: number, last = first) => ({ first, last });
const DEFAULT = { ports: [range(80), range(113), range(443)], ephemeral: true };

const EXCEPTIONS: readonly (readonly [title: string, keys: string, unused: object])[] = [
  ['nothing is written', '', DEFAULT],
  ['it is off', ', except: off', DEFAULT],
  ['it is empty', ', except: []', { ports: [], ephemeral: false }],
  ['it is one port', ', except: 22', { ports: [range(22)], ephemeral: false }],
  ['it is one range', ', except: 1-5', { ports: [range(1, 5)], ephemeral: false }],
  ['it is one word', ', except: ephemeral', { ports: [], ephemeral: true }],
  [
    'its items overlap, touch, repeat and stand in any order',
    ', except: [ephemeral, 9-20, 8, 15-30, 443, 80, 80, ephemeral, 10-11]',
    { ports: [range(8, 30), range(80), range(443)], ephemeral: true },
  ],
];

for (const [title, keys, unused] of EXCEPTIONS) {
  test(`ports: unused knows what it leaves alone where ${title}`, () => {
    const [decoy] = configurationOf(`decoys: [{ ports: unused${keys} }]`).decoys;
    assert.deepEqual(
      [decoy?.name, decoy?.ports, decoy?.address, decoy?.unused],
      ['unused', [], undefined, unused],
    );
  });
}

test('ports: unused has a name and a behaviour like any decoy, and others have no exceptions', () => {
  const { decoys } = configurationOf(
    'decoys: [{ ports: 22, except: off }, { name: dark, ports: unused, capture: 9, proxy_protocol: off }]',
  );
  assert.deepEqual(
    decoys.map(({ name, unused, behaviour }) => [name, unused, behaviour?.kind]),
    [
      ['port-22', undefined, undefined],
      ['dark', DEFAULT, 'talk'],
    ],
  );
});

const PROBLEMS: readonly (readonly [title: string, text: string, ...problems: string[]])[] = [
  [
    'a second one',
    'decoys:\n  - ports: 22\n  - ports: unused\n  - name: more\n    ports: unused\n  - ports: unused\n',
    'F:5:12: decoys[2].ports: expected unused in one decoy, got it again (line 3 has it)',
    'F:6:12: decoys[3].ports: expected unused in one decoy, got it again (line 3 has it)',
  ],
  [
    'the word in a list',
    'decoys: [{ ports: [22, unused] }]',
    'F:1:24: decoys[0].ports[1]: expected ports: unused in a decoy of its own, without a list, got "unused"',
  ],
  [
    'a word that is none',
    'decoys: [{ ports: unsued }]',
    'F:1:19: decoys[0].ports: expected a port between 1 and 65535, a range such as 5900-5910, or unused, got "unsued"',
  ],
  [
    'except without it',
    'decoys: [{ ports: 22, except: [80] }, { ports: [unused], except: 80 }]',
    'F:1:23: decoys[0].except: expected no key except without ports: unused',
    'F:1:49: decoys[1].ports[0]: expected ports: unused in a decoy of its own, without a list, got "unused"',
    'F:1:58: decoys[1].except: expected no key except without ports: unused',
  ],
  [
    'an address or proxies beside it',
    'decoys: [{ ports: unused, address: 0.0.0.0, proxy_protocol: [10.0.0.0/8] }]',
    'F:1:27: decoys[0].address: expected no key address, as ports: unused is on all addresses',
    'F:1:45: decoys[0].proxy_protocol: expected no key proxy_protocol, as no proxy connects to a port that nobody uses',
  ],
  [
    'bad exceptions',
    'decoys: [{ ports: unused, except: [0, 70000, x, 5-1, 1-70000, 1.5, off] }]',
    'F:1:36: decoys[0].except[0]: expected a port between 1 and 65535, got 0',
    'F:1:39: decoys[0].except[1]: expected a port between 1 and 65535, got 70000',
    'F:1:46: decoys[0].except[2]: expected a port between 1 and 65535, a range such as 5900-5910, or ephemeral, got "x"',
    'F:1:49: decoys[0].except[3]: expected a range that rises, got 5-1',
    'F:1:54: decoys[0].except[4]: expected a range between 1 and 65535, got 1-70000',
    'F:1:63: decoys[0].except[5]: expected a port between 1 and 65535, a range such as 5900-5910, or ephemeral, got 1.5',
    'F:1:68: decoys[0].except[6]: expected a port between 1 and 65535, a range such as 5900-5910, or ephemeral, got "off"',
  ],
  [
    'one bad exception',
    'decoys: [{ ports: unused, except: 9-1 }]',
    'F:1:35: decoys[0].except: expected a range that rises, got 9-1',
  ],
  [
    'something else than exceptions',
    'decoys: [{ ports: unused, except: { port: 1 } }]',
    'F:1:35: decoys[0].except: expected a port, a range such as 5900-5910, ephemeral, or a list of them, or off, got {"port":1}',
  ],
  [
    'exceptions that leave no port',
    'decoys: [{ ports: unused, except: [1-30000, 30001-65535] }]',
    'F:1:35: decoys[0].except: expected one port at least that is neither excepted nor in another decoy, got none',
  ],
  [
    'decoys that leave no port',
    'decoys: [{ ports: unused }, { ports: [1-79, 81-65535] }]',
    'F:1:19: decoys[0].ports: expected one port at least that is neither excepted nor in another decoy, got none',
  ],
  [
    'its name on another decoy',
    'decoys: [{ ports: unused }, { name: unused, ports: 22 }]',
    'F:1:10: decoys[0]: expected a key name, as unused is that of the decoy on line 1',
  ],
];

for (const [title, text, ...problems] of PROBLEMS) {
  test(`of ports: unused, ${title} is reported at its place`, () =>
    assert.deepEqual(problemsOf(text), problems));
}

test('the printed schema, which editors read, refuses the word in a list', () => {
  const validate = new Ajv2020({ strict: false }).compile(CONFIGURATION_SCHEMA);
  assert.equal(validate({ decoys: [{ ports: 'unused' }] }), true);
  assert.equal(validate({ decoys: [{ ports: ['unused'] }] }), false);
});

const HAND_OVER: readonly (readonly [decoys: string, port: number | undefined])[] = [
  ['{ ports: 22 }', undefined],
  ['{ ports: unused }', 65_535],
  ['{ ports: unused, except: [ephemeral, 65000-65534] }', 65_535],
  ['{ ports: unused, except: 65535 }', 65_534],
  ['{ ports: unused, except: [65000-65535] }, { ports: [64990-64999] }', 64_989],
  ['{ ports: 65535 }, { ports: unused, except: [65533] }, { ports: 65534, address: 192.0.2.1 }', 65_532],
  ['{ ports: unused, except: 2-65535 }', 1],
];

for (const [decoys, port] of HAND_OVER) {
  test(`of ${decoys} the hand-over port is ${port}`, () => {
    assert.equal(handOverPort(configurationOf(`decoys: [${decoys}]`)), port);
  });
}

test('ports are counted as far as the configuration tells', () => {
  const counts = [
    ['{ ports: [22, 80-89] }', 11],
    ['{ ports: unused, except: [] }', 65_535],
    ['{ ports: unused }', 65_532],
    ['{ ports: unused, except: [1-10, 5-20] }, { ports: [10, 30, 31] }', 65_535 - 20 + 1],
    [
      '{ ports: unused, except: ephemeral }, { ports: 9, address: 192.0.2.1 }, { name: two, ports: 9, address: 192.0.2.2 }',
      65_536,
    ],
  ] as const;
  for (const [decoys, count] of counts)
    assert.equal(portCount(configurationOf(`decoys: [${decoys}]`)), count, decoys);
});

test('a port is a decoy or may be one, unless it is excepted by its number', () => {
  const configuration = configurationOf('decoys: [{ ports: 443 }, { ports: unused }]');
  for (const port of [1, 22, 443, 40_000, 65_535])
    assert.equal(isDecoyPort(configuration, port), true, `${port}`);
  for (const port of [80, 113]) assert.equal(isDecoyPort(configuration, port), false, `${port}`);
  assert.equal(isDecoyPort(configurationOf('decoys: [{ ports: 443 }]'), 22), false);
});
