import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeFail2banConfiguration } from '../../src/demo/fail2ban-configuration.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { SHIPPED_DIR } from '../support/fail2ban.ts';

/** A host's /etc/fail2ban, with a configuration for the demo made from it. */
function configure(context: TestContext, host: Readonly<Record<string, string>>) {
  const stock = temporaryDirectory(context);
  const directory = temporaryDirectory(context);
  for (const part of ['filter.d', 'action.d', 'jail.d']) mkdirSync(join(stock, part));
  for (const [name, text] of Object.entries(host)) writeFileSync(join(stock, name), text);
  const make = () =>
    writeFail2banConfiguration({
      directory,
      stock,
      shipped: SHIPPED_DIR,
      listenerLog: join(directory, 'honeyport.log'),
      banSeconds: 8,
    });
  return { stock, directory, make };
}

const STOCK = { 'fail2ban.conf': '[Definition]\n', 'jail.conf': '[DEFAULT]\nbantime = 10m\n[sshd]\n' };

test("what the administrator and other packages have added is not in the demo's configuration", (context) => {
  const { make } = configure(context, {
    ...STOCK,
    'jail.local': '[sshd]\nenabled = true\n',
    'fail2ban.local': '[Definition]\nlogtarget = SYSLOG\n',
    'jail.d/defaults-debian.conf': '[sshd]\nenabled = true\n',
    'filter.d/common.conf': '',
    'filter.d/common.local': '',
    'filter.d/honeyport.local': '[Definition]\nfailregex = never\n',
    'action.d/honeyport_nftables.py': 'of another version',
  });
  const { configuration } = make();
  assert.deepEqual(readdirSync(join(configuration, 'jail.d')), ['honeyport.conf']);
  assert.deepEqual(readdirSync(join(configuration, 'filter.d')), ['common.conf', 'honeyport.conf']);
  assert.deepEqual(
    readFileSync(join(configuration, 'action.d/honeyport_nftables.py')),
    readFileSync(join(SHIPPED_DIR, 'action.d/honeyport_nftables.py')),
  );
  assert.doesNotMatch(readFileSync(join(configuration, 'fail2ban.local'), 'utf8'), /SYSLOG/);
});

test('a jail.conf that was changed enables no jail, and none of its actions is taken', (context) => {
  const changed =
    '[INCLUDES]\nbefore = paths-debian.conf\n[DEFAULT]\naction = %(action_mwl)s\nignoreip = 192.0.2.0/24\n[sshd]\nenabled = true\n[nginx-http-auth]\nenabled = true\n';
  const { directory, make } = configure(context, { ...STOCK, 'jail.conf': changed });
  const text = readFileSync(join(make().configuration, 'jail.local'), 'utf8');
  assert.match(text, /^\[sshd\]\nenabled = false\n\[nginx-http-auth\]\nenabled = false\n\n\[honeyport\]\n/);
  assert.match(text, /^action = %\(banaction\)s\n {9}honeyport_rotation\.py$/m);
  assert.match(text, /^ignoreip =$/m);
  assert.ok(text.includes(`logpath = ${directory}/honeyport.log\n`), text);
});

test('everything that fail2ban writes is in the given directory', (context) => {
  const { directory, make } = configure(context, STOCK);
  const { configuration, ...files } = make();
  const settings = readFileSync(join(configuration, 'fail2ban.local'), 'utf8');
  for (const key of ['logtarget', 'socket', 'pidfile', 'dbfile'])
    assert.match(settings, new RegExp(`^${key} = ${directory}/\\S+$`, 'm'), key);
  for (const path of Object.values(files)) assert.ok(path.startsWith(`${directory}/`), path);
});

test('a symbolic link in /etc/fail2ban is not written through', (context) => {
  const elsewhere = join(temporaryDirectory(context), 'honeyport.conf');
  writeFileSync(elsewhere, 'an installed file');
  const { stock, make } = configure(context, STOCK);
  symlinkSync(elsewhere, join(stock, 'filter.d/honeyport.conf'));
  make();
  assert.equal(readFileSync(elsewhere, 'utf8'), 'an installed file');
});

test('without stock files the error says what brings them back', (context) => {
  const { stock, make } = configure(context, { 'fail2ban.conf': '' });
  assert.throws(make, {
    name: 'UserError',
    message: `expected fail2ban's stock configuration in ${stock}, got no jail.conf`,
    hint: 'apt-get install --reinstall fail2ban',
  });
});
