import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileC } from '../../bench/compile.ts';
import { requireProgram } from './programs.ts';

/**
 * A program that starts another one (`PROGRAM COMMAND ARGS...`) under a unit's `SystemCallFilter=` and
 * `RestrictAddressFamilies=`, with `SystemCallErrorNumber=EPERM`, as systemd would.
 */
export async function compileSeccomp(unit: string, directory: string): Promise<string> {
  const settings = (name: string) =>
    [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value!);
  const families = settings('RestrictAddressFamilies').flatMap((value) => value.split(' '));
  const source = join(directory, 'seccomp.c');
  writeFileSync(source, programOf(allowedCalls(settings('SystemCallFilter')), families));
  return await compileC(source, directory);
}

/** The first setting allows, and those that follow add or, with `~`, take away. */
function allowedCalls(filters: readonly string[]): Set<string> {
  const allowed = new Set<string>();
  for (const filter of filters) {
    const isDenied = filter.startsWith('~');
    const names = filter.replace('~', '').split(' ').flatMap(callsOf);
    for (const name of names) isDenied ? allowed.delete(name) : allowed.add(name);
  }
  return allowed;
}

function callsOf(name: string): string[] {
  if (!name.startsWith('@')) return [name];
  const { stdout } = spawnSync(requireProgram('systemd-analyze'), ['syscall-filter', '--no-pager', name], {
    encoding: 'utf8',
  });
  const members = [...stdout.matchAll(/^ {4}([@a-z0-9_-]+)$/gm)].map(([, member]) => member!);
  if (members.length === 0) throw new Error(`systemd-analyze knows no calls of ${name}`);
  return members.flatMap(callsOf);
}

function programOf(calls: Iterable<string>, families: readonly string[]): string {
  const cases = [...calls].map((call) => `#ifdef __NR_${call}\n  ALLOW(__NR_${call}),\n#endif`);
  return `#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define ALLOW(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1), RETURN(SECCOMP_RET_ALLOW)

static struct sock_filter filter[] = {
  LOAD(nr),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, ${2 * families.length + 2}),
  LOAD(args[0]),
${families.map((family) => `  ALLOW(${family}),`).join('\n')}
  RETURN(SECCOMP_RET_ERRNO | EAFNOSUPPORT),
${cases.join('\n')}
  RETURN(SECCOMP_RET_ERRNO | EPERM),
};

int main(int count, char **words) {
  struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
  if (count < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    return perror("seccomp"), 125;
  execvp(words[1], words + 1);
  return perror(words[1]), 127;
}
`;
}
