import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/directory.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TIMEOUT_MS = 5 * 60_000;

test('the packed package installs elsewhere, without install scripts, and runs', (context) => {
  const directory = temporaryDirectory(context);
  const npm = (cwd: string, ...args: string[]) =>
    execFileSync('npm', args, {
      cwd,
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const tarball = npm(ROOT, 'pack', '--silent', '--ignore-scripts', '--pack-destination', directory).trim();
  npm(
    directory,
    'install',
    '--prefix',
    directory,
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    `./${tarball}`,
  );
  const program = join(directory, 'node_modules/.bin/honeyport');
  const installed = join(directory, 'node_modules/honeyport');
  assert.match(execFileSync(program, ['--version'], { encoding: 'utf8' }), /^\d+\.\d+\.\d+\n$/);
  const sample = join(installed, 'docs/honeyport.yaml');
  assert.match(execFileSync(program, ['check', '-c', sample], { encoding: 'utf8' }), /decoys: 3/);
  execFileSync('test', ['-f', join(installed, 'fail2ban/filter.d/honeyport.conf')]);
});
