import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isCutOff } from '../../src/installation/compare-installed.ts';
import { recover } from '../../src/setup/recover.ts';
import { install, makeRoot, snapshot, uninstall, writeBelow } from '../setup/support.ts';
import { CLI } from '../support/listener.ts';
import { runOnPrivateHost } from '../support/private-host.ts';
import { freeBytes, mountTinyDisk } from '../support/tiny-disk.ts';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const JAIL = '/etc/fail2ban/jail.d/honeyport.conf';

/** Carries a plan out and kills itself with SIGKILL before a step; prints the number of steps when it comes to its end. */
const SUICIDAL = `
import { appendFileSync } from 'node:fs';
const [dist, verb, root, at, ...guardian] = process.argv.slice(2);
const { setUp } = await import(dist + '/setup/setup.js');
const { planInstall } = await import(dist + '/setup/plan-install.js');
const { planUninstall } = await import(dist + '/setup/plan-uninstall.js');
const plan = () => verb === 'install'
  ? planInstall({ root, version: '2.0.0', observe: false, sockets: false, senders: [] })
  : planUninstall({ root, purge: true });
let step = 0;
const onStep = (text) => { step += 1; if (step === Number(at) || text === at) process.kill(process.pid, 'SIGKILL'); };
await setUp({ root, plan, guardian, onStep, onRecovery() {}, confirm: async () => true });
console.log(step);
`;

const GUARDIAN = (root: string) => [process.execPath, CLI, 'guard-installation', '--root', root];
/** Says that it is ready, and is gone: as if the power failed, and took the guardian, too. */
const NO_GUARDIAN = ['/bin/sh', '-c', 'echo ready'];

function runSuicidal(verb: string, root: string, at: number, guardian: readonly string[]) {
  const script = [
    '--input-type=module',
    '-e',
    SUICIDAL,
    '--',
    'x',
    DIST,
    verb,
    root,
    String(at),
    ...guardian,
  ];
  // returns when the guardian, which has our standard error, has ended as well
  return spawnSync(process.execPath, script, { encoding: 'utf8', timeout: 60_000 });
}

/** An older installation with files of the administrator's. */
async function makeOldInstallation(context: TestContext): Promise<string> {
  const root = makeRoot(context, { '/etc/fail2ban/jail.d/honeyport.local': '[honeyport]\nenabled = true\n' });
  await install(root, { version: '1.0.0' });
  for (const path of [JAIL, '/etc/logrotate.d/honeyport'])
    writeBelow(root, path, '# Author:  the honeyport project\n# edited\n');
  return root;
}

test('an upgrade that is killed before any of its steps is brought back by its guardian', async (context) => {
  const root = await makeOldInstallation(context);
  const before = snapshot(root);
  let at = 0;
  for (;;) {
    at += 1;
    const { signal, stdout, stderr } = runSuicidal('install', root, at, GUARDIAN(root));
    if (signal === null) {
      assert.equal(stdout, `${at - 1}\n`, stderr);
      break;
    }
    // before the first step there is a journal, and no change
    assert.match(
      stderr,
      /^honeyport: warning: install was cut off: everything was brought back/m,
      `step ${at}`,
    );
    assert.deepEqual(snapshot(root), before, `step ${at}`);
  }
  assert.ok(at > 5, `${at} steps`);
});

test('an uninstall that is killed with its guardian is brought back by whoever comes next', async (context) => {
  const root = makeRoot(context);
  const empty = snapshot(root);
  await install(root);
  const before = snapshot(root);
  for (let at = 1; ; at += 2) {
    if (runSuicidal('uninstall', root, at, NO_GUARDIAN).signal === null) break;
    assert.ok(isCutOff(root), `step ${at}`);
    assert.equal((await recover(root))?.way, 'back');
    assert.deepEqual(snapshot(root), before, `step ${at}`);
  }
  assert.deepEqual(Object.keys(snapshot(root)), Object.keys(empty));
});

test('the next command tells that an installation was cut off, and goes on from what was before', async (context) => {
  const root = await makeOldInstallation(context);
  runSuicidal('install', root, 4, NO_GUARDIAN);
  const shown = honeyport('install', '--dry-run', '--root', root);
  assert.match(shown.stderr, /an installation was cut off; the next one brings it back first/);
  const { status, stderr } = honeyport('install', '--yes', '--root', root);
  assert.match(stderr, /^honeyport: warning: install was cut off: everything was brought back/m);
  assert.equal(status, 0, stderr);
  assert.equal((await uninstall(root)).kind, 'done');
});

test('a full disk leaves everything as it was', async (context) => {
  const root = mountTinyDisk(context, 240);
  for (const folder of ['etc/fail2ban', 'etc/logrotate.d', 'var/lib', 'usr/lib/systemd/system'])
    writeBelow(root, `${folder}/mine`, 'mine\n');
  const before = snapshot(root);
  writeBelow(root, 'filler', 'x'.repeat(Math.max(0, freeBytes(root) - 100_000)));
  const filled = snapshot(root);
  const { status, stderr } = honeyport('install', '--yes', '--root', root);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /ENOSPC/);
  assert.match(stderr, /everything is as it was before/);
  assert.deepEqual(snapshot(root), filled);
  assert.ok(!('etc/honeyport' in before), 'nothing of ours');
});

for (const folder of ['etc/fail2ban', 'etc/logrotate.d', 'usr/local', 'var/lib']) {
  test(`where ${folder} is read-only, everything stays as it was`, (context) => {
    const root = makeRoot(context);
    for (const other of ['usr/local', 'var/lib']) writeBelow(root, `${other}/mine`, 'mine\n');
    const before = snapshot(root);
    mountReadOnly(context, join(root, folder));
    const { status, stderr } = honeyport('install', '--yes', '--root', root);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /EROFS/);
    assert.deepEqual(snapshot(root), before);
  });
}

test('without a terminal and without --yes the plan is shown and nothing is done', (context) => {
  const root = makeRoot(context);
  const before = snapshot(root);
  const { status, stdout, stderr } = honeyport('install', '--root', root);
  assert.equal(status, 2);
  assert.match(stdout, /^\+ \/etc\/fail2ban\/filter\.d\/honeyport\.conf$/m);
  assert.match(stderr, /expected --yes, since there is no terminal to ask on/);
  assert.deepEqual(snapshot(root), before);
});

/** Unmounted when the test ends. */
function mountReadOnly(context: TestContext, directory: string): void {
  execFileSync('mount', ['--bind', directory, directory]);
  context.after(() => execFileSync('umount', ['-l', directory]));
  execFileSync('mount', ['-o', 'remount,bind,ro', directory]);
}

function honeyport(...args: string[]) {
  return spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8', timeout: 60_000 });
}

/** fail2ban with a jail of the administrator's in which somebody is banned, and what is in /etc by then. */
const WITH_FAIL2BAN = `
: > /var/log/x.log
cat > /etc/fail2ban/jail.d/x.local <<END
[x]
enabled = true
filter = sshd
backend = polling
logpath = /var/log/x.log
banaction = nftables
END
fail2ban-server -b start > /dev/null 2>&1
for i in $(seq 100); do fail2ban-client ping > /dev/null 2>&1 && break; sleep 0.1; done
fail2ban-client set x banip 198.51.100.9 > /dev/null
etc() {
  find /etc -type f ! -name '*-' ! -name .pwd.lock ! -name passwd ! -name group ! -name shadow ! -name gshadow > "$W/names"
  xargs stat -c '%n %a %s %y' < "$W/names" | sort; xargs sha256sum < "$W/names" | sort
  cut -d: -f1 /etc/passwd /etc/group
  find /etc /var/lib /var/log/honeyport /usr/local /run -type d 2> /dev/null | sort
}
jails() { fail2ban-client status | sed -n 's/.*Jail list:.//p'; }
theirs() { fail2ban-client get x banip; }
etc > "$W/before"
`;

test('on a host an installation starts our jail and ends it again, and no other jail loses a ban', () => {
  const { code, stdout, stderr } = runOnPrivateHost(`${WITH_FAIL2BAN}
honeyport install --yes --observe > /dev/null
echo "installed: $(jails), $(theirs), $(stat -c '%a %U' /var/log/honeyport /var/log/honeyport/honeyport.log | xargs)"
fail2ban-client get honeyport action honeyport_nftables mode
sed -i 's/^    def mode(self):/    def mode(self):\\n        return "old code"\\n    def old_mode(self):/' /etc/fail2ban/action.d/honeyport_nftables.py
fail2ban-client reload --restart honeyport > /dev/null
fail2ban-client get honeyport action honeyport_nftables mode
honeyport install --yes > /dev/null
fail2ban-client get honeyport action honeyport_nftables mode
rm /etc/fail2ban/action.d/honeyport_nftables.py~
echo "upgraded: $(jails), $(theirs)"
honeyport install --yes
nft list tables | grep honeyport
honeyport uninstall --yes > /dev/null
echo "uninstalled: $(jails), $(theirs), $(nft list tables | grep -c honeyport)"
etc | diff "$W/before" - && echo same
fail2ban-client stop > /dev/null`);
  const lines = stdout
    .split('\n')
    .filter((line) => /^(installed|upgraded|uninstalled|observe|old code|nothing|table|same)/.test(line));
  assert.deepEqual(
    lines,
    [
      'installed: honeyport, x, 198.51.100.9, 750 honeyport 640 honeyport',
      'observe',
      'old code',
      'observe',
      'upgraded: honeyport, x, 198.51.100.9',
      'nothing to do',
      'table inet honeyport',
      'uninstalled: x, 198.51.100.9, 0',
      'same',
    ],
    `${code}\n${stdout}\n${stderr}`,
  );
});

test('a configuration that is wrong before is said, and one that would be wrong after is brought back', () => {
  const { stdout, stderr } = runOnPrivateHost(`${WITH_FAIL2BAN}
echo 'no section' > /etc/fail2ban/jail.d/broken.local
honeyport install --yes > /dev/null || echo "broken before: $?"
rm /etc/fail2ban/jail.d/broken.local
etc | diff "$W/before" - && echo same
printf '[honeyport]\\nenabled = true\\nbanaction = nosuchaction\\n' > /etc/fail2ban/jail.d/honeyport.local
honeyport install --yes > /dev/null || echo "broken after: $?"
rm /etc/fail2ban/jail.d/honeyport.local
etc | diff "$W/before" - && echo same
echo "jails: $(jails), $(theirs)"
mkdir -p /etc/honeyport; echo 'decoys: 7' > /etc/honeyport/honeyport.yaml
honeyport install --yes > /dev/null || echo "our own: $?"
rm -r /etc/honeyport
etc | diff "$W/before" - && echo same
fail2ban-client stop > /dev/null`);
  assert.deepEqual(
    stdout.split('\n').filter((line) => /^(broken|same|jails|our own)/.test(line)),
    ['broken before: 1', 'same', 'broken after: 1', 'same', 'jails: x, 198.51.100.9', 'our own: 2', 'same'],
    `${stdout}\n${stderr}`,
  );
  assert.match(stderr, /no section/, 'what fail2ban said');
  assert.match(stderr, /nosuchaction/);
  assert.match(stderr, /everything is as it was before/);
});

test('uninstall that would leave a jail without its filter, or without its action, is brought back', () => {
  const { stdout, stderr } = runOnPrivateHost(`${WITH_FAIL2BAN}
honeyport install --yes > /dev/null
etc > "$W/installed"
for setting in 'bantime = 1w' 'filter = sshd
logpath = /var/log/x.log'; do
  cp -p /etc/fail2ban/jail.d/honeyport.local "$W/saved"
  printf '[honeyport]\\nenabled = true\\naction = honeyport_rotation.py\\n%s\\n' "$setting" > /etc/fail2ban/jail.d/honeyport.local
  honeyport uninstall --yes > "$W/plan" || echo "refused: $?"
  grep 'stays and names honeyport' "$W/plan"
  cp -p "$W/saved" /etc/fail2ban/jail.d/honeyport.local
  etc | diff "$W/installed" - && echo same
done
echo "jails: $(jails), $(theirs)"
fail2ban-client stop > /dev/null`);
  assert.deepEqual(
    stdout.split('\n').filter((line) => /^(refused|same|jails)/.test(line)),
    ['refused: 1', 'same', 'refused: 1', 'same', 'jails: honeyport, x, 198.51.100.9'],
    `${stdout}\n${stderr}`,
  );
  assert.match(stdout, /honeyport\.local stays and names honeyport/);
});

/** The program above, as a file of the private host's; `killed` returns when the guardian has ended, too. */
const KILL_AT = `
cat > "$W/suicidal.mjs" <<'END'
${SUICIDAL}
END
killed() { node "$W/suicidal.mjs" "${DIST}" "$1" / "$2" node "$(readlink /usr/local/bin/honeyport)" guard-installation --root / 2>&1 > /dev/null | cat > "$W/said"; }
`;

test('killed while fail2ban is told, an installation is brought back with its jails and users', () => {
  const reload = 'fail2ban-client reload, of what is ours';
  const { stdout, stderr } = runOnPrivateHost(`${WITH_FAIL2BAN}${KILL_AT}
for step in '${reload}' done; do
  killed install "$step"
  grep -o 'install was cut off' "$W/said"
  etc | diff "$W/before" - && echo "same: $(jails), $(theirs), $(nft list tables | grep -c 'inet honeyport')"
done
honeyport install --yes > /dev/null
fail2ban-client set honeyport banip 198.51.100.7 > /dev/null
etc > "$W/installed"
killed uninstall done
etc | diff "$W/installed" - && echo "back: $(jails), $(theirs), $(fail2ban-client get honeyport banip)"
fail2ban-client stop > /dev/null`);
  assert.deepEqual(
    stdout.split('\n').filter((line) => line !== ''),
    [
      'install was cut off',
      'same: x, 198.51.100.9, 0',
      'install was cut off',
      'same: x, 198.51.100.9, 0',
      'back: honeyport, x, 198.51.100.9, 198.51.100.7',
    ],
    `${stdout}\n${stderr}`,
  );
});

test('a service that does not start is disabled again, and everything is brought back', () => {
  const { stdout, stderr } = runOnPrivateHost(`
mkdir -p /run/systemd/system
cat > /usr/local/bin/systemctl <<'END'
#!/bin/sh
echo "$*" >> /run/systemctl.calls
case $1 in is-enabled | is-active) exit 1 ;; enable) echo 'Job for honeyport.service failed' >&2; exit 1 ;; esac
END
chmod +x /usr/local/bin/systemctl
files() { find /etc /var/lib /var/log /usr/local /run ! -name systemctl.calls ! -name '*-' ! -name .pwd.lock | sort; }
files > "$W/before"
honeyport install --yes > /dev/null || echo "failed: $?"
files | diff "$W/before" - && echo same
id honeyport 2>&1
cat /run/systemctl.calls`);
  const calls = stdout.split('\n').filter((line) => line !== '');
  assert.deepEqual(
    calls.slice(0, 3),
    ['failed: 1', 'same', 'id: ‘honeyport’: no such user'],
    `${stdout}\n${stderr}`,
  );
  assert.deepEqual(
    calls.slice(3).filter((call) => !call.startsWith('is-')),
    [
      'daemon-reload',
      'enable --now honeyport.service',
      'stop honeyport.service',
      'disable honeyport.service',
      'daemon-reload',
    ],
  );
  assert.match(stderr, /Job for honeyport\.service failed/);
  assert.match(stderr, /hint: journalctl -u honeyport\.service says why/);
});

test('a log that a user made a link of is not made through it', () => {
  const { stdout, stderr } = runOnPrivateHost(`
useradd --system --user-group honeyport
install -d -o honeyport -g honeyport -m 0750 /var/log/honeyport
ln -s /etc/cron.d/evil /var/log/honeyport/honeyport.log
honeyport install --yes > /dev/null || echo "failed: $?"
[ -e /etc/cron.d/evil ] || echo 'not there'
[ -L /var/log/honeyport/honeyport.log ] && echo 'still theirs'`);
  assert.deepEqual(stdout.split('\n').slice(0, 3), ['failed: 1', 'not there', 'still theirs'], stderr);
});

test('a host on which the service could not find honeyport is told so, and nothing is changed', () => {
  const { stdout, stderr } = runOnPrivateHost(`
files() { find /etc /var/lib /var/log /usr/local /run ! -name systemctl.calls ! -name '*-' ! -name .pwd.lock | sort; }
files > "$W/before"
program=$(readlink /usr/local/bin/honeyport); rm /usr/local/bin/honeyport
node "$program" install --yes > /dev/null || echo "refused: $?"
ln -s "$program" /usr/local/bin/honeyport
files | diff "$W/before" - && echo same`);
  assert.deepEqual(stdout.split('\n').slice(0, 2), ['refused: 2', 'same'], `${stdout}\n${stderr}`);
  assert.match(stderr, /expected honeyport in \/usr\/local\/sbin, .*npm install --global/);
});

test('the tests leave no installation on this machine', () => {
  for (const path of ['/var/lib/honeyport/installed.json', '/run/honeyport-install.lock'])
    assert.ok(!existsSync(join('/', path)), path);
});
