import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { requireProgram } from '../support/programs.ts';

const DIRECTORY = fileURLToPath(new URL('../../systemd', import.meta.url));
/** What `systemd-analyze security` calls OK ends at 4.4; 10 is a service without any bound. */
const MOST_EXPOSURE = 2.0;

const units = readdirSync(DIRECTORY).filter((name) => name.endsWith('.service'));

for (const unit of units) {
  test(`systemd takes every line of ${unit}, which leaves it few rights`, () => {
    const path = join(DIRECTORY, unit);
    const verified = analyze('verify', path);
    assert.deepEqual([verified.status, verified.output], [0, '']);
    const { output } = analyze('security', '--offline=true', '--no-pager', path);
    const exposure = /Overall exposure level for \S+: ([0-9.]+)/.exec(output)?.[1];
    assert.ok(Number(exposure) <= MOST_EXPOSURE, `${exposure}: ${output}`);
  });
}

test('there is a unit to look at', () => {
  assert.ok(units.includes('honeyport-dome9.service'), units.join(', '));
});

function analyze(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(requireProgram('systemd-analyze'), args, {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status, output: stdout + stderr };
}
