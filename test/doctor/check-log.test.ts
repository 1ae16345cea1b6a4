import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkClock } from '../../src/doctor/check-clock.ts';
import { checkLog } from '../../src/doctor/check-log.ts';
import { checkLogrotate } from '../../src/doctor/check-logrotate.ts';
import { checkNat } from '../../src/doctor/check-nat.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { connectLine, hostOf, LOG, lineOf, NOW, told, writeTree } from './support.ts';

const USER = { uid: process.getuid!(), gids: [process.getgid!()] };
const STRANGER = { uid: 990, gids: [990] };

function makeLog(context: TestContext, text: string): string {
  const path = join(temporaryDirectory(context), 'log/honeyport.log');
  mkdirSync(dirname(path), { mode: 0o755 });
  chmodSync(dirname(dirname(path)), 0o755);
  writeFileSync(path, text);
  return path;
}

const look = (path: string, user: typeof USER | undefined = USER) => told(checkLog({ path, user, now: NOW }));

test('a log that is there and ends in a line is fine', (context) => {
  const path = makeLog(context, connectLine('198.51.100.7', 1));
  assert.deepEqual(look(path), [`ok: ${path} is there, its last line was written 1 s ago`]);
  writeFileSync(path, '');
  assert.deepEqual(look(path), [`ok: ${path} is there, without a line so far`]);
});

const BROKEN: readonly [string, (path: string) => void, RegExp, typeof USER | undefined][] = [
  [
    'it is missing',
    (path) => rmSync(path),
    /^finding: there is no log \S+: fail2ban 1\.0\.2 does not start without it \| start honeyport/,
    USER,
  ],
  [
    'its directory is missing',
    (path) => rmSync(dirname(path), { recursive: true }),
    /^finding: there is no directory \S+ \| install -d -o honeyport -g honeyport \S+$/m,
    USER,
  ],
  [
    'it is a directory',
    (path) => {
      rmSync(path);
      mkdirSync(path);
    },
    /^finding: \S+ is no regular file \| rm/,
    USER,
  ],
  [
    'it is a link',
    (path) => {
      rmSync(path);
      symlinkSync('/etc/passwd', path);
    },
    /^finding: \S+ is no regular file/,
    USER,
  ],
  [
    'it is torn',
    (path) => writeFileSync(path, `${connectLine('192.0.2.1', 1)}2026-11`),
    /^note: the last line of \S+ is torn/m,
    USER,
  ],
  [
    'others write into it',
    (path) => writeFileSync(path, `${connectLine('192.0.2.1', 1)}\x00\xff binary\nNov 1 sshd: x\n`),
    /^note: 2 of the last 3 lines of \S+ are none of honeyport's/m,
    USER,
  ],
  [
    'its directory is open to the group',
    (path) => chmodSync(dirname(path), 0o775),
    /^finding: \S+ may be written by its group or by everybody \(mode 0775\): logrotate refuses .* \| chmod go-w \S+$/m,
    USER,
  ],
  [
    'the listener may not write it',
    (path) => chmodSync(path, 0o644),
    /^finding: the listener's user \(uid 990\) may not write \S+: \S+honeyport\.log keeps it out \| chown honeyport: /m,
    STRANGER,
  ],
  [
    'the listener may make no file beside it',
    (path) => chmodSync(dirname(path), 0o755),
    /^finding: the listener's user \(uid 990\) may make no file in \S+: .* \| chown honeyport: /m,
    STRANGER,
  ],
];

for (const [what, breakIt, expected, user] of BROKEN) {
  test(`the log check tells that ${what}`, (context) => {
    const path = makeLog(context, connectLine('198.51.100.7', 1));
    breakIt(path);
    const lines = look(path, user).map((line) => line.replace('| rm \\S+', '| rm'));
    assert.match(lines.join('\n').replace('remove it: ', ''), expected);
  });
}

const SHIPPED = `${dirname(LOG)}/*.log {\n    daily\n    nocopytruncate\n    postrotate\n        /bin/true /var/log/x\n    endscript\n}\n`;
const ROTATION: readonly [string, Record<string, string>, RegExp][] = [
  [
    'it is rotated',
    { honeyport: SHIPPED, nginx: '/var/log/nginx/*.log {\n copytruncate\n}\n' },
    /^ok: \/etc\/logrotate\.d\/honeyport rotates \S+, and loses no line of it$/,
  ],
  ['nobody rotates it', {}, /^note: nobody rotates \S+, it grows without end \| cp logrotate\.d\/honeyport/],
  [
    'another log is named',
    { honeyport: '/var/log/other.log {\n}\n' },
    /^finding: \/etc\/logrotate\.d\/honeyport names \/var\/log\/other\.log, but the log is \S+ \| name /,
  ],
  [
    'copytruncate loses lines',
    { honeyport: SHIPPED.replace('nocopy', 'copy') },
    /^finding: \S+ says copytruncate, which loses lines \| /,
  ],
  [
    'two files rotate it',
    { honeyport: SHIPPED, all: '/var/log/*/*.log {\n}\n' },
    /^finding: \S+ is rotated by \S+all and \S+honeyport: /,
  ],
  ['what logrotate passes over does not count', { 'honeyport.dpkg-old': SHIPPED }, /^note: nobody rotates/],
];

for (const [what, files, expected] of ROTATION) {
  test(`the logrotate check tells that ${what}`, (context) => {
    const root = temporaryDirectory(context);
    mkdirSync(join(root, 'etc/logrotate.d'), { recursive: true });
    writeTree(join(root, 'etc/logrotate.d'), files);
    assert.match(
      told(checkLogrotate(hostOf(root), LOG))
        .sort()
        .join('\n'),
      expected,
    );
  });
}

test('where there is no logrotate, the check is skipped', (context) => {
  assert.match(
    told(checkLogrotate(hostOf(temporaryDirectory(context)), LOG))[0]!,
    /^skipped: \/etc\/logrotate\.d cannot be read/,
  );
});

const GATEWAY =
  'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n';
const many = (src: string, count: number, kind?: string, more?: string) =>
  Array.from({ length: count }, (_, n) => connectLine(src, n, kind, more)).join('');
const SOURCES: readonly [string, string, RegExp][] = [
  [
    'peers are themselves',
    many('198.51.100.7', 20) + many('198.51.100.8', 1),
    /^ok: the last 21 connections came from 2 sources, none stands for all$/,
  ],
  [
    'the listener saw a translator',
    many('172.17.0.1', 3, 'withheld', ' reason=nat'),
    /^finding: 172\.17\.0\.1 stands for many peers \(withheld reason=nat\): .* \| have the translator/,
  ],
  [
    'everybody is the gateway',
    many('172.17.0.1', 10),
    /^finding: all of the last 10 connections came from this host's gateway 172\.17\.0\.1: /,
  ],
  ['a gateway that knocked a few times is no translator', many('172.17.0.1', 9), /^ok: /],
  ['one source alone is no translator', many('198.51.100.7', 50), /^ok: /],
  [
    'nobody has knocked',
    lineOf('start version=1 schema=1 decoys=1 ports=1 id=a.1'),
    /^skipped: the end of the log has no connection yet/,
  ],
  ['the log is no log', '\x00'.repeat(5000), /^skipped: the end of the log has no connection yet/],
];

for (const [what, text, expected] of SOURCES) {
  test(`the nat check tells that ${what}`, (context) => {
    const root = temporaryDirectory(context);
    writeTree(root, { 'proc/net/route': GATEWAY, 'proc/net/ipv6_route': '', log: text });
    assert.match(told(checkNat(hostOf(root), join(root, 'log'))).join('\n'), expected);
  });
}

const CLOCKS: readonly [
  string,
  { now?: number; ageMs?: number; outputs?: Record<string, string>; files?: Record<string, string> },
  RegExp,
][] = [
  [
    'the clock is right and synchronized',
    { files: { 'run/systemd/timesync/synchronized': '' } },
    /^ok: it is 2026-11-28T03:00:00\.000\+00:00, and no line of the log is later$/,
  ],
  ['timedatectl knows', { outputs: { timedatectl: 'yes\n' } }, /^ok: [^\n]*$/],
  [
    'nobody synchronizes it',
    { outputs: { timedatectl: 'no\n' } },
    /^note: the clock is not synchronized: .* \| timedatectl set-ntp true/m,
  ],
  [
    'nobody knows whether it is synchronized',
    {},
    /^skipped: whether the clock is synchronized is not known/m,
  ],
  ['it is 1970', { now: 5000 }, /^finding: the clock says it is 1970 \| /],
  [
    'a line is of the future',
    { ageMs: -3_600_000 },
    /^finding: \S+ has a line that is 60 min in the future: the clock was set back/,
  ],
];

for (const [what, { now = NOW, ageMs, outputs, files = {} }, expected] of CLOCKS) {
  test(`the clock check tells that ${what}`, async (context) => {
    const root = temporaryDirectory(context);
    writeTree(root, { ...files, log: lineOf('stop signal=SIGTERM id=a.9', ageMs) });
    const results = await checkClock(hostOf(root, outputs, { now }), join(root, 'log'));
    assert.match(told(results).join('\n'), expected);
  });
}
