import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { CLI } from './listener.ts';
import { requireProgram } from './programs.ts';

const TIMEOUT_MS = 120_000;

/**
 * Runs a shell script on what looks to it like a host of its own: everything that an installation writes to is a copy,
 * or empty, and so is the network; the machine that the tests run on is never touched. `honeyport` is the built program,
 * and fail2ban has its stock configuration, without any jail. `$W` is a directory for the script's own files.
 */
export function runOnPrivateHost(script: string): { code: number; stdout: string; stderr: string } {
  for (const name of ['fail2ban-server', 'nft', 'ip', 'systemd-sysusers']) requireProgram(name);
  const directory = mkdtempSync('/tmp/honeyport-host-');
  const own = [
    '--mount',
    '--net',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    '--propagation',
    'private',
  ];
  const text = `${PREPARE}\n${script}`;
  const path = `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
  const { status, stdout, stderr } = spawnSync(
    requireProgram('unshare'),
    [...own, 'sh', '-euc', text, 'sh', directory, CLI, dirname(process.execPath)],
    {
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
      env: { PATH: path, LC_ALL: 'C.UTF-8' },
    },
  );
  rmSync(directory, { recursive: true });
  // fail2ban 1.0.2 tells each time that Debian's own configuration lacks a setting
  const quiet = stderr.replaceAll(/^.*'allowipv6' not defined.*\n/gm, '');
  return { code: status ?? -1, stdout, stderr: quiet };
}

const PREPARE = `
W=$1
mount -t tmpfs tmpfs "$W"
cp -a /etc "$W/etc"
rm -f "$W"/etc/fail2ban/jail.d/* "$W"/etc/fail2ban/*.local "$W/etc/logrotate.d/honeyport"
find "$W/etc/fail2ban" -name 'honeyport*' -delete
rm -rf "$W/etc/honeyport"
mount --bind "$W/etc" /etc
mkdir "$W/local" && mount --bind /usr/local "$W/local" && mount -t tmpfs -o mode=755 tmpfs /usr/local
mkdir /usr/local/bin /usr/local/lib /usr/local/sbin
ln -s "$W"/local/bin/* /usr/local/bin/ 2> /dev/null || true
ln -sfn "$2" /usr/local/bin/honeyport
[ -e /usr/bin/node ] || ln -sfn "$3/node" /usr/local/bin/node
for directory in /var/log /var/lib /run; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
mkdir /run/fail2ban /var/lib/fail2ban
ip link set lo up
# a host whose name cannot be looked up keeps fail2ban waiting for name servers
echo "127.0.0.1 localhost $(hostname)" > /etc/hosts
set +e
`;
