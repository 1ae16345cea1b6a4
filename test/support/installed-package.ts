import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Container } from './container.ts';
import { exitOnSignals } from './namespaces.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NPM_TIMEOUT_MS = 5 * 60_000;

let prefix: string | undefined;

/** Installs honeyport in a container as `npm install --global` of the packed package does. */
export function installPackage(container: Container): void {
  prefix ??= installedPrefix();
  container.copyInto(prefix, '/usr/local');
}

/** What npm puts below /usr/local, in a directory that goes when the process does. */
function installedPrefix(): string {
  const directory = mkdtempSync(join(tmpdir(), 'honeyport-test-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  exitOnSignals();
  const tarball = npm(ROOT, 'pack', '--silent', '--ignore-scripts', '--pack-destination', directory).trim();
  const made = join(directory, 'prefix');
  const quiet = ['--ignore-scripts', '--omit=dev', '--no-audit', '--no-fund'];
  npm(directory, 'install', '--global', '--prefix', made, ...quiet, `./${tarball}`);
  return made;
}

function npm(cwd: string, ...args: string[]): string {
  return execFileSync('npm', args, {
    cwd,
    encoding: 'utf8',
    timeout: NPM_TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
