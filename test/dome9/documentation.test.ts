import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DEFAULT_DOME9_FILE, parseDome9Configuration } from '../../src/configuration/dome9.ts';
import { DOME9_DEFAULTS, DOME9_SCHEMA } from '../../src/configuration/schema-dome9.ts';
import { createWantedReader } from '../../src/dome9/wanted.ts';
import { temporaryDirectory } from '../support/directory.ts';

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const PAGE = read('docs/dome9.md');
const SAMPLE = read('docs/dome9.yaml');
const ACTION = read('fail2ban/action.d/honeyport-dome9.py');
const UNIT = read('systemd/honeyport-dome9.service');

test('docs/dome9.md has a row for every key, in the order of the schema, with its default', () => {
  const rows = [...PAGE.matchAll(/^\| `([a-z0-9_.]+)` +\| (.*?) +\| (.*?) +\|/gm)];
  const keys = Object.entries(DOME9_SCHEMA.properties!).flatMap(([name, { properties = {} }]) => [
    name,
    ...Object.keys(properties).map((inner) => `${name}.${inner}`),
  ]);
  assert.deepEqual(
    rows.map(([, key]) => key),
    keys,
  );
  for (const [, key, , shown] of rows) {
    const fallback = DOME9_SCHEMA.properties![key!]?.default;
    if (fallback !== undefined) assert.equal(shown, `\`${fallback}\``, key);
  }
});

test('the sample is a configuration, of the defaults where it does not say otherwise', () => {
  const configuration = parseDome9Configuration(Buffer.from(SAMPLE), 'docs/dome9.yaml', {});
  const { api, url, state, maxItems } = configuration;
  assert.deepEqual({ api, url, state, maxItems }, DOME9_DEFAULTS);
  for (const key of Object.keys(DOME9_SCHEMA.properties!))
    assert.match(SAMPLE, new RegExp(`^(?:# )?${key}:`, 'm'), key);
});

test('the record that docs/dome9.md shows is one that the service reads', (context) => {
  const state = temporaryDirectory(context);
  const shown = /^ {4}\{"version":1,[\s\S]*?^ {4}\]\}$/m.exec(PAGE)![0].replaceAll(/^ {4}/gm, '');
  mkdirSync(join(state, 'wanted'));
  writeFileSync(join(state, 'wanted/honeyport.json'), shown);
  const [want] = createWantedReader(state).read().wants.values();
  assert.deepEqual([want?.ip, want?.decoyPort, want?.eventId], ['192.0.2.7', 23, '7f3k9q2x.42']);
});

test('the action, the service, the unit and the documents name the same state and the same file', () => {
  const { state } = DOME9_DEFAULTS;
  assert.match(ACTION, new RegExp(`state\\s*=\\s*"${state}"`));
  assert.ok(UNIT.includes(`StateDirectory=${state.replace('/var/lib/', '')}\n`), 'the unit');
  for (const line of [
    `AssertPathExists=${DEFAULT_DOME9_FILE}`,
    `LoadCredential=dome9.yaml:${DEFAULT_DOME9_FILE}`,
    // what systemd hands out has a mode of its own
    `ExecStart=/usr/bin/env honeyport dome9 --config \${CREDENTIALS_DIRECTORY}/dome9.yaml --copy-of ${DEFAULT_DOME9_FILE}`,
  ])
    assert.ok(UNIT.split('\n').includes(line), line);
  assert.ok(PAGE.includes(`${state}/wanted/JAIL.json`), 'the page');
});
