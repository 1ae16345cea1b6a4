import { accessSync, constants, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { allowExportPath } from '../allow/allow-export.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { isErrnoException, messageOf, UserError } from '../errors.ts';
import { findUser, type Native, type User } from '../native/native.ts';
import { keepForListeners } from '../native/privileges.ts';
import { handOver } from '../system/hand-over.ts';
import type { Voice } from '../voice.ts';

export interface BecomeUserOptions {
  readonly configuration: Configuration;
  readonly native: Native;
  readonly voice: Voice;
}

/**
 * Started as root, becomes the user that the configuration names, in all threads and for good. What is kept is
 * CAP_NET_BIND_SERVICE, and CAP_NET_RAW where sockets are marked or transparent, for the start and each reload alike, so nothing needs to
 * be bound before. The log becomes his.
 * @throws UserError when there is no such user, or the log may not be given to him
 */
export function becomeUser({ configuration, native, voice }: BecomeUserOptions): void {
  const { user: name, log, file } = configuration;
  if (name === undefined || process.geteuid?.() !== 0) return;
  const user = lookUp(name, file);
  if (user.uid === 0) return;
  become(user, { logPath: log.file.path, raw: needsRaw(configuration) }, native);
  useHome(user);
  voice.say(`runs as user ${name} from here on`);
  makeDirectory(dirname(log.file.path));
  for (const path of unreadable(configuration))
    voice.warning(`user ${name} cannot read ${path}: a reload will fail`);
}

/** What there is to say of a user that a reload brings about. */
export function userWarning(before: Configuration, wanted: Configuration): string | undefined {
  if (before.user === wanted.user) return undefined;
  return `user: ${wanted.user ?? 'off'} takes a restart: nobody can become another user twice`;
}

function lookUp(name: string, file: string | undefined): User {
  const user = find(name);
  if (user !== undefined) return user;
  throw new UserError(`${file}: user: expected a user of this host, got "${name}"`, {
    hint: `useradd --system --no-create-home --shell /usr/sbin/nologin ${name}`,
  });
}

function find(name: string): User | undefined {
  try {
    return findUser(name);
  } catch (error) {
    throw new UserError(`user ${name} cannot be looked up: ${messageOf(error)}`, { exitCode: 1 });
  }
}

function needsRaw({ mark, decoys }: Configuration): boolean {
  return mark !== undefined || decoys.some(({ unused }) => unused !== undefined);
}

/** Its types lack it. https://nodejs.org/api/process.html#processinitgroupsuser-extragroup */
type WithInitgroups = typeof process & { initgroups(user: string, extraGroup: number): void };

function become(
  { name, uid, gid }: User,
  { logPath, raw }: { readonly logPath: string; readonly raw: boolean },
  native: Native,
): void {
  try {
    (process as WithInitgroups).initgroups(name, gid);
    process.setgid!(gid);
    handOver([logPath, allowExportPath(logPath)], { name, uid, gid, groups: process.getgroups!() });
    keepForListeners(native, { raw }, () => process.setuid!(uid));
  } catch (error) {
    if (!isErrnoException(error)) throw error;
    throw new UserError(`cannot become user ${name}: ${error.message}`, {
      hint: 'it takes CAP_SETUID, CAP_SETGID and CAP_CHOWN, which root may lack in a container',
    });
  }
}

/** Programs of responses are given these. */
function useHome({ name, home }: User): void {
  Object.assign(process.env, { HOME: home, USER: name, LOGNAME: name });
  // root's own; a service's user has a shell that lets nobody in
  for (const variable of ['SHELL', 'TMPDIR']) delete process.env[variable];
}

/** Where root could not do so without danger; what is wrong, opening the log will say. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, 0o750);
  } catch {
    // as a rule, it is there
  }
}

function unreadable({ file, partFiles }: Configuration): string[] {
  return [...(file === undefined ? [] : [file]), ...partFiles].filter((path) => !isReadable(path));
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
