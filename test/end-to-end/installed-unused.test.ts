import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SERVICE, startService } from '../support/bans.ts';
import { type Container, startContainer } from '../support/container.ts';
import { DEBIAN_RELEASES, type DebianRelease } from '../support/debian-root.ts';
import { installPackage } from '../support/installed-package.ts';
import { waitFor } from '../support/wait.ts';

const CONFIGURATION = '/etc/honeyport/honeyport.yaml';
const LOG = '/var/log/honeyport/honeyport.log';
const MEMORY = '/var/lib/honeyport/rules/ports.json';
const [TIMER, UNIT] = ['honeyport-rules.timer', 'honeyport-rules.service'];
const TABLE = ['nft', 'list', 'table', 'inet', 'honeyport_unused'];
/** Without what is in sets. */
const RULES = ['nft', '-t', 'list', 'table', 'inet', 'honeyport_unused'];
const NOBODYS = 4444;
const [KNOCKER, SECOND_KNOCKER] = ['198.18.0.1', '198.18.0.2'];
const SILENCE_MS = 500;
/** The timer waits for a minute. */
const DEADLINE_MS = 100_000;

for (const release of DEBIAN_RELEASES) {
  test(`on ${release}, with its own systemd, unused ports are a decoy from install to uninstall`, async (context) => {
    const host = await setHost(context, release);
    const { output, run, readFile, network } = host;
    const step = (title: string, check: () => unknown) =>
      context.test(title, async () => {
        await check();
      });
    await startService(network);

    await step('install turns the timer on, which loads nothing yet', () => {
      const { stdout } = honeyport(host, 'install', '--yes');
      assert.match(stdout, new RegExp(`^> systemctl enable --now ${TIMER}$`, 'm'));
      assert.equal(output(['systemctl', 'is-enabled', TIMER]), 'enabled\n');
      assert.equal(output(['systemctl', 'is-active', TIMER]), 'active\n');
      assert.match(honeyport(host, 'install', '--yes').stdout, /^nothing to do$/m);
    });

    await step('the service loads the rules, remembers ports in use, and has nothing to say', () => {
      output(['systemctl', 'start', UNIT]);
      assert.match(output(TABLE), / tproxy to :65535 /);
      assert.match(output(TABLE), new RegExp(`elements = \\{[^}]*\\b${SERVICE}\\b`));
      assert.equal(output(['stat', '--format=%U:%G %a', MEMORY]), 'root:root 600\n');
      assert.ok(JSON.parse(readFile(MEMORY)).ports[SERVICE]);
      assert.match(host.journal(UNIT), /^-- No entries --$|^$/m);
    });

    await step('doctor finds nothing, and says that it is so', () => {
      const { stdout } = honeyport(host, 'doctor');
      assert.match(
        stdout,
        /^ok +unused +what is for unused ports is handed over to the listener at port 65535/m,
      );
    });

    await step('doctor can knock at an unused port', () => {
      const { stdout } = honeyport(host, 'doctor', '--knock');
      assert.match(stdout, /^ok +knock +IPv4: \S+ connected to port 7 /m);
    });

    await step(
      'who contacts a port that nobody uses is logged and banned, and services are reached',
      async () => {
        assert.equal(await reach(host, SECOND_KNOCKER, SERVICE), 'open');
        assert.equal(await reach(host, KNOCKER, NOBODYS), 'open');
        await waitFor(() => readFile(LOG).includes(` src=${KNOCKER} `), {
          deadlineMs: DEADLINE_MS,
          what: 'its line',
        });
        assert.match(
          readFile(LOG),
          new RegExp(`: connect src=${KNOCKER} .* dpt=${NOBODYS} .* decoy=unused `),
        );
        await waitFor(async () => (await reach(host, KNOCKER, SERVICE)) === 'timeout', {
          deadlineMs: DEADLINE_MS,
          what: 'its ban',
        });
        assert.equal(await reach(host, SECOND_KNOCKER, SERVICE), 'open');
      },
    );

    await step('a wrong configuration and a damaged kernel leave the rules as they are, and are told', () => {
      const written = readFile(CONFIGURATION);
      const before = output(RULES);
      host.writeFile(CONFIGURATION, `${written}more: 1\n`);
      assert.notEqual(run(['systemctl', 'start', UNIT]).code, 0);
      assert.match(host.journal(UNIT), /honeyport: error: .*honeyport\.yaml:\d+:\d+: /);
      host.writeFile(CONFIGURATION, written);
      output(['mkdir', '-p', '/usr/local/sbin']);
      host.writeFile(
        '/usr/local/sbin/nft',
        '#!/bin/sh\necho "Error: No such file or directory" >&2\nexit 1\n',
      );
      output(['chmod', '755', '/usr/local/sbin/nft']);
      assert.notEqual(run(['systemctl', 'start', UNIT]).code, 0);
      assert.match(
        host.journal(UNIT),
        /honeyport: hint: honeyport doctor tells what the kernel or nft lacks/,
      );
      output(['rm', '/usr/local/sbin/nft']);
      assert.equal(output(RULES), before);
      output(['systemctl', 'start', UNIT]);
    });

    if (release === 'debian13') {
      await step(
        'after a boot the timer loads them, not before a minute is over, and knows what was in use',
        async () => {
          const remembered = 9999;
          const ports = {
            ...JSON.parse(readFile(MEMORY)).ports,
            [remembered]: Math.floor(Date.now() / 1000),
          };
          host.writeFile(MEMORY, JSON.stringify({ version: 1, ports }));
          await host.reboot();
          assert.equal(output(['systemctl', 'is-active', TIMER]), 'active\n');
          assert.notEqual(run(TABLE).code, 0, 'too early');
          const next = ['systemctl', 'show', '--property=NextElapseUSecMonotonic', '--value', TIMER];
          assert.match(output(next), /^(?:1min|6\d|.*min)/);
          await waitFor(() => run(TABLE).code === 0, {
            deadlineMs: DEADLINE_MS,
            everyMs: 500,
            what: () => `the rules:\n${host.journal(UNIT)}`,
          });
          assert.equal(await reach(host, SECOND_KNOCKER, NOBODYS), 'open');
        },
      );
    }

    await step('uninstall takes the rules, the timer and the memory away', () => {
      honeyport(host, 'uninstall', '--yes', '--purge');
      assert.notEqual(run(TABLE).code, 0);
      assert.notEqual(run(['systemctl', 'is-active', TIMER]).code, 0);
      const places = ['/var/lib', '/usr/local/lib', '/etc/systemd'];
      const ofPackage = ['-path', '/usr/local/lib/node_modules', '-prune', '-o'];
      assert.equal(output(['find', ...places, ...ofPackage, '-name', '*honeyport-rules*', '-print']), '');
      assert.notEqual(run(['ls', '/var/lib/honeyport']).code, 0);
      assert.doesNotMatch(output(['systemctl', 'list-units', '--all', '--plain']), /honeyport/);
    });
  });
}

/** A server with fail2ban in use, the package installed, and a configuration of its own. */
async function setHost(context: TestContext, release: DebianRelease): Promise<Container> {
  const host = await startContainer(context, { release });
  host.network.addSources('198.18.0.0/24');
  // Debian 12's own jail names a log that Debian 12 has not
  host.writeFile('/etc/fail2ban/jail.local', '[sshd]\nbackend = systemd\n');
  host.output(['systemctl', 'restart', 'fail2ban']);
  installPackage(host);
  host.writeFile(CONFIGURATION, 'decoys:\n  - { ports: unused }\n');
  return host;
}

/** Runs the installed program, which is to succeed. */
function honeyport(host: Container, ...args: string[]): { stdout: string; stderr: string } {
  const { code, stdout, stderr } = host.run(['honeyport', ...args]);
  assert.equal(code, 0, `honeyport ${args.join(' ')}:\n${stdout}${stderr}${host.journal('honeyport')}`);
  return { stdout, stderr };
}

function reach(host: Container, from: string, port: number): Promise<string> {
  return host.network.connect({ from, to: host.network.sensor.ipv4, port, timeoutMs: SILENCE_MS });
}
