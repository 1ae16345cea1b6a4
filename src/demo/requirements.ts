import { delimiter, join } from 'node:path';
import { UserError } from '../errors.ts';
import { programProblem } from '../system/program-problem.ts';

/** By program, the Debian package that has it. */
const PACKAGES = new Map([
  ['fail2ban-server', 'fail2ban'],
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
  ['setpriv', 'util-linux'],
]);

/**
 * Whether the demo can run here, as far as that can be seen beforehand.
 * @throws UserError
 */
export function checkRequirements(): void {
  if (process.geteuid?.() !== 0)
    throw failure('expected root, who alone can make networks', 'sudo honeyport demo');
  const missing = [...PACKAGES.keys()].filter((program) => !isInPath(program));
  if (missing.length === 0) return;
  const packages = missing.map((program) => PACKAGES.get(program));
  throw failure(
    `not installed, or not in PATH: ${missing.join(', ')}`,
    `apt-get install ${packages.join(' ')}`,
  );
}

function isInPath(program: string): boolean {
  const directories = (process.env.PATH ?? '').split(delimiter);
  return directories.some((directory) => programProblem(join(directory, program)) === undefined);
}

function failure(message: string, hint: string): UserError {
  return new UserError(message, { hint, exitCode: 1 });
}
