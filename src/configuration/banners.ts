import { decoyMappings } from './decoys.ts';
import { isMapping } from './mapping.ts';
import type { Fault, Path } from './problem.ts';
import { MAY_READ_HINT, readRegularFile, UnreadableFile } from './read.ts';
import { ABSOLUTE_PATH_PATTERN } from './schema-nodes.ts';

/** `banner` of a decoy as the schema has it. */
export type Banner = string | { readonly file: string };

/** The bytes of each banner file that a configuration names, by its path. */
export type BannerFiles = ReadonlyMap<string, Uint8Array>;

/** What a server says first is far shorter; all of it is kept in memory. */
const MOST_BYTES = 64 * 1024;
/** Each is looked at once a second. */
const MOST_FILES = 256;

const TOO_MANY_FILES = `expected at most ${MOST_FILES} banner files, got more from here on`;

/** @throws UnreadableFile */
export function readBannerFile(file: string): Uint8Array {
  // a copy, as the bytes are part of a buffer that had room for the longest banner
  return new Uint8Array(readRegularFile(file, MOST_BYTES, { EACCES: MAY_READ_HINT }));
}

/**
 * Reads each banner file that the decoys name, once. Banners of a shape that the schema refuses are left out.
 *
 * @param readBanner reads a file; may throw UnreadableFile
 */
export function readBanners(
  root: unknown,
  readBanner: (file: string) => Uint8Array,
): { readonly files: BannerFiles; readonly faults: readonly Fault[]; readonly hint: string | undefined } {
  const named = namedFiles(root);
  const files = new Map<string, Uint8Array>();
  const refused = new Map<string, Refusal>();
  for (const file of [...new Set(named.map(({ file }) => file))].slice(0, MOST_FILES)) {
    const read = tryToRead(file, readBanner);
    if ('message' in read) refused.set(file, read);
    else files.set(file, read);
  }
  const faults = named.flatMap(({ file, path }): Fault[] => {
    const message = refused.get(file)?.message;
    return message === undefined ? [] : [{ path, at: 'value', message }];
  });
  const beyond = named.find(({ file }) => !files.has(file) && !refused.has(file));
  if (beyond !== undefined) faults.push({ path: beyond.path, at: 'value', message: TOO_MANY_FILES });
  return {
    files,
    faults,
    hint: [...refused.values()].find(({ hint }) => hint !== undefined)?.hint,
  };
}

/** What a decoy sends, with the files that its configuration names; empty for none. */
export function bannerOf(banner: Banner, files: BannerFiles): Uint8Array {
  if (typeof banner !== 'string') return files.get(banner.file) ?? NOTHING;
  return banner === 'off' ? NOTHING : new TextEncoder().encode(banner);
}

const NOTHING = new Uint8Array(0);

interface NamedFile {
  readonly file: string;
  /** Where its name stands. */
  readonly path: Path;
}

function namedFiles(root: unknown): NamedFile[] {
  return decoyMappings(root).flatMap(({ decoy, path }) => {
    const file = isMapping(decoy.banner) ? decoy.banner.file : undefined;
    return typeof file === 'string' && ABSOLUTE_PATH.test(file)
      ? [{ file, path: [...path, 'banner', 'file'] }]
      : [];
  });
}

const ABSOLUTE_PATH = new RegExp(ABSOLUTE_PATH_PATTERN);

/** Why a file has no banner, and what to do about it. */
interface Refusal {
  readonly message: string;
  readonly hint?: string | undefined;
}

function tryToRead(file: string, readBanner: (file: string) => Uint8Array): Uint8Array | Refusal {
  try {
    const bytes = readBanner(file);
    return bytes.length === 0 ? { message: `${file} is empty` } : bytes;
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
    return { message: `cannot read ${file}: ${error.message}`, hint: error.hint };
  }
}
