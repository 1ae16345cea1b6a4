import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { diagnose } from '../../src/doctor/doctor.ts';
import { wireOf } from '../../src/doctor/peer.ts';
import { formatJson, formatText } from '../../src/doctor/report.ts';
import { CHECK_NAMES } from '../../src/doctor/result.ts';
import { ConfigurationError } from '../../src/errors.ts';
import { addressKey, parseNetwork, prefixKey } from '../../src/network.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { configurationOf, hostOf } from './support.ts';

const cancel = new AbortController().signal;

test('a result is a line, what mends it another, and neither steers the terminal', () => {
  const results = [
    { check: 'log', result: 'ok', message: 'it is there' },
    { check: 'configuration', result: 'finding', message: 'got \x1b[2J\n', advice: 'mend\u202eit' },
  ] as const;
  assert.equal(
    formatText({ version: '1', sensor: 'web-1', results }),
    String.raw`ok       log            it is there
finding  configuration  got \x1b[2J\x0a
                        hint: mend\u{202e}it

findings: 1, notes: 0, ok: 1, skipped: 0
`,
  );
  assert.equal(
    formatJson({ version: '1', sensor: undefined, results }),
    `${JSON.stringify({ version: '1', sensor: null, checks: [results[0], { check: 'configuration', result: 'finding', message: String.raw`got \x1b[2J\x0a`, advice: String.raw`mend\u{202e}it` }] })}\n`,
  );
});

test('on a host where nothing is there, no check is left out and none fails', async (context) => {
  const host = hostOf(temporaryDirectory(context));
  const { results } = await diagnose({
    version: '1',
    load: () => configurationOf(),
    knocks: false,
    cancel,
    host,
  });
  assert.deepEqual(
    [...new Set(results.map(({ check }) => check))],
    CHECK_NAMES.filter((name) => name !== 'knock'),
  );
  assert.deepEqual(
    results.filter(({ message }) => /failed|undefined|\[object/.test(message)),
    [],
  );
});

test('a broken configuration is a finding, and what needs none is looked at all the same', async (context) => {
  const host = hostOf(temporaryDirectory(context));
  const load = () => {
    throw new ConfigurationError(['a.yaml:1:1: expected a mapping']);
  };
  const { sensor, results } = await diagnose({ version: '1', load, knocks: true, cancel, host });
  assert.equal(sensor, undefined);
  assert.deepEqual(results[0], {
    check: 'configuration',
    result: 'finding',
    message: 'a.yaml:1:1: expected a mapping',
    advice: 'correct it; the listener runs on with what it read before, but does not start again',
  });
  const told = Object.fromEntries(
    results.map(({ check, result, message }) => [check, `${result}: ${message}`]),
  );
  assert.equal(told.knock, 'skipped: the configuration does not load');
  assert.match(told.fail2ban!, /^finding: fail2ban is not installed/);
});

test('docs/doctor.md has a section for every check, and no other', () => {
  const text = readFileSync(new URL('../../docs/doctor.md', import.meta.url), 'utf8');
  const section = text.slice(text.indexOf('## What is checked'), text.indexOf('## A real knock'));
  const rows = [...section.matchAll(/^\| `([a-z0-9-]+)` +\|/gm)].map(([, name]) => name);
  assert.deepEqual(rows, [...CHECK_NAMES]);
});

test('every wire of a knock has its own networks, within those for tests', () => {
  const wires = [0, 1, 63, 64, 16_383, 16_384, 32_767].map(wireOf);
  const all = wires.flatMap(({ peer, sensor }) => [peer[4], sensor[4], peer[6], sensor[6]]);
  assert.equal(new Set(all).size, wires.length * 4);
  const tests = ['198.18.0.0/15', 'fd68:6f6e:6579::/48'].map(parseNetwork);
  for (const address of all) {
    const within = tests.some(
      (network) =>
        !('expected' in network) &&
        (network.family === 6) === address.includes(':') &&
        prefixKey(addressKey(address), network.length) === network.key,
    );
    assert.ok(within, address);
  }
});
