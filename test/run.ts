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

/** Of those, the files that run one after the other, with nothing beside them. */
const ALONE: readonly string[] = [
  // compares how long bursts take with two actions, and how far one has come when another ban is there
  'test/end-to-end/fail2ban-burst.test.ts',
  // compares how long bursts take with and without the action
  'test/end-to-end/fail2ban-dome9-burst.test.ts',
];

/** On two cores or more; with more at a time, what waits for a moment would miss it now and then. */
const AT_A_TIME = { quick: 2, alone: 1, together: 2 } as const;

const FILE_TIMEOUT_MS = 15 * 60_000;

/** As a shell says it of Ctrl-C. */
const INTERRUPTED = 130;

/** So that files side by side cannot want the same port. */
const OWN_NETWORK = './test/support/own-network.ts';

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
  const quickFiles = runTests(testFiles(false), AT_A_TIME.quick);
  if (quick) return quickFiles;
  // what it waits for is mirrors; the quick tests need nothing of it
  const [quickTests, prepared] = await Promise.all([quickFiles, runScript('test/prepare.ts')]);
  if (prepared !== 0) return complain('what the tests share could not be made; no test of root was run', 1);
  return quickTests === 0 ? runRootTests(testFiles(true)) : quickTests;
}

/** Runs all of them, also when some have failed. */
async function runRootTests(files: readonly string[]): Promise<number> {
  const unknown = ALONE.filter((file) => !files.includes(file));
  if (unknown.length > 0) throw new Error(`Expected the files that run alone to exist, got ${unknown}`);
  const alone = await runTests(ALONE, AT_A_TIME.alone);
  if (alone === INTERRUPTED) return alone;
  const others = files.filter((file) => !ALONE.includes(file));
  const together = await runTests(others, AT_A_TIME.together, ['--import', OWN_NETWORK]);
  if (alone === 0 || together !== 0) return together;
  return complain('tests of files that run alone have failed, see above', alone);
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

/** @param preload arguments of Node, for each file's process */
function runTests(
  files: readonly string[],
  atATime: number,
  preload: readonly string[] = [],
): Promise<number> {
  // Without a file node would look for some by itself.
  if (files.length === 0) throw new Error('Expected test files in test/, got none');
  const how = [
    '--test',
    `--test-concurrency=${atATime}`,
    '--test-reporter=spec',
    `--test-timeout=${FILE_TIMEOUT_MS}`,
  ];
  return runScript(...preload, ...how, ...files);
}

function runScript(...args: string[]): Promise<number> {
  return run(process.execPath, ['--import', 'tsx', '--import', WARNINGS_ARE_ERRORS, ...args]);
}

/** Runs a program in the foreground; a signal to us is one to it, so that tests can clean up. */
async function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit' });
  let interrupted = false;
  const pass = (signal: NodeJS.Signals) => {
    interrupted = true;
    child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once('close', resolve).once('error', reject),
  );
  for (const signal of signals) process.off(signal, pass);
  return interrupted ? INTERRUPTED : (code ?? 1);
}
