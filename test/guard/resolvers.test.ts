import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readResolvers } from '../../src/guard/resolvers.ts';
import { temporaryDirectory } from '../support/directory.ts';

function resolversOf(context: TestContext, ...texts: string[]): string[] {
  const directory = temporaryDirectory(context);
  const files = texts.map((_, index) => join(directory, `${index}.conf`));
  for (const [index, file] of files.entries()) writeFileSync(file, texts[index]!);
  return readResolvers(files);
}

test('name servers are those of every file, in canonical text', (context) => {
  assert.deepEqual(
    resolversOf(
      context,
      '# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.net\n',
      'nameserver 192.0.2.53\nnameserver 2001:DB8:0::53\n',
    ),
    ['127.0.0.53', '192.0.2.53', '2001:db8::53'],
  );
});

test('a zone, white space, Windows line ends and a missing line feed at the end are no trouble', (context) => {
  assert.deepEqual(
    resolversOf(
      context,
      '\tnameserver\t 192.0.2.1 \r\n nameserver fe80::1%eth0\nnameserver ::ffff:192.0.2.2',
    ),
    ['192.0.2.1', 'fe80::1', '192.0.2.2'],
  );
});

test('comments, other keys and what is no address name no server', (context) => {
  const text = `#nameserver 192.0.2.1
; nameserver 192.0.2.2
nameservers 192.0.2.3
nameserver192.0.2.4
options nameserver 192.0.2.5
nameserver
192.0.2.6
nameserver dns.example
nameserver 192.0.2.300
nameserver fe80
nameserver 192.0.2
`;
  assert.deepEqual(resolversOf(context, text, '', '\xff\0'), []);
});

test('files that are missing, and a FIFO that nobody writes to, name no server', (context) => {
  const directory = temporaryDirectory(context);
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const file = join(directory, 'resolv.conf');
  writeFileSync(file, 'nameserver 192.0.2.1\n');
  assert.deepEqual(readResolvers([join(directory, 'missing'), fifo, file]), ['192.0.2.1']);
});
