import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { sampleConfiguration } from '../../src/setup/generated-files.ts';
import { findPortOwner } from '../../src/system/port-owner.ts';

/** As long as the kernel keeps a name, with what would be a line of YAML. */
const HOSTILE_NAME = 'a\nguard: off #';

test('a port that nobody listens on has no owner, and one of ours has us', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  assert.equal(findPortOwner(port)?.pid, process.pid);
  server.close();
  await once(server, 'close');
  assert.equal(findPortOwner(port), undefined);
});

test('the name that a user gives to his process cannot break a line of the configuration that is written', async (context) => {
  const script = `process.title = ${JSON.stringify(HOSTILE_NAME)};
    require('node:net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port); });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  context.after(() => child.kill('SIGKILL'));
  const [text] = await once(child.stdout.setEncoding('utf8'), 'data');
  const name = findPortOwner(Number(text))?.name ?? '';
  assert.match(name, /^a\\[\x20-\x7e]*guard: off #$/);
  const sample = sampleConfiguration((port) => (port === 23 ? name : undefined));
  assert.equal(sample.match(/guard: off/g)?.length, 1);
  assert.match(sample, /^# Left out, since .*guard: off # listens on it: 23$/m);
});
