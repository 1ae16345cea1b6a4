import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { exitOnSignals } from './namespaces.ts';
import { requireProgram } from './programs.ts';

/** Kept between runs, since making a tree takes its time. */
const CACHE_DIR = '/var/cache/honeyport-tests';
/** Says what the tree holds; a tree without it, or with another text, is made anew. */
const MARKER_NAME = '.honeyport-tests';
const DOWNLOAD_TIMEOUT_MS = 5 * 60_000;

export interface CachedTree {
  readonly name: string;
  /** What the tree holds. */
  readonly contents: string;
  /** Fills an empty directory; may throw. */
  readonly build: (directory: string) => void;
}

/** Where a tree is, or will be. */
export function pathOfTree(name: string): string {
  return join(CACHE_DIR, name);
}

/**
 * A directory that is made on the first call ever. It is shared: nothing may write to it. Needs root.
 *
 * @throws what `build` throws; a half-made tree is removed
 */
export function cachedTree(tree: CachedTree): string {
  const root = pathOfTree(tree.name);
  if (isComplete(tree)) return root;
  mkdirSync(CACHE_DIR, { recursive: true });
  removeAbandoned();
  const building = temporaryTree();
  // the root of a system is open to all its users
  chmodSync(building, 0o755);
  const discard = () => rmSync(building, { recursive: true, force: true });
  process.once('exit', discard);
  exitOnSignals();
  try {
    tree.build(building);
    writeFileSync(join(building, MARKER_NAME), `${tree.contents}\n`);
    putInPlace(tree, building);
  } finally {
    discard();
    process.off('exit', discard);
  }
  return root;
}

/** Bears our process id, so that others can tell whether somebody still builds there. */
function temporaryTree(): string {
  return mkdtempSync(join(CACHE_DIR, `building-${process.pid}-`));
}

/** Trees of processes that were killed while they built. */
function removeAbandoned(): void {
  for (const name of readdirSync(CACHE_DIR)) {
    const pid = /^building-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    rmSync(join(CACHE_DIR, name), { recursive: true, force: true });
  }
}

function isComplete({ name, contents }: CachedTree): boolean {
  const marker = join(pathOfTree(name), MARKER_NAME);
  return existsSync(marker) && readFileSync(marker, 'utf8') === `${contents}\n`;
}

/** A rename is atomic: a run that is killed leaves a `building-` directory, never a tree that looks complete. */
function putInPlace(tree: CachedTree, building: string): void {
  const root = pathOfTree(tree.name);
  if (existsSync(root) && !isComplete(tree)) {
    const outdated = temporaryTree();
    renameSync(root, join(outdated, 'outdated'));
    rmSync(outdated, { recursive: true, force: true });
  }
  try {
    renameSync(building, root);
  } catch (error) {
    // Another run was quicker; its tree is as good as ours.
    if (!isComplete(tree)) throw error;
  }
}

/**
 * Downloads Debian packages into a directory, and installs none.
 *
 * @throws when apt-get cannot get them, also with new lists of packages
 */
export function downloadPackages(packages: readonly string[], directory: string): void {
  const download = () => aptGet(['download', ...packages], directory);
  try {
    download();
    return;
  } catch {
    // the lists of packages may be missing or older than the mirror
  }
  try {
    aptGet(['update'], directory);
    download();
  } catch (error) {
    const names = packages.join(' ');
    throw new Error(
      `these tests run ${names} without installing it: see what apt-get download ${names} says`,
      {
        cause: error,
      },
    );
  }
}

function aptGet(args: readonly string[], cwd: string): void {
  // as root: its own user may not enter every directory
  execFileSync(requireProgram('apt-get'), ['-q', '-o', 'APT::Sandbox::User=root', ...args], {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: DOWNLOAD_TIMEOUT_MS,
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
}
