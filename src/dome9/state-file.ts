import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { isErrnoException, messageOf } from '../errors.ts';

/** A small JSON file of our own that is whole at any time, whenever we are killed. */
export interface StateFile {
  readonly path: string;
  /** Undefined where there is none, or none that can be read as JSON. */
  read(): unknown;
  /** @throws Error that says what and where; what was there before stays */
  write(value: unknown): void;
}

export function openStateFile(path: string): StateFile {
  return {
    path,
    read() {
      try {
        return JSON.parse(readFileSync(path, 'utf8'));
      } catch (error) {
        if (error instanceof SyntaxError || (isErrnoException(error) && error.code === 'ENOENT'))
          return undefined;
        throw error;
      }
    },
    write(value) {
      const temporary = `${path}.new`;
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
        rmSync(temporary, { force: true });
        writeNew(temporary, `${JSON.stringify(value)}\n`);
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

function writeNew(path: string, text: string): void {
  const descriptor = openSync(path, 'wx', 0o640);
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
