import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cachedTree, pathOfTree } from './cached-tree.ts';
import { requireProgram } from './programs.ts';

/** The Debian releases that a server may run. */
export type DebianRelease = 'debian12' | 'debian13';
export const DEBIAN_RELEASES: readonly DebianRelease[] = ['debian12', 'debian13'];

interface Contents {
  readonly title: string;
  readonly suite: string;
  readonly packages: readonly string[];
}

/** What a server has that bans; without D-Bus, cron and everything else that the tests do not need. */
const SERVER_PACKAGES = [
  'systemd-sysv',
  'fail2ban',
  'nftables',
  'python3-pyinotify',
  'python3-systemd',
  'rsyslog',
  'logrotate',
  'iproute2',
  'procps',
];

const CONTENTS: Readonly<Record<DebianRelease, Contents>> = {
  // its own nodejs is older than what honeyport needs
  debian12: { title: 'Debian 12', suite: 'bookworm', packages: SERVER_PACKAGES },
  debian13: { title: 'Debian 13', suite: 'trixie', packages: [...SERVER_PACKAGES, 'nodejs'] },
};

/** A tree that is lost with the power is made again: no package needs to wait for the disk. */
const DPKG_OPTIONS = 'force-unsafe-io\n';
const DPKG_OPTIONS_FILE = 'etc/dpkg/dpkg.cfg.d/honeyport-tests';

const BUILD_STEP_TIMEOUT_MS = 10 * 60_000;

/**
 * A directory with a release's system, made on the first call ever. It is shared: nothing may write to it. Needs root.
 *
 * @throws when debootstrap or apt-get fails; a half-made tree is removed
 */
export function debianRoot(release: DebianRelease): string {
  const { suite, packages } = CONTENTS[release];
  const contents = `${suite}: ${packages.join(' ')}`;
  return cachedTree({ name: release, contents, build: (root) => build(release, root) });
}

function build(release: DebianRelease, root: string): void {
  const { title, suite, packages } = CONTENTS[release];
  const mirror = debianMirror();
  progress(
    `making a ${title} system in ${pathOfTree(release)} from ${mirror}; this happens once and takes a minute`,
  );
  write(join(root, DPKG_OPTIONS_FILE), DPKG_OPTIONS);
  inOwnMounts([requireProgram('debootstrap'), '--variant=minbase', suite, root, mirror]);
  // Nothing runs in a chroot by itself, but maintainer scripts try to start their services.
  write(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', 0o755);
  progress(`installing ${packages.join(', ')} in it`);
  const install = `apt-get -q install --yes --no-install-recommends ${packages.join(' ')} && apt-get clean`;
  inOwnMounts([
    'sh',
    '-ec',
    'mount -t proc proc "$1/proc"; exec chroot "$1" sh -c "$2"',
    'sh',
    root,
    install,
  ]);
  progress(`the ${title} system is ready`);
}

function write(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode });
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
