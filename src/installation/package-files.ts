import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Which program of the host reads a file. */
export type Part = 'fail2ban' | 'logrotate' | 'systemd' | 'rsyslog';

/** A file of the package that is copied to a host. */
export interface PackageFile {
  /** Absolute path in the package. */
  readonly source: string;
  /** Absolute path on the host, without the root that it may be below. */
  readonly target: string;
  readonly part: Part;
}

/** `dist`, in which this is, and the folders that are copied are siblings. */
const PACKAGE_ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Those of rsyslog's files that name a receiver are templates: who installs one makes it his own. */
const RSYSLOG_READER = 'honeyport.conf';
const RSYSLOG_DIRECTORY = '/etc/rsyslog.d';

/** Not /etc/systemd: what `systemctl edit` writes there comes before these, and stays the administrator's. */
const SYSTEMD_LIBRARY = '/usr/local/lib';
const UNIT_DIRECTORY = `${SYSTEMD_LIBRARY}/systemd/system`;

/** Every file that an installation copies, and an upgrade replaces, in a stable order. */
export function listPackageFiles(packageRoot = PACKAGE_ROOT): PackageFile[] {
  return [
    ...treeFiles(packageRoot, 'fail2ban', '/etc/fail2ban', 'fail2ban'),
    ...folderFiles(packageRoot, 'logrotate.d', '/etc/logrotate.d', 'logrotate'),
    ...systemdFiles(packageRoot),
    ...folderFiles(packageRoot, 'rsyslog', RSYSLOG_DIRECTORY, 'rsyslog').filter(({ target }) =>
      target.endsWith(`/${RSYSLOG_READER}`),
    ),
  ];
}

/** A template of rsyslog's that sends to one receiver. */
export function senderTemplate(name: string, packageRoot = PACKAGE_ROOT): PackageFile {
  const file = `honeyport-${name}.conf`;
  return {
    source: join(packageRoot, 'rsyslog', file),
    target: join(RSYSLOG_DIRECTORY, file),
    part: 'rsyslog',
  };
}

/** Units go into one folder; sysusers.d and tmpfiles.d are folders of their own beside systemd's. */
function systemdFiles(packageRoot: string): PackageFile[] {
  const folders = directoriesIn(join(packageRoot, 'systemd'));
  const targetOf = (name: string) =>
    /^(sysusers|tmpfiles)\.d$/.test(name) ? join(SYSTEMD_LIBRARY, name) : join(UNIT_DIRECTORY, name);
  return [
    ...folderFiles(packageRoot, 'systemd', UNIT_DIRECTORY, 'systemd'),
    ...folders.flatMap((name) => folderFiles(packageRoot, join('systemd', name), targetOf(name), 'systemd')),
  ];
}

function treeFiles(packageRoot: string, folder: string, target: string, part: Part): PackageFile[] {
  return directoriesIn(join(packageRoot, folder)).flatMap((name) =>
    folderFiles(packageRoot, join(folder, name), join(target, name), part),
  );
}

function folderFiles(packageRoot: string, folder: string, target: string, part: Part): PackageFile[] {
  const directory = join(packageRoot, folder);
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => ({ source: join(directory, name), target: join(target, name), part }))
    .sort((a, b) => (a.target < b.target ? -1 : 1));
}

/** Python leaves `__pycache__` where a file was tried. */
function directoriesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('_'))
    .map(({ name }) => name)
    .sort();
}
