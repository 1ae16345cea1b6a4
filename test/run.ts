/**
 * What `npm test` runs: packages, lint, every test file. With --quick: lint and the files that need neither root nor
 * packages. Exits with the tests' own code, and node's summary is the last thing printed.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aptLine, installPackages, missingPackages, TEST_PACKAGES } from './support/packages.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Real programs in network namespaces; the rest runs anywhere. */
const NEEDS_ROOT = ['test/end-to-end/', 'test/fail2ban/'];

/** For a whole file; the first one to need Debian 13 makes it, from a mirror that may be slow. */
const FILE_TIMEOUT_MS = 15 * 60_000;

/** Any warning of Node fails the test that caused it; the programs under test run as their users run them. */
const WARNINGS_ARE_ERRORS = 'data:text/javascript,process.on("warning",(warning)=>{throw warning})';

process.chdir(ROOT);
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.filter((arg) => arg !== '--quick');
  if (unknown.length > 0) return complain(`expected --quick or nothing, got ${unknown.join(' ')}`, 2);
  const quick = args.includes('--quick');
  if (!quick && process.geteuid?.() !== 0) return complain(needsRoot(), 1);
  if (!quick) installMissing();
  const lint = await run('npm', ['run', '--silent', 'lint']);
  if (lint !== 0) return complain('lint found problems; no test was run', lint);
  const quickTests = await runTests(testFiles(false), 2);
  return quick || quickTests !== 0 ? quickTests : runTests(testFiles(true), 1);
}

function needsRoot(): string {
  return (
    'the tests need root, for network namespaces, and these packages:\n' +
    `  ${aptLine(TEST_PACKAGES)}\n` +
    'npm run quick needs neither'
  );
}

function complain(text: string, code: number): number {
  process.stderr.write(`honeyport tests: ${text}\n`);
  return code;
}

function installMissing(): void {
  const missing = missingPackages();
  if (missing.length === 0) return;
  process.stderr.write(`honeyport tests: ${aptLine(missing)}\n`);
  installPackages(missing);
}

/** An explicit list: node takes a directory only up to 20 and a pattern only from 21 on. */
function testFiles(needsRoot: boolean): string[] {
  const names = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const files = names
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => relative(ROOT, join(ROOT, 'test', name)));
  return files.filter((file) => NEEDS_ROOT.some((folder) => file.startsWith(folder)) === needsRoot).sort();
}

/** @param atATime real programs run one file after the other, as they load the machine; the rest has nothing in common */
function runTests(files: readonly string[], atATime: number): Promise<number> {
  // Without a file node would look for some by itself.
  if (files.length === 0) throw new Error('Expected test files in test/, got none');
  const preload = ['--import', 'tsx', '--import', WARNINGS_ARE_ERRORS];
  const how = [
    '--test',
    `--test-concurrency=${atATime}`,
    '--test-reporter=spec',
    `--test-timeout=${FILE_TIMEOUT_MS}`,
  ];
  return run(process.execPath, [...preload, ...how, ...files]);
}

/** Runs a program in the foreground; a signal to us is one to it, so that tests can clean up. */
async function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit' });
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once('close', resolve).once('error', reject),
  );
  for (const signal of signals) process.off(signal, pass);
  return code ?? 1;
}
