import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SERVICE, startService } from '../support/bans.ts';
import { type Container, startContainer } from '../support/container.ts';
import { DEBIAN_RELEASES, type DebianRelease } from '../support/debian-root.ts';
import { installPackage } from '../support/installed-package.ts';
import { waitFor } from '../support/wait.ts';

const CONFIGURATION = '/etc/honeyport/honeyport.yaml';
const LOG = '/var/log/honeyport/honeyport.log';
/** A decoy of the configuration that install writes, below 1024. */
const TELNET = 23;
const ADDED_PORT = 24_242;
const KNOCKER = '198.18.0.1';
const SECOND_KNOCKER = '198.18.0.2';
const BYSTANDER = '198.18.0.3';
const [THIRD_KNOCKER, FOURTH_KNOCKER] = ['198.18.0.4', '198.18.0.5'];
/** A dropped packet brings no answer. */
const SILENCE_MS = 500;
const DEADLINE_MS = 30_000;

/** What an administrator had before. Debian 12's own sshd jail names a log that Debian 12 has not. */
const OWN_FILES: Readonly<Record<string, string>> = {
  '/etc/fail2ban/jail.local': '[DEFAULT]\nfindtime = 2h\n\n[sshd]\nbackend = systemd\n',
  '/etc/fail2ban/fail2ban.local': '[Definition]\nloglevel = INFO\n',
  '/etc/fail2ban/jail.d/own.local': '[sshd]\nmaxretry = 7\n',
  '/etc/rsyslog.d/99-own.conf': '# nothing yet\n',
};

/** Makes systemd find out sooner that the listener hangs than the shipped half a minute. */
const IMPATIENCE = '/run/systemd/system/honeyport.service.d/impatience.conf';

/** Beside the jail that reads the file. */
const JOURNAL_JAIL = {
  path: '/etc/fail2ban/jail.d/zz-journal.local',
  text: `[honeyport-journal]
enabled = true
filter = honeyport
backend = systemd
banaction = %(honeyport/banaction)s
maxretry = 1
`,
};

const NO_CAPABILITY = '0000000000000000';
/** CAP_NET_BIND_SERVICE and CAP_NET_RAW */
const BOTH_CAPABILITIES = '0000000000002400';

for (const release of DEBIAN_RELEASES) {
  test(`on ${release}, with its own systemd, from the package that npm packs`, async (context) => {
    const host = await setHost(context, release);
    const { output, run, network, readFile } = host;
    const before = { files: snapshot(host), names: named(host) };
    const step = (title: string, check: () => unknown) =>
      context.test(title, async () => {
        await check();
      });

    await step('install starts the service, now and at each boot, and turns the jail on', async () => {
      honeyport(host, 'install', '--yes');
      assert.equal(output(['systemctl', 'is-enabled', 'honeyport']), 'enabled\n');
      assert.equal(output(['systemctl', 'is-active', 'honeyport']), 'active\n');
      assert.equal(output(['stat', '--format=%U:%G %a', LOG]), 'honeyport:honeyport 640\n');
      assert.match(readFile(LOG), /: start /);
      await jailsRun(host, ['honeyport', 'sshd']);
    });

    await step('to install again changes nothing and restarts nothing', () => {
      const installed = snapshot(host);
      const pids = () => ['honeyport', 'fail2ban', 'rsyslog'].map((unit) => mainPid(host, unit));
      const running = pids();
      assert.match(honeyport(host, 'install', '--yes').stdout, /^nothing to do$/m);
      assert.deepEqual(changes(installed, snapshot(host)), []);
      assert.deepEqual(pids(), running);
    });

    await step('the service runs in the sandbox that its unit describes', () => {
      const pid = mainPid(host, 'honeyport');
      const status = statusOf(host, pid);
      const uid = output(['id', '-u', 'honeyport']).trim();
      assert.equal(status.Uid, [uid, uid, uid, uid].join('\t'));
      for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        assert.equal(status[set], BOTH_CAPABILITIES, set);
      assert.deepEqual([status.NoNewPrivs, status.Seccomp], ['1', '2']);
      // even root, in the service's own view of the files
      const inside = (...argv: string[]) => run(['nsenter', `--target=${pid}`, '--mount', ...argv]);
      for (const path of [
        '/etc/of_honeyport',
        '/usr/of_honeyport',
        '/var/lib/of_honeyport',
        '/proc/sys/net/x',
      ])
        assert.notEqual(inside('touch', path).code, 0, `${path} cannot be written`);
      assert.match(inside('touch', '/etc/of_honeyport').stderr, /Read-only file system/);
      assert.equal(inside('touch', '/var/log/honeyport/of_honeyport').code, 0, 'its own directory can be');
      output(['rm', '/var/log/honeyport/of_honeyport']);
      assert.equal(inside('ls', '/root').stdout, '');
      assert.notEqual(inside('ls', '/dev/full', '/dev/tty1', '/dev/kmsg').code, 0, 'it has few devices');
    });

    await step('doctor finds nothing, also when it knocks', () => {
      honeyport(host, 'doctor');
      honeyport(host, 'doctor', '--knock');
    });

    await step('who knocks is shut out, and nobody else', async () => {
      await startService(network);
      assert.equal(await reach(host, KNOCKER, SERVICE), 'open');
      assert.equal(await reach(host, KNOCKER, TELNET), 'open');
      await shutOut(host, KNOCKER);
      assert.equal(await reach(host, BYSTANDER, SERVICE), 'open');
    });

    await step('the ban outlives restarts of both services, and a boot', async () => {
      output(['systemctl', 'restart', 'fail2ban', 'honeyport']);
      await jailsRun(host, ['honeyport', 'sshd']);
      await shutOut(host, KNOCKER);
      await host.reboot();
      await jailsRun(host, ['honeyport', 'sshd']);
      assert.equal(output(['systemctl', 'is-active', 'honeyport']), 'active\n');
      await shutOut(host, KNOCKER);
      assert.equal(await reach(host, BYSTANDER, SERVICE), 'open');
      assert.equal(await reach(host, SECOND_KNOCKER, TELNET), 'open');
      await shutOut(host, SECOND_KNOCKER);
    });

    await step('systemctl reload takes a changed configuration, in the same process', async () => {
      const written = readFile(CONFIGURATION);
      const pid = mainPid(host, 'honeyport');
      host.writeFile(CONFIGURATION, written.replace('ports: [31337]', `ports: [31337, ${ADDED_PORT}]`));
      output(['systemctl', 'reload', 'honeyport']);
      await becomes(host, ADDED_PORT, 'listens');
      host.writeFile(CONFIGURATION, written);
      output(['systemctl', 'reload', 'honeyport']);
      await becomes(host, ADDED_PORT, 'refuses');
      assert.equal(mainPid(host, 'honeyport'), pid);
    });

    await step('a listener that hangs, or is killed, is started again', async () => {
      const shipped = ['systemctl', 'show', '--property=Type,WatchdogUSec,Restart', 'honeyport'];
      assert.equal(output(shipped), 'Type=notify\nRestart=on-failure\nWatchdogUSec=30s\n');
      host.writeFile(IMPATIENCE, '[Service]\nWatchdogSec=2\nRestartSec=100ms\n');
      output(['systemctl', 'daemon-reload']);
      output(['systemctl', 'restart', 'honeyport']);
      await showsLife(host);
      for (const signal of ['STOP', 'KILL']) {
        const pid = mainPid(host, 'honeyport');
        output(['kill', `-${signal}`, pid]);
        await waitFor(() => isActive(host) && ![pid, '0'].includes(mainPid(host, 'honeyport')), {
          deadlineMs: DEADLINE_MS,
          everyMs: 100,
          what: () => `another process after SIG${signal}:\n${host.journal('honeyport')}`,
        });
      }
      await becomes(host, TELNET, 'listens');
      output(['rm', '-r', '/run/systemd/system/honeyport.service.d']);
      output(['systemctl', 'daemon-reload']);
    });

    await step('with sockets of systemd the service has no capability, and logs who knocks', async () => {
      honeyport(host, 'install', '--yes', '--sockets');
      assert.equal(output(['systemctl', 'is-active', 'honeyport', 'honeyport.socket']), 'active\nactive\n');
      const status = statusOf(host, mainPid(host, 'honeyport'));
      for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        assert.equal(status[set], NO_CAPABILITY, set);
      assert.equal(await reach(host, THIRD_KNOCKER, TELNET), 'open');
      await shutOut(host, THIRD_KNOCKER);
      assert.match(readFile(LOG), new RegExp(`: connect src=${THIRD_KNOCKER} .* syn=`));
    });

    await step('a jail that reads the journal bans as well', async () => {
      const written = readFile(CONFIGURATION);
      host.writeFile(CONFIGURATION, `${written.trimEnd()}\n  console: line\n`);
      host.writeFile(JOURNAL_JAIL.path, JOURNAL_JAIL.text);
      output(['systemctl', 'reload', 'honeyport']);
      output(['fail2ban-client', 'reload']);
      await jailsRun(host, ['honeyport', 'honeyport-journal', 'sshd']);
      assert.equal(await reach(host, FOURTH_KNOCKER, TELNET), 'open');
      const banned = () => output(['fail2ban-client', 'get', 'honeyport-journal', 'banip']).split(/\s+/);
      await waitFor(() => banned().includes(FOURTH_KNOCKER), {
        deadlineMs: DEADLINE_MS,
        everyMs: 100,
        what: () => `a ban by the journal:\n${host.journal('honeyport')}`,
      });
      output(['rm', JOURNAL_JAIL.path]);
      host.writeFile(CONFIGURATION, written);
      output(['fail2ban-client', 'reload']);
      output(['systemctl', 'reload', 'honeyport']);
    });

    await step('uninstall lets everybody in, and leaves the logs and what is not ours', async () => {
      honeyport(host, 'uninstall', '--yes');
      assert.equal(await reach(host, KNOCKER, SERVICE), 'open');
      assert.notEqual(run(['systemctl', 'is-active', 'honeyport']).code, 0);
      assert.match(readFile(LOG), new RegExp(`src=${KNOCKER.replaceAll('.', '\\.')}`));
      await jailsRun(host, ['sshd']);
      assert.deepEqual(jails(host), ['sshd']);
      for (const [path, text] of Object.entries(OWN_FILES)) assert.equal(readFile(path), text, path);
    });

    await step('uninstall --purge leaves nothing', async () => {
      honeyport(host, 'uninstall', '--yes', '--purge');
      assert.deepEqual(changes(before.files, snapshot(host)), []);
      assert.deepEqual(changes(before.names, named(host)), []);
      assert.notEqual(run(['id', 'honeyport']).code, 0, 'its user is gone');
      assert.doesNotMatch(output(['nft', 'list', 'ruleset']), /honeyport/);
      assert.doesNotMatch(output(['systemctl', 'list-units', '--all', '--plain']), /honeyport/);
      assert.match(honeyport(host, 'uninstall', '--yes').stdout, /^nothing to do$/m);
      output(['systemctl', 'restart', 'fail2ban']);
      await jailsRun(host, ['sshd']);
    });
  });
}

/** A server with fail2ban in use and the package installed. */
async function setHost(context: TestContext, release: DebianRelease): Promise<Container> {
  const host = await startContainer(context, { release });
  host.network.addSources('198.18.0.0/24');
  for (const [path, text] of Object.entries(OWN_FILES)) host.writeFile(path, text);
  host.output(['systemctl', 'restart', 'fail2ban', 'rsyslog']);
  await jailsRun(host, ['sshd']);
  installPackage(host);
  return host;
}

/** Runs the installed program, which is to succeed. */
function honeyport(host: Container, ...args: string[]): { stdout: string; stderr: string } {
  const { code, stdout, stderr } = host.run(['honeyport', ...args]);
  assert.equal(code, 0, `honeyport ${args.join(' ')}:\n${stdout}${stderr}${host.journal('honeyport')}`);
  return { stdout, stderr };
}

async function jailsRun(host: Container, names: readonly string[]): Promise<void> {
  await waitFor(() => names.every((name) => host.run(['fail2ban-client', 'status', name]).code === 0), {
    deadlineMs: DEADLINE_MS,
    everyMs: 100,
    what: () => `the jails ${names.join(', ')}:\n${host.journal('fail2ban')}`,
  });
}

function jails(host: Container): string[] {
  const list = /Jail list:\s*(.*)$/m.exec(host.output(['fail2ban-client', 'status']))?.[1] ?? '';
  return list.split(/[\s,]+/).filter(Boolean);
}

function mainPid(host: Container, unit: string): string {
  return host.output(['systemctl', 'show', '--property=MainPID', '--value', unit]).trim();
}

function isActive(host: Container): boolean {
  return host.run(['systemctl', 'is-active', 'honeyport']).stdout === 'active\n';
}

/** Waits for two signs of life from one process; without any, systemd would start it again and again. */
async function showsLife(host: Container): Promise<void> {
  const pid = mainPid(host, 'honeyport');
  const shown = ['systemctl', 'show', '--property=WatchdogTimestampMonotonic', '--value', 'honeyport'];
  const signs = new Set<string>();
  await waitFor(() => signs.add(host.output(shown)).size > 2, {
    deadlineMs: DEADLINE_MS,
    everyMs: 100,
    what: () => `signs of life:\n${host.journal('honeyport')}`,
  });
  assert.equal(mainPid(host, 'honeyport'), pid, host.journal('honeyport'));
}

function statusOf(host: Container, pid: string): Record<string, string> {
  const lines = host.readFile(`/proc/${pid}/status`).split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s+(.*)/s).slice(0, 2)));
}

function reach(host: Container, from: string, port: number): Promise<string> {
  return host.network.connect({ from, to: host.network.sensor.ipv4, port, timeoutMs: SILENCE_MS });
}

async function shutOut(host: Container, from: string): Promise<void> {
  await waitFor(async () => (await reach(host, from, SERVICE)) === 'timeout', {
    deadlineMs: DEADLINE_MS,
    everyMs: 100,
    what: () => `the ban of ${from}:\n${host.run(['tail', '/var/log/fail2ban.log']).stdout}`,
  });
}

/** Looks from the host itself, which is never banned. */
async function becomes(host: Container, port: number, state: 'listens' | 'refuses'): Promise<void> {
  const sockets = () =>
    host.output(['ss', '--no-header', '--listening', '--tcp', '--numeric', `sport = :${port}`]);
  await waitFor(() => (sockets() !== '') === (state === 'listens'), {
    deadlineMs: DEADLINE_MS,
    everyMs: 100,
    what: () => `port ${port}, which ${state}:\n${host.journal('honeyport')}`,
  });
}

/** Written anew by the tools of others; whether anything of ours is in there, `named` finds out. */
const CHANGING = [
  '/etc/.pwd.lock',
  '/etc/group-',
  '/etc/gshadow-',
  '/etc/passwd-',
  '/etc/shadow-',
  '/usr/local/bin/node',
  '/var/lib/fail2ban',
  '/var/lib/logrotate',
  '/var/lib/systemd',
  '/var/log/fail2ban.log',
  '/var/log/journal',
];
/** rsyslog makes a log when it has the first line for it. */
const LOGS_OF_OTHERS = /^\/var\/log\/(auth|cron|daemon|debug|kern|mail|messages|syslog|user)(\.log)?$/;
const WATCHED = ['/etc', '/usr/local', '/var/lib', '/var/log'];

/** What is there, a line each: type, mode, owner, path and target of links; and what is in the files. */
function snapshot(host: Container): string[] {
  const changing = CHANGING.flatMap((path) => ['-path', path, '-prune', '-o']);
  const list = (...action: string[]) => host.output(['find', ...WATCHED, ...changing, ...action]).split('\n');
  const entries = list('-printf', '%p %M %u:%g %l\n');
  const contents = list('-type', 'f', '-exec', 'sha256sum', '{}', '+').map(
    (line) => `${line.slice(66)} ${line.slice(0, 64)}`,
  );
  const names = entries.filter((line) => !LOGS_OF_OTHERS.test(line.split(' ')[0]!));
  // what runs writes into its logs
  return [...names, ...contents.filter((line) => !line.startsWith('/var/log/'))].sort();
}

function changes(before: readonly string[], after: readonly string[]): string[] {
  const missing = before.filter((line) => !after.includes(line)).map((line) => `- ${line}`);
  return [...missing, ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`)];
}

/** Whatever bears our name, besides the package, what the kernel shows, and a lock that the next boot takes. */
function named(host: Container): string[] {
  const others = [
    '/proc',
    '/run/honeyport-install.lock',
    '/sys',
    '/tmp',
    '/usr/local/bin/honeyport',
    '/usr/local/lib/node_modules',
  ];
  const pruned = others.flatMap((path) => ['-path', path, '-prune', '-o']);
  return host
    .output(['find', '/', ...pruned, '-iname', '*honeyport*', '-print'])
    .split('\n')
    .filter(Boolean);
}
