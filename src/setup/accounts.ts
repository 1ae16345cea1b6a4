import { UserError } from '../errors.ts';
import { type ProgramResult, runProgram } from '../system/run-program.ts';

/** A user of the host, with numbers. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

const LIMITS = { timeoutMs: 20_000, mostBytes: 64 * 1024 };

/** Asks whatever the host has its users from. */
export async function findAccount(name: string): Promise<Account | undefined> {
  const [uid, gid] = [await ask(name, '-u'), await ask(name, '-g')];
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

async function ask(name: string, option: string): Promise<number | undefined> {
  const { end, stdout } = await runProgram({ program: 'id', args: [option, '--', name], ...LIMITS });
  const answer = stdout.trim();
  return end.kind === 'exit' && end.code === 0 && /^\d+$/.test(answer) ? Number(answer) : undefined;
}

/**
 * Makes a user without a shell or a home, with a group of the same name.
 * @param sysusers the file that says so, for hosts that have systemd
 */
export async function addAccount(name: string, sysusers: string): Promise<void> {
  const { end } = await runProgram({ program: 'systemd-sysusers', args: [sysusers], ...LIMITS });
  if (end.kind === 'exit' && end.code === 0 && (await findAccount(name)) !== undefined) return;
  const home = ['--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin'];
  const args = ['--system', '--user-group', ...home, '--', name];
  const result = await runProgram({ program: 'useradd', args, ...LIMITS });
  if (!isDone(result)) throw failure(`cannot make the user ${name}`, result);
}

/** Removes a user and its group; one that is gone already is fine. @throws UserError when it cannot be */
export async function removeAccount(name: string): Promise<void> {
  if ((await findAccount(name)) !== undefined) {
    const result = await runProgram({ program: 'userdel', args: ['--', name], ...LIMITS });
    if (!isDone(result) && (await findAccount(name)) !== undefined)
      throw failure(`cannot remove the user ${name}`, result);
  }
  // as a rule it went with the user
  await runProgram({ program: 'groupdel', args: ['--', name], ...LIMITS });
}

function isDone({ end }: ProgramResult): boolean {
  return end.kind === 'exit' && end.code === 0;
}

function failure(what: string, { end, stdout, stderr }: ProgramResult): UserError {
  const said = `${stdout}${stderr}`.trim().split('\n').at(-1) ?? '';
  const why = end.kind === 'missing' ? 'the program for it is not installed' : said.slice(0, 300);
  return new UserError(`${what}: ${why}`, { exitCode: 1 });
}
