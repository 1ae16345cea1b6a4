import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cachedTree, pathOfTree } from './cached-tree.ts';
import { requireProgram } from './programs.ts';

/** The second half of the test matrix: fail2ban 1.1.0, Python 3.13, Node 20.19.2. */
const SUITE = 'trixie';
const PACKAGES = ['fail2ban', 'nftables', 'python3-pyinotify', 'python3-systemd', 'nodejs', 'iproute2'];

const BUILD_STEP_TIMEOUT_MS = 10 * 60_000;

/**
 * A directory with a Debian 13 system, made on the first call ever. It is shared: nothing may write to it;
 * `runInDebian13` sees to that. Needs root.
 *
 * @throws when debootstrap or apt-get fails; a half-made tree is removed
 */
export function debian13Root(): string {
  return cachedTree({ name: 'debian13', contents: `${SUITE}: ${PACKAGES.join(' ')}`, build });
}

function build(root: string): void {
  const mirror = debianMirror();
  progress(
    `making a Debian 13 system in ${pathOfTree('debian13')} from ${mirror}; this happens once and takes a minute or two`,
  );
  inOwnMounts([requireProgram('debootstrap'), '--variant=minbase', SUITE, root, mirror]);
  // Nothing runs in a chroot by itself, but maintainer scripts try to start their services.
  writeFileSync(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  progress(`installing ${PACKAGES.join(', ')} in it`);
  const install = `apt-get -q install --yes --no-install-recommends ${PACKAGES.join(' ')} && apt-get clean`;
  inOwnMounts([
    'sh',
    '-ec',
    'mount -t proc proc "$1/proc"; exec chroot "$1" sh -c "$2"',
    'sh',
    root,
    install,
  ]);
  progress('the Debian 13 system is ready');
}

/**
 * Runs `argv` with mounts and processes of its own, which vanish with it, however it ends; and it ends with us, even
 * if we are killed.
 */
function inOwnMounts(argv: readonly string[]): void {
  const isolated = ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child'];
  execFileSync(requireProgram('setpriv'), ['--pdeathsig', 'KILL', ...isolated, ...argv], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' },
    timeout: BUILD_STEP_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
}

function progress(text: string): void {
  process.stderr.write(`honeyport tests: ${text}\n`);
}

/** The mirror that this machine itself uses for its release, so that a local or cached mirror is honoured. */
function debianMirror(): string {
  const codename = /^VERSION_CODENAME=(\S+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  const sources = aptSources();
  const own = sources.find(({ suite, components }) => suite === codename && components.includes('main'));
  if (own !== undefined) return own.uri;
  throw new Error(
    `Expected a Debian mirror for ${codename} in /etc/apt, got ${sources.length} other sources`,
  );
}

/** One archive that apt reads. */
interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
}

function aptSources(): AptSource[] {
  const directory = '/etc/apt/sources.list.d';
  const names = existsSync(directory) ? readdirSync(directory) : [];
  const files = ['/etc/apt/sources.list', ...names.map((name) => join(directory, name))].filter(existsSync);
  return files.flatMap((file) => {
    const text = readFileSync(file, 'utf8').replace(/^\s*#.*\n?/gm, '');
    return file.endsWith('.sources') ? readStanzas(text) : readLines(text);
  });
}

/** The one-line format of sources.list(5): `deb [options] uri suite component...`. */
function readLines(text: string): AptSource[] {
  const entry = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)[^\S\n]+(.+)$/gm;
  return [...text.matchAll(entry)].map(([, uri, suite, components]) => ({
    uri: uri!,
    suite: suite!,
    components: components!.split(/\s+/),
  }));
}

/** The deb822 format of sources.list(5): stanzas of `Key: value` lines. */
function readStanzas(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const words = (key: string) =>
      new RegExp(`^${key}:(.*)$`, 'mi').exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
    if (!words('Types').includes('deb') || words('Enabled')[0] === 'no') return [];
    const components = words('Components');
    return words('URIs').flatMap((uri) => words('Suites').map((suite) => ({ uri, suite, components })));
  });
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
