import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What `npm test` needs of Debian, in the order in which it is named to the user. */
export const TEST_PACKAGES: readonly string[] = [
  'fail2ban',
  'nftables',
  'python3-pyinotify',
  'python3-systemd',
  'rsyslog',
  'rsyslog-elasticsearch',
  'rsyslog-gnutls',
  'systemd',
  'systemd-journal-remote',
  'nmap',
  'iproute2',
  'dnsmasq-base',
  'openssh-server',
  'openssl',
  'jq',
  'curl',
  'logrotate',
  'tcpdump',
  'debootstrap',
  'gcc',
  'libc6-dev',
  'procps',
  'util-linux',
];

/** Long enough for a slow mirror, short enough that a hung one is noticed. */
const APT_TIMEOUT_MS = 15 * 60_000;

const POLICY_FILE = '/usr/sbin/policy-rc.d';
const POLICY_MARK = '# Made by the honeyport tests, which remove it again';
/** invoke-rc.d(8) asks this file before it starts a service; 101 means "forbidden". */
const POLICY = `#!/bin/sh\n${POLICY_MARK}\nexit 101\n`;

const UNIT_LINKS_DIR = '/etc/systemd/system';

/** The one line that installs packages, as an administrator would type it. */
export function aptLine(packages: readonly string[]): string {
  return `apt-get install --no-install-recommends ${packages.join(' ')}`;
}

/** Those of `packages` that dpkg does not report as installed; all of them where there is no dpkg. */
export function missingPackages(packages: readonly string[] = TEST_PACKAGES): string[] {
  const list = spawnSync('dpkg-query', ['--list', ...packages], { encoding: 'utf8' });
  // A line begins with the wanted and the actual state ("ii", "hi"); a library's name ends in ":amd64".
  const installed = [...(list.stdout ?? '').matchAll(/^.i\s+([^\s:]+)/gm)].map(([, name]) => name!);
  return packages.filter((name) => !installed.includes(name));
}

/**
 * Installs Debian packages without starting any of the services in them, now or at the next boot.
 *
 * @throws when not root, or when apt-get fails
 */
export function installPackages(packages: readonly string[]): void {
  if (packages.length === 0) return;
  const before = new Set(enabledUnits());
  withoutStartingServices(() => {
    aptGet('update');
    aptGet('install', '--yes', '--no-install-recommends', ...packages);
  });
  disableUnits(enabledUnits().filter((unit) => !before.has(unit)));
}

function aptGet(...args: string[]): void {
  execFileSync('apt-get', ['-q', '-o', 'Dpkg::Use-Pty=0', ...args], {
    // Progress belongs to stderr: stdout is the test runner's.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: APT_TIMEOUT_MS,
  });
}

/** Runs `action` while a policy forbids maintainer scripts to start services; an administrator's own policy stays. */
function withoutStartingServices(action: () => void): void {
  const foreign = existsSync(POLICY_FILE) && !readFileSync(POLICY_FILE, 'utf8').includes(POLICY_MARK);
  if (foreign) {
    action();
    return;
  }
  const remove = () => rmSync(POLICY_FILE, { force: true });
  // apt-get runs synchronously, so a signal is handled after it; a default handler would end us before `finally`.
  const removeAndExit = () => {
    remove();
    process.exit(1);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.once(signal, removeAndExit);
  process.once('exit', remove);
  try {
    writeFileSync(POLICY_FILE, POLICY, { mode: 0o755 });
    action();
  } finally {
    remove();
    process.off('exit', remove);
    for (const signal of signals) process.off(signal, removeAndExit);
  }
}

/**
 * Units that start at boot or on demand: the links in `*.wants` and `*.requires`. Targets and instances, such as
 * remote-fs.target and getty@tty1.service, are systemd's own.
 */
function enabledUnits(): string[] {
  if (!existsSync(UNIT_LINKS_DIR)) return [];
  const folders = readdirSync(UNIT_LINKS_DIR).filter((name) => /\.(wants|requires)$/.test(name));
  const units = folders.flatMap((folder) => readdirSync(join(UNIT_LINKS_DIR, folder)));
  return units.filter((unit) => /^[^@]+\.(service|socket|timer|path)$/.test(unit));
}

/** Nobody's own fail2ban or rsyslog comes alive at the next boot because they ran the tests. */
function disableUnits(units: readonly string[]): void {
  if (units.length === 0) return;
  execFileSync('systemctl', ['disable', ...new Set(units)], { stdio: ['ignore', 2, 2], timeout: 60_000 });
}
