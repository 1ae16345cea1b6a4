import { accessSync, constants, statSync } from 'node:fs';
import { isErrnoException, messageOf } from '../errors.ts';

/** Why a program cannot be started by this user, as far as its file tells; undefined when it can. */
export function programProblem(path: string): string | undefined {
  try {
    if (!statSync(path).isFile()) return 'it is no file';
    accessSync(path, constants.X_OK);
    return undefined;
  } catch (error) {
    if (!isErrnoException(error)) return messageOf(error);
    if (error.code === 'ENOENT') return 'there is no such file';
    return error.code === 'EACCES' ? 'it is not executable for this user' : error.code;
  }
}
