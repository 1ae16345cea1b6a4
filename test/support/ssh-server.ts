import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host, Network } from './namespaces.ts';
import { seeingUtmp } from './private-files.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** A real sshd on a host, which writes its logins into a utmp of its own. */
export interface SshServer {
  /** Put before a command on that host, so that it sees who is logged in. */
  readonly wrapper: readonly string[];
  /** Logs in from one of the attacker's addresses and stays, in a terminal; it ends with the process. */
  login(from: string): ChildProcess;
  /** Tries to log in with a key that nobody knows; the exit code of ssh. */
  failToLogin(from: string): number;
}

export async function startSshServer(network: Network, host: Host, dir: string): Promise<SshServer> {
  const keys = join(dir, 'ssh');
  mkdirSync(keys, { mode: 0o700 });
  const key = (name: string) => {
    const argv = [requireProgram('ssh-keygen'), '-q', '-t', 'ed25519', '-N', '', '-f', join(keys, name)];
    const { code, stderr } = network.run(host, argv);
    if (code !== 0) throw new Error(`Expected ssh-keygen to make ${name}, got ${code}: ${stderr}`);
    return join(keys, name);
  };
  const [hostKey, userKey, strangersKey] = ['host', 'user', 'stranger'].map(key) as [string, string, string];
  const authorized = join(keys, 'authorized');
  writeFileSync(authorized, readFileSync(`${userKey}.pub`));
  const utmp = join(dir, 'utmp');
  writeFileSync(utmp, '');
  const settings = [
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${authorized}`,
    'StrictModes no',
    'PermitRootLogin prohibit-password',
    'UsePAM no',
    'UseDNS no',
    'PidFile none',
  ];
  const configuration = join(keys, 'sshd_config');
  writeFileSync(configuration, `${settings.join('\n')}\n`);
  const wrapper = seeingUtmp(utmp);
  const argv = [...wrapper, requireProgram('sshd'), '-D', '-e', '-f', configuration];
  const server = network.spawn(host, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  server.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await waitFor(() => said.includes('Server listening on'), {
    deadlineMs: 10_000,
    what: () => `sshd to listen; it said:\n${said}`,
  });
  const ssh = (from: string, identity: string) => {
    const to = from.includes(':') ? host.ipv6 : host.ipv4;
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'IdentitiesOnly=yes',
    ];
    const given = options.flatMap((option) => ['-o', option]);
    return [requireProgram('ssh'), '-F', 'none', '-tt', '-b', from, '-i', identity, ...given, `root@${to}`];
  };
  return {
    wrapper,
    login: (from) =>
      network.spawn(network.attacker, [...ssh(from, userKey), 'sleep 120'], {
        stdio: ['pipe', 'ignore', 'ignore'],
      }),
    failToLogin: (from) => network.run(network.attacker, [...ssh(from, strangersKey), 'true']).code,
  };
}
