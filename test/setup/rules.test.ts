import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { planInstall } from '../../src/setup/plan-install.ts';
import { install, makeRoot, uninstall, writeBelow } from './support.ts';

const UNITS = ['honeyport-rules.service', 'honeyport-rules.timer'].map(
  (name) => `usr/local/lib/systemd/system/${name}`,
);

test('the units for rules are installed and removed with the others, and what they remember goes with them', async (context) => {
  const root = makeRoot(context, { 'etc/honeyport/honeyport.yaml': 'decoys: [{ ports: unused }]\n' });
  await install(root);
  for (const unit of UNITS) assert.ok(existsSync(join(root, unit)), unit);
  writeBelow(root, 'var/lib/honeyport/rules/ports.json', '{"version":1,"ports":{}}');
  await uninstall(root);
  for (const path of [...UNITS, 'var/lib/honeyport']) assert.ok(!existsSync(join(root, path)), path);
});

for (const [ports, units] of [
  ['unused', 'honeyport.service honeyport-rules.timer'],
  ['23', 'honeyport.service'],
] as const) {
  test(`what is to be enabled in an image with ports: ${ports} is said`, async (context) => {
    const root = makeRoot(context, { 'etc/honeyport/honeyport.yaml': `decoys: [{ ports: ${ports} }]\n` });
    const { notes } = await planInstall({ root, version: '1', observe: false, sockets: false, senders: [] });
    assert.ok(
      notes.some((note) => note.endsWith(` enable ${units}`)),
      notes.join('\n'),
    );
  });
}
