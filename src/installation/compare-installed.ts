import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { JOURNAL_FILE, type Manifest, readManifest } from './manifest.ts';
import { listPackageFiles, type PackageFile, type Part } from './package-files.ts';
import { type Installed, readInstalled, sha256Of } from './read-installed.ts';

/** A file that the package has a copy of, and what is installed in its place. */
export interface ComparedFile {
  /** Absolute path on the host, without the root. */
  readonly path: string;
  /**
   * `same` as the package's; `missing`; `other version`: ours, as some release installed it; `edited`: ours, and
   * changed since, or copied by hand; `foreign`: somebody else's, or no file at all.
   */
  readonly state: 'same' | 'missing' | 'other version' | 'edited' | 'foreign';
}

/** The result, with what was compared. */
export interface Comparison extends ComparedFile {
  /** The package's, or what is to be there. */
  readonly bytes: Uint8Array;
  readonly installed: Installed;
}

/**
 * Compares what is installed below a root with the package. Programs that the host has not are left out, and so is
 * rsyslog's file where it is not installed, since it is only on request.
 * @throws UserError when the manifest is not what install writes
 */
export function compareInstalled(root = '/'): ComparedFile[] {
  const parts = new Set(presentParts(root));
  const files = listPackageFiles().filter(
    ({ part, target }) => parts.has(part) && (part !== 'rsyslog' || existsSync(join(root, target))),
  );
  return compareFiles(root, files, readManifest(root)).map(({ path, state }) => ({ path, state }));
}

/** Whether an installation was cut off: the next `honeyport install` or `uninstall` rolls it back first. */
export function isCutOff(root = '/'): boolean {
  return lstatSync(join(root, JOURNAL_FILE), { throwIfNoEntry: false }) !== undefined;
}

export function compareFiles(
  root: string,
  files: readonly PackageFile[],
  manifest: Manifest | undefined,
): Comparison[] {
  return files.map(({ source, target }) => compareFile(root, target, readFileSync(source), manifest));
}

/** @param bytes what is to be at the path */
export function compareFile(
  root: string,
  path: string,
  bytes: Uint8Array,
  manifest: Manifest | undefined,
): Comparison {
  const installed = readInstalled(join(root, path));
  const known = manifest?.files.find((file) => file.path === path)?.sha256;
  return { path, state: stateOf(installed, sha256Of(bytes), known), bytes, installed };
}

function stateOf(installed: Installed, packaged: string, known: string | undefined): ComparedFile['state'] {
  if (installed.kind === 'missing') return 'missing';
  if (installed.kind === 'other') return 'foreign';
  if (installed.sha256 === packaged) return 'same';
  if (installed.sha256 === known) return 'other version';
  return isOurs(installed.bytes) ? 'edited' : 'foreign';
}

/** In a comment near the beginning of each file that we ship. */
const AUTHOR = /^[#;\s]*Author: {2}the honeyport project$/m;
const HEAD_BYTES = 4096;

export function isOurs(bytes: Uint8Array): boolean {
  return AUTHOR.test(Buffer.from(bytes.subarray(0, HEAD_BYTES)).toString('latin1'));
}

/** The programs whose files are copied: those that the host has a folder for. */
export function presentParts(root: string): Part[] {
  const has = (path: string) => existsSync(join(root, path));
  const parts: Part[] = [];
  if (has('/etc/fail2ban')) parts.push('fail2ban');
  if (has('/etc/logrotate.d')) parts.push('logrotate');
  if (['/usr/lib/systemd/system', '/lib/systemd/system'].some(has)) parts.push('systemd');
  if (has('/etc/rsyslog.d')) parts.push('rsyslog');
  return parts;
}

/** The missing directories above a path, outermost first, without the root. */
export function missingDirectories(root: string, path: string): string[] {
  const directory = dirname(path);
  if (directory === '/' || existsSync(join(root, directory))) return [];
  return [...missingDirectories(root, directory), directory];
}
