import { requireProgram } from './programs.ts';

/**
 * What to put before a command so that it sees files of the test in the place of the system's, nobody else does, and
 * nothing is left behind: a mount namespace.
 *
 * @param files by the path that the command sees, which must exist
 */
export function seeing(files: Readonly<Record<string, string>>): string[] {
  const mounts = Object.entries(files).flatMap(([path, file]) => [file, path]);
  const script = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit; shift 2; done; shift; exec "$@"';
  return [
    requireProgram('unshare'),
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    script,
    'sh',
    ...mounts,
    '--',
  ];
}

/** The same for utmp, which a system may not have: /run is the command's own then, with sshd's directory in it. */
export function seeingUtmp(utmp: string): string[] {
  const script =
    'mount -t tmpfs tmpfs /run && mkdir /run/sshd && : > /run/utmp && mount --bind "$1" /run/utmp || exit; shift; exec "$@"';
  return [requireProgram('unshare'), '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', utmp];
}
