/**
 * Loaded before a test file that runs beside others (`--import`): gives its process a network of its own, with
 * loopback and no way out, so that no two files can want the same port. What the process starts is in there as well.
 */
import { execFileSync } from 'node:child_process';
import koffi from 'koffi';
import { requireProgram } from './programs.ts';

/** Files that need a way out, since npm fetches there what the package depends on. */
const IN_THE_MACHINES: readonly string[] = [
  'test/end-to-end/container.test.ts',
  'test/end-to-end/installed-host.test.ts',
  'test/end-to-end/installed-unused.test.ts',
  'test/end-to-end/package.test.ts',
];

/** Of linux/sched.h. */
const CLONE_NEWNET = 0x4000_0000;

// the runner itself, which loads this too, has no need of it
if (process.env.NODE_TEST_CONTEXT !== undefined && !IN_THE_MACHINES.some(isOurs)) leaveNetwork();

function isOurs(file: string): boolean {
  return process.argv[1]?.endsWith(`/${file}`) ?? false;
}

/** Of the main thread, which alone has sockets and starts programs. */
function leaveNetwork(): void {
  const unshare = koffi.load(null).func('int unshare(int flags)');
  if (unshare(CLONE_NEWNET) !== 0) {
    throw new Error(`Expected a network namespace for the test file, got errno ${koffi.errno()}`);
  }
  execFileSync(requireProgram('ip'), ['link', 'set', 'lo', 'up']);
}
