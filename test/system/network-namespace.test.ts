import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createNetworkNamespace } from '../../src/system/network-namespace.ts';
import { temporaryDirectory } from '../support/directory.ts';

/** Puts a program in the place of ip(8). */
function fakeIp(context: TestContext, script: string | undefined): void {
  const directory = temporaryDirectory(context);
  const { PATH } = process.env;
  process.env.PATH = directory;
  context.after(() => {
    process.env.PATH = PATH;
  });
  if (script === undefined) return;
  writeFileSync(join(directory, 'ip'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(directory, 'ip'), 0o755);
}

const create = () => createNetworkNamespace(`honeyport-test-${process.pid}`);

test('without ip(8) the error says what to install', async (context) => {
  fakeIp(context, undefined);
  await assert.rejects(create(), {
    name: 'UserError',
    message: 'ip of iproute2 is not installed, or it is not in PATH',
    hint: 'apt-get install iproute2',
  });
});

for (const [said, hint] of [
  ['mount --make-shared /run/netns failed: Operation not permitted', /root/],
  ['mkdir /run/netns failed: Permission denied', /root/],
  ['Error: Unknown device type.', /modprobe veth/],
  ['mkdir /run/netns failed: Read-only file system', /must be writable/],
] as const) {
  test(`"${said}" has a remedy`, async (context) => {
    fakeIp(context, `echo '${said}' >&2; exit 1`);
    await assert.rejects(create(), {
      name: 'UserError',
      message: `ip netns add honeyport-test-${process.pid}: ${said}`,
      hint,
    });
  });
}

test('a refusal without a word, and one of many words, is one short line', async (context) => {
  fakeIp(context, 'exit 1');
  await assert.rejects(create(), { message: /: no reason given$/ });
  fakeIp(
    context,
    'for i in 1 2 3 4 5 6 7 8 9; do echo "a line $i of many, of which nobody reads so much as half of it at night" >&2; done; exit 1',
  );
  await assert.rejects(
    create(),
    (error: Error) => error.message.length < 600 && !error.message.includes('\n'),
  );
});
