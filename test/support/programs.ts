import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { aptLine } from './packages.ts';

/** Debian's tools for administrators, which are not on every root's PATH. */
const ADMIN_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin', '/lib/systemd'];

/** Programs whose package has another name. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  'fail2ban-server': 'fail2ban',
  'fail2ban-client': 'fail2ban',
  'fail2ban-regex': 'fail2ban',
  nft: 'nftables',
  rsyslogd: 'rsyslog',
  'systemd-journal-remote': 'systemd-journal-remote',
  ip: 'iproute2',
  ss: 'iproute2',
  'systemd-analyze': 'systemd',
  'systemd-sysusers': 'systemd',
  'systemd-tmpfiles': 'systemd',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  logger: 'bsdutils',
  dnsmasq: 'dnsmasq-base',
  sshd: 'openssh-server',
  ssh: 'openssh-client',
  'ssh-keygen': 'openssh-client',
  python3: 'python3',
};

/**
 * The absolute path of a program that a test needs.
 *
 * @throws with the apt-get line that installs it; a test never passes because its program is absent
 */
export function requireProgram(name: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new Error(`${name} is not installed: ${aptLine([PACKAGE_OF[name] ?? name])}`);
}

function findProgram(name: string): string | undefined {
  // Debian's own directories first: its python3 has fail2ban's modules, another one on PATH has not.
  const directories = [...ADMIN_DIRECTORIES, ...(process.env.PATH ?? '').split(':')];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
