import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfiguration } from '../../src/configuration/load.ts';
import { brokenConfiguration, checkConfiguration } from '../../src/doctor/check-configuration.ts';
import { ConfigurationError } from '../../src/errors.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { configurationOf, NOW, told } from './support.ts';

const SUBJECT = { user: undefined, now: NOW };

test('a configuration that loads is counted', () => {
  assert.deepEqual(told(checkConfiguration({ configuration: configurationOf(), ...SUBJECT })), [
    'ok: /etc/honeyport/honeyport.yaml is valid: decoys: 1, ports: 2, allow entries: 0',
  ]);
});

test('each problem of a broken configuration is a finding, up to twenty', () => {
  const problems = Array.from({ length: 30 }, (_, n) => `a.yaml:${n}:1: expected a port`);
  const results = told(brokenConfiguration(new ConfigurationError(problems)));
  assert.equal(results.length, 21);
  assert.match(results[0]!, /^finding: a\.yaml:0:1: expected a port \| correct it; /);
  assert.match(results[20]!, /^finding: 10 more problems \| see honeyport check$/);
});

test('an entry that has ended, and a program that cannot be started, are named', () => {
  const configuration =
    configurationOf(`decoys: [{ name: a, ports: 23, response: { command: [/nowhere/answer.sh] } }]
allow: [{ source: 192.0.2.7, until: 2026-01-31 }]`);
  const results = told(checkConfiguration({ configuration, ...SUBJECT }));
  assert.match(
    results[1]!,
    /^note: \S+: allow entry 192\.0\.2\.7 ended with 2026-01-31 and allows nobody \| /,
  );
  assert.equal(
    results[2],
    'finding: decoy a cannot answer with /nowhere/answer.sh: there is no such file | make it a program: chmod 0755 /nowhere/answer.sh',
  );
});

test('TLS files that are not there are a finding', () => {
  const configuration = configurationOf(`decoys: [{ ports: 23 }]
log: { syslog: [{ address: "tls://siem.example:6514", tls: { ca: /nowhere/ca.pem } }] }`);
  const results = told(checkConfiguration({ configuration, ...SUBJECT }));
  assert.match(results[1]!, /^finding: tls:\/\/siem\.example:6514: .*\/nowhere\/ca\.pem/);
});

test('a file that the listener cannot read, though root can, is a finding that names what keeps it out', (context) => {
  const dir = temporaryDirectory(context);
  const file = join(dir, 'honeyport.yaml');
  writeFileSync(file, 'decoys: [{ ports: 23 }]\n');
  const configuration = loadConfiguration(file);
  const user = { uid: 990, gids: [990] };
  const results = () => told(checkConfiguration({ configuration, now: NOW, user })).slice(1);
  chmodSync(dir, 0o755);
  chmodSync(file, 0o644);
  assert.deepEqual(results(), []);
  chmodSync(file, 0o640);
  assert.match(
    results()[0]!,
    /cannot be read by the listener's user \(uid 990\): \S+honeyport\.yaml keeps it out \| chgrp honeyport /,
  );
  chmodSync(file, 0o644);
  chmodSync(dir, 0o700);
  assert.ok(results()[0]!.endsWith(`: ${dir} keeps it out | chmod o+x ${dir}`), results()[0]);
});
