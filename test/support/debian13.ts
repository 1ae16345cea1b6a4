import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { debianRoot } from './debian-root.ts';
import { requireProgram } from './programs.ts';

/**
 * The second half of the test matrix: fail2ban 1.1.0, Python 3.13, Node 20.19.2. The directory is shared: nothing may
 * write to it; `runInDebian13` sees to that. Needs root.
 *
 * @throws as `debianRoot`
 */
export function debian13Root(): string {
  return debianRoot('debian13');
}

/** How a program runs in the Debian 13 system. */
export interface InDebian13Options {
  /** Directories of this machine, each visible at the same path or, as `here:there`, another; only below /tmp and /run. */
  readonly binds?: readonly string[];
  /** A named network namespace (ip-netns(8)) to run in. */
  readonly namespace?: string;
  readonly timeoutMs?: number;
}

/**
 * The script between `unshare` and the program: mounts in a mount namespace of its own, so that nothing remains
 * mounted. The tree itself is read-only; /tmp and /run are fresh, with the wanted directories bound into them.
 * Every step execs, so that the process started is, in the end, the program itself and a signal reaches it.
 */
const ENTER = `
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
while [ "$1" != -- ]; do
  mkdir -p "$root\${1##*:}"
  mount --bind "\${1%%:*}" "$root\${1##*:}"
  shift
done
shift
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 "$@"`;

/** The command line that runs `argv` in the Debian 13 system; for callers that start processes themselves. */
export function debian13Argv(argv: readonly string[], options: InDebian13Options = {}): string[] {
  const { binds = [], namespace } = options;
  const network = namespace === undefined ? [] : [requireProgram('ip'), 'netns', 'exec', namespace];
  const mounts = [requireProgram('unshare'), '--mount', '--propagation', 'private', 'sh', '-ec', ENTER, 'sh'];
  return [...network, ...mounts, debian13Root(), ...binds, '--', ...argv];
}

/**
 * Runs a program of the Debian 13 system to its end.
 *
 * @returns its exit code and output; a program ended by a signal or the timeout has code -1
 */
export function runInDebian13(
  argv: readonly string[],
  options: InDebian13Options = {},
): { code: number; stdout: string; stderr: string } {
  const [command, ...args] = debian13Argv(argv, options);
  const { status, stdout, stderr, error } = spawnSync(command!, args, {
    encoding: 'utf8',
    timeout: options.timeoutMs ?? 60_000,
    killSignal: 'SIGKILL',
    maxBuffer: 64 * 1024 * 1024,
  });
  return { code: status ?? -1, stdout, stderr: error === undefined ? stderr : `${stderr}${error.message}\n` };
}

/** Starts a program of the Debian 13 system; the child's pid is the program's. */
export function spawnInDebian13(
  argv: readonly string[],
  options: InDebian13Options & { readonly stdio?: SpawnOptions['stdio'] } = {},
): ChildProcess {
  const [command, ...args] = debian13Argv(argv, options);
  return spawn(command!, args, { stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'] });
}
