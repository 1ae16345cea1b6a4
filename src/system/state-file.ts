import { lstatSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { readBounded } from '../configuration/read.ts';
import { messageOf, UserError } from '../errors.ts';
import { writeNew } from './write-new.ts';

/** A small JSON file of our own that is whole at any time, whenever we are killed. */
export interface StateFile {
  readonly path: string;
  /**
   * Undefined where there is none.
   * @throws UserError when it cannot be read, or is not JSON
   */
  read(): unknown;
  /** @throws Error that says what and where; what was there before stays */
  write(value: unknown): void;
}

export interface StateFileOptions {
  /** Permission bits. */
  readonly mode?: number;
}

/** 100,000 addresses of the v1 API take 8 MiB. */
const MOST_MEBIBYTES = 16;

export function openStateFile(path: string, { mode = 0o640 }: StateFileOptions = {}): StateFile {
  return {
    path,
    read() {
      const stats = lstatSync(path, { throwIfNoEntry: false });
      if (stats === undefined) return undefined;
      // whoever could place it could have another file read for ours
      if (stats.isSymbolicLink())
        throw new UserError(`${path}: expected a regular file, got a symbolic link`);
      const text = Buffer.from(readBounded(path, MOST_MEBIBYTES)).toString();
      try {
        return JSON.parse(text);
      } catch {
        throw new UserError(`${path}: expected JSON`, {
          hint: 'honeyport writes it whole: it was changed by others',
        });
      }
    },
    write(value) {
      const temporary = `${path}.new`;
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
        rmSync(temporary, { force: true });
        writeNew(temporary, `${JSON.stringify(value)}\n`, mode);
        renameSync(temporary, path);
      } catch (error) {
        removeIfThere(temporary);
        throw new Error(`cannot write ${path}: ${messageOf(error)}`, { cause: error });
      }
    },
  };
}

function removeIfThere(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // why it could not be written is what matters
  }
}
