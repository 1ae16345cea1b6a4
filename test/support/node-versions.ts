import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/honeyport', import.meta.url));
const INSTALL_TIMEOUT_MS = 5 * 60_000;

/** The oldest that is supported, and one that is newer than this machine's. */
export const NODE_VERSIONS = { oldest: '20.19.0', newer: '24.21.0' } as const;

/** The binary of a Node version, from the npm package that carries it; fetched once. */
export function nodeBinary(version: string): string {
  const name = `node-linux-${process.arch}`;
  const prefix = join(CACHE, `node-${version}`);
  const binary = join(prefix, 'node_modules', name, 'bin', 'node');
  if (!existsSync(binary)) {
    process.stderr.write(`honeyport tests: npm install ${name}@${version}\n`);
    const options = ['--prefix', prefix, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
    execFileSync('npm', ['install', ...options, `${name}@${version}`], {
      stdio: ['ignore', 2, 2],
      timeout: INSTALL_TIMEOUT_MS,
    });
  }
  return binary;
}
