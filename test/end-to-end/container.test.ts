import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CGROUP_PREFIX, startContainer } from '../support/container.ts';
import { DEBIAN_RELEASES, debianRoot } from '../support/debian-root.ts';
import { installPackage } from '../support/installed-package.ts';
import { createNetwork } from '../support/namespaces.ts';
import { waitFor } from '../support/wait.ts';

const VERSION = { debian12: /^12\./, debian13: /^13\./ };
const SYSTEMD = { debian12: /^systemd 252 /, debian13: /^systemd 257 / };
/** Debian 12's sshd jail names a log that Debian 12 has not. */
const JAILS = '[sshd]\nbackend = systemd\n';
const DEADLINE_MS = 20_000;
const SUPPORT = fileURLToPath(new URL('../support/container.ts', import.meta.url));

for (const release of DEBIAN_RELEASES) {
  test(`${release} boots with its own systemd, fail2ban, nftables and rsyslog, and leaves nothing`, async (context) => {
    const before = traces();
    const container = await startContainer(context, { release });
    const { output, network, pid } = container;
    assert.match(output(['cat', '/etc/debian_version']), VERSION[release]);
    assert.match(output(['systemctl', '--version']), SYSTEMD[release]);
    assert.equal(output(['systemd-detect-virt']), 'container-other\n');

    container.writeFile('/etc/fail2ban/jail.local', JAILS);
    assert.equal(container.readFile('/etc/fail2ban/jail.local'), JAILS);
    output(['systemctl', 'restart', 'fail2ban']);
    await waitFor(() => container.run(['fail2ban-client', 'status', 'sshd']).code === 0, {
      deadlineMs: DEADLINE_MS,
      what: () => `fail2ban's answer:\n${container.journal('fail2ban')}`,
    });
    assert.equal(container.run(['systemctl', 'is-system-running', '--wait']).stdout, 'running\n');

    output(['nft', 'add', 'table', 'inet', 'of_the_container']);
    assert.match(network.run(network.sensor, ['nft', 'list', 'tables']).stdout, /of_the_container/);
    assert.doesNotMatch(execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }), /of_the_container/);

    output(['logger', 'a line for rsyslog']);
    await waitFor(() => container.readFile('/var/log/syslog').includes('a line for rsyslog'), {
      deadlineMs: DEADLINE_MS,
      what: 'the line in the log that rsyslogd writes',
    });
    installPackage(container);
    assert.match(output(['honeyport', '--version']), /^\d+\.\d+\.\d+\n$/);

    assert.ok(existsSync(`/proc/${pid}`), 'pid 1 runs');
    await container.stop();
    assert.deepEqual(traces(), before);
  });
}

test('what is done in a container reaches neither the tree that others use nor this machine', async (context) => {
  const container = await startContainer(context, { release: 'debian13' });
  const { run } = container;
  container.writeFile('/etc/of_the_container', 'x');
  run(['rm', '-r', '/etc/fail2ban']);
  assert.equal(run(['test', '-e', '/etc/fail2ban']).code, 1);
  assert.ok(existsSync(`${debianRoot('debian13')}/etc/fail2ban/jail.conf`), 'the tree is as it was');
  assert.equal(existsSync(`${debianRoot('debian13')}/etc/of_the_container`), false);
  assert.equal(existsSync('/etc/of_the_container'), false);
  // written as it is: should the container be able to, nothing has changed
  for (const file of ['/proc/sys/kernel/panic', '/sys/kernel/mm/ksm/run']) {
    assert.notEqual(run(['sh', '-c', `value=$(cat ${file}); echo "$value" > ${file}`]).code, 0, file);
  }
  for (const name of ['self', '1']) {
    assert.equal(withheld(container.readFile(`/proc/${name}/status`)), 0n, `capabilities of ${name}`);
  }
  assert.notEqual(run(['test', '-e', SUPPORT]).code, 0, "this machine's files are not there");
  assert.notEqual(run(['kill', '-0', String(process.pid)]).code, 0, "this machine's processes are not there");
});

/** Those of CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME that a process could have. */
function withheld(status: string): bigint {
  const mask = /^CapBnd:\t([0-9a-f]+)$/m.exec(status)?.[1];
  return BigInt(`0x${mask}`) & ((1n << 16n) | (1n << 17n) | (1n << 25n));
}

test('a boot of a container keeps its files, and nothing that ran or that the kernel held', async (context) => {
  const container = await startContainer(context, { release: 'debian13' });
  const { output, pid } = container;
  container.writeFile('/var/lib/kept', 'as it was');
  container.writeFile('/run/lost', '');
  output(['nft', 'add', 'table', 'inet', 'lost']);
  await container.reboot();
  assert.notEqual(container.pid, pid);
  assert.equal(existsSync(`/proc/${pid}`), false);
  assert.equal(container.readFile('/var/lib/kept'), 'as it was');
  assert.equal(container.run(['test', '-e', '/run/lost']).code, 1);
  assert.equal(output(['nft', 'list', 'ruleset']), '');
});

test('a program in a container that takes too long is killed, and nothing of it is left there', async (context) => {
  const { run } = await startContainer(context, { release: 'debian13' });
  assert.equal(run(['sh', '-c', 'sleep 4321 & sleep 4322'], { timeoutMs: 300 }).code, -1);
  assert.equal(run(['pgrep', '-f', '^sleep 432']).code, 1);
});

test('a container ends with the process that started it, also when that is killed', async () => {
  const before = traces();
  const program = `import { startContainer } from ${JSON.stringify(SUPPORT)};
const { pid } = await startContainer({ after() {} }, { release: 'debian13' });
console.log(pid);`;
  const argv = ['--import', 'tsx', '--input-type=module', '--eval', program];
  const owner = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let pid = '';
  owner.stdout.setEncoding('utf8').on('data', (text: string) => {
    pid += text;
  });
  try {
    await waitFor(() => pid.endsWith('\n'), { deadlineMs: 120_000, what: 'a container' });
    assert.equal(readFileSync(`/proc/${pid.trim()}/comm`, 'utf8'), 'systemd\n');
  } finally {
    owner.kill('SIGKILL');
  }
  const gone = () => JSON.stringify(traces()) === JSON.stringify(before);
  await waitFor(gone, { deadlineMs: DEADLINE_MS, what: () => `the end of ${JSON.stringify(traces())}` });
  // the next network removes those of processes that were killed
  createNetwork().dispose();
});

/** What containers of these tests could leave: processes, control groups, mounts. */
function traces(): Record<string, string[]> {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return { processes: ownersOfGroups(), groups: controlGroups(), mounts: mounts.filter(isOfContainer) };
}

function isOfContainer(mount: string): boolean {
  return mount.includes(' /mnt/') || mount.includes('overlay');
}

function controlGroups(): string[] {
  const list = 'mount -t cgroup2 cgroup2 /mnt && ls /mnt';
  const argv = ['--mount', '--propagation', 'private', 'sh', '-ec', list];
  const names = execFileSync('unshare', argv, { encoding: 'utf8' }).split('\n');
  return names.filter((name) => name.startsWith(CGROUP_PREFIX));
}

/** Processes in a container's control group. */
function ownersOfGroups(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => groupOf(pid).includes(`/${CGROUP_PREFIX}`));
}

function groupOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}
