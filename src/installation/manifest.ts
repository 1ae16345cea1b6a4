import { join } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import { readInstalled } from './read-installed.ts';

/** Where an installation keeps what it knows of itself. */
export const STATE_DIRECTORY = '/var/lib/honeyport';
export const MANIFEST_FILE = `${STATE_DIRECTORY}/installed.json`;
/** There while an installation is under way, and after one that was cut off. */
export const JOURNAL_FILE = `${STATE_DIRECTORY}/install.journal`;

/** What was installed, so that what was edited since is known, and what is ours alone is removed. */
export interface Manifest {
  readonly version: string;
  readonly files: readonly ManifestFile[];
  /** Directories and users that did not exist before. */
  readonly directories: readonly string[];
  readonly users: readonly string[];
}

export interface ManifestFile {
  readonly path: string;
  readonly sha256: string;
  /** `shipped` is replaced by upgrades; `generated` was written where there was none and is the administrator's. */
  readonly kind: 'shipped' | 'generated';
}

/**
 * The manifest below a root; undefined where there is none, as after an installation by hand.
 * @throws UserError when it is not what install writes
 */
export function readManifest(root: string): Manifest | undefined {
  const path = join(root, MANIFEST_FILE);
  const found = readInstalled(path);
  if (found.kind === 'missing') return undefined;
  try {
    if (found.kind === 'other') throw new Error(`expected a file, got ${found.what}`);
    return checkManifest(JSON.parse(Buffer.from(found.bytes).toString()));
  } catch (error) {
    throw new UserError(`${path}: ${messageOf(error)}`, {
      hint: 'honeyport install writes it; without it, edited files are not told from older ones: move it away',
    });
  }
}

/** The text of a manifest: the same installation has the same text. */
export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

function checkManifest(value: unknown): Manifest {
  const { version, files, directories, users } = value as Manifest;
  const isFile = ({ path, sha256, kind }: ManifestFile) =>
    isPlainPath(path) && /^[0-9a-f]{64}$/.test(sha256) && ['shipped', 'generated'].includes(kind);
  const areNames = directories.every(isPlainPath) && users.every((name) => USER_NAME.test(name));
  if (typeof version === 'string' && files.every(isFile) && areNames)
    return { version, files, directories, users };
  throw new Error('expected version, files, directories and users');
}

const USER_NAME = /^honeyport(-[a-z0-9-]+)?$/;

/** In one of the folders that we install into. */
function isPlainPath(path: string): boolean {
  return (
    /^\/(etc|usr\/local|var\/lib\/honeyport|var\/log|run)(\/|$)/.test(path) && !path.split('/').includes('..')
  );
}
