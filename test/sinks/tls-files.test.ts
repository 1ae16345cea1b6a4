import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '../../src/errors.ts';
import { openTlsContext } from '../../src/sinks/tls-files.ts';
import { temporaryDirectory } from '../support/directory.ts';

function refusalOf(files: Parameters<typeof openTlsContext>[0]): string {
  try {
    openTlsContext(files);
  } catch (error) {
    assert.ok(error instanceof UserError, `${error}`);
    return error.message;
  }
  return assert.fail('the files were taken');
}

test('without files the authorities of the host do', () => {
  assert.equal(typeof openTlsContext({}).current(), 'object');
});

test('what is no file of certificates is refused, and nothing waits for it', (context) => {
  const directory = temporaryDirectory(context);
  const path = (name: string) => join(directory, name);
  execFileSync('mkfifo', [path('fifo')]);
  writeFileSync(path('empty'), '');
  writeFileSync(path('torn'), '-----BEGIN CERTIFICATE-----\nAAAA\n');
  writeFileSync(path('long'), '');
  truncateSync(path('long'), 5 << 20);
  assert.equal(refusalOf({ ca: path('fifo') }), `cannot read ${path('fifo')}: it is not a regular file`);
  assert.equal(refusalOf({ ca: directory }), `cannot read ${directory}: it is not a regular file`);
  assert.match(refusalOf({ ca: path('missing') }), /^cannot read .*missing: ENOENT/);
  assert.match(
    refusalOf({ ca: path('empty') }),
    /^cannot use .*empty for TLS: expected a PEM file with a certificate$/,
  );
  assert.match(refusalOf({ ca: path('long') }), /^cannot read .*long: it has 5242880 bytes$/);
  assert.match(refusalOf({ ca: path('torn') }), /^cannot use .*torn for TLS: /);
});
