import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { listBans, parseBans, parseJails, timeZone } from '../../src/system/fail2ban-client.ts';
import { temporaryDirectory } from '../support/directory.ts';

const all = () => true;
const at = (text: string) => Date.parse(text);

test('the jails are those that status names', () => {
  const status = (list: string) => `Status\n|- Number of jail:\t2\n\`- Jail list:\t${list}\n`;
  assert.deepEqual(parseJails(status('honeyport, sshd')), ['honeyport', 'sshd']);
  assert.deepEqual(parseJails(status('my jail')), ['my jail']);
  assert.deepEqual(parseJails(status('')), []);
  assert.throws(
    () => parseJails('Hello\n'),
    /expected bans or jails from fail2ban-client status, got "Hello\\n"/,
  );
});

test('a ban has its begin and its end', () => {
  const text =
    '198.51.100.7 \t2026-11-24 03:04:58 + 3600 = 2026-11-24 04:04:58\n' +
    '2001:db8::/64 \t2026-11-24 03:04:59 + 86400 = 2026-11-25 03:04:59\n';
  assert.deepEqual(parseBans('sshd', text, 'UTC', all), [
    {
      jail: 'sshd',
      what: '198.51.100.7',
      since: at('2026-11-24T03:04:58Z'),
      until: at('2026-11-24T04:04:58Z'),
    },
    {
      jail: 'sshd',
      what: '2001:db8::/64',
      since: at('2026-11-24T03:04:59Z'),
      until: at('2026-11-25T03:04:59Z'),
    },
  ]);
  assert.deepEqual(parseBans('sshd', '\n', 'UTC', all), []);
});

test('a ban without an end, and one beyond what fail2ban can print, are for ever', () => {
  for (const seconds of [-1, 999_999_999_999, 99_999_999_999_999_999_999n]) {
    const text = `198.51.100.7 \t2026-11-24 03:04:58 + ${seconds} = 9999-12-31 23:59:59\n`;
    const [ban] = parseBans('sshd', text, 'Europe/Berlin', all);
    assert.deepEqual([ban!.since, ban!.until], [at('2026-11-24T02:04:58Z'), undefined]);
  }
});

test('whatever else a jail bans cannot pass for a ban of an address', () => {
  const text =
    '198.51.100.7 \t2026-01-01 00:00:00 + 1 = 2026-01-01 00:00:01 \t2026-11-24 03:04:58 + 60 = 2026-11-24 03:05:58\n';
  const [ban] = parseBans('users', text, 'UTC', all);
  assert.equal(ban!.what, '198.51.100.7 \t2026-01-01 00:00:00 + 1 = 2026-01-01 00:00:01');
  assert.equal(ban!.until, at('2026-11-24T03:05:58Z'));
});

test('what is not understood is said, not passed over', () => {
  for (const line of [
    '198.51.100.7',
    '198.51.100.7 2026-11-24 03:04:58',
    'Traceback (most recent call last):',
  ])
    assert.throws(
      () => parseBans('sshd', `${line}\n`, 'UTC', all),
      /expected bans or jails from .* get sshd banip, got/,
    );
});

/** Zone, what fail2ban prints, begin and end in UTC. */
const CLOCKS: readonly (readonly [zone: string, printed: string, since: string, until: string])[] = [
  [
    'Europe/Berlin',
    '2026-11-24 03:00:00 + 60 = 2026-11-24 03:01:00',
    '2026-11-24T02:00:00Z',
    '2026-11-24T02:01:00Z',
  ],
  [
    'America/New_York',
    '2026-07-01 22:00:00 + 60 = 2026-07-01 22:01:00',
    '2026-07-02T02:00:00Z',
    '2026-07-02T02:01:00Z',
  ],
  [
    'Asia/Kolkata',
    '2026-01-01 00:00:00 + 60 = 2026-01-01 00:01:00',
    '2025-12-31T18:30:00Z',
    '2025-12-31T18:31:00Z',
  ],
  // clocks go forward, from 2 to 3
  [
    'Europe/Berlin',
    '2026-03-29 01:59:00 + 120 = 2026-03-29 03:01:00',
    '2026-03-29T00:59:00Z',
    '2026-03-29T01:01:00Z',
  ],
  // clocks go back, from 3 to 2: the first and the second half past two
  [
    'Europe/Berlin',
    '2026-10-25 02:30:00 + 3600 = 2026-10-25 02:30:00',
    '2026-10-25T00:30:00Z',
    '2026-10-25T01:30:00Z',
  ],
  [
    'Europe/Berlin',
    '2026-10-25 02:30:00 + 3600 = 2026-10-25 03:30:00',
    '2026-10-25T01:30:00Z',
    '2026-10-25T02:30:00Z',
  ],
];

for (const [zone, printed, since, until] of CLOCKS) {
  test(`in ${zone}, ${printed} is a ban from ${since}`, () => {
    const [ban] = parseBans('sshd', `198.51.100.7 \t${printed}\n`, zone, all);
    assert.deepEqual([ban!.since, ban!.until], [at(since), at(until)]);
  });
}

test("the zone is the host's", (context) => {
  const directory = temporaryDirectory(context);
  const link = (target: string) => {
    const path = join(directory, target.replaceAll('/', '_'));
    symlinkSync(target, path);
    return path;
  };
  assert.equal(timeZone(link('/usr/share/zoneinfo/Europe/Berlin')), 'Europe/Berlin');
  assert.equal(
    timeZone(link('../usr/share/zoneinfo/posix/America/Argentina/Salta')),
    'America/Argentina/Salta',
  );
  assert.equal(timeZone(link('/usr/share/zoneinfo/Nowhere/At_All')), undefined);
  assert.equal(timeZone(join(directory, 'missing')), 'UTC');
  writeFileSync(join(directory, 'copy'), 'TZif2');
  assert.equal(timeZone(join(directory, 'copy')), undefined);
});

const STATUS = '`- Jail list:\\tb, a, b c';
const BAN = '198.51.100.7 \\t2026-11-24 03:04:58 + 60 = 2026-11-24 03:05:58';

test('every jail is asked, and of its bans those that are wanted are listed', async (context) => {
  asFail2ban(
    context,
    `case "$*" in status) printf '${STATUS}';; *' banip --with-time') printf '${BAN}\\nx${BAN}';; esac`,
  );
  const { bans, problems } = await listBans((what) => what === '198.51.100.7');
  assert.deepEqual(problems, []);
  assert.deepEqual(
    bans.map(({ jail, what }) => [jail, what]),
    [
      ['a', '198.51.100.7'],
      ['b', '198.51.100.7'],
      ['b c', '198.51.100.7'],
    ],
  );
});

test('a jail that cannot be asked keeps no other from being listed', async (context) => {
  const gone = `echo "Sorry but the jail 'a' does not exist"; exit 255`;
  asFail2ban(
    context,
    `case "$*" in status) printf '${STATUS}';; 'get a banip'*) ${gone};; *) printf '${BAN}';; esac`,
  );
  const { bans, problems } = await listBans(all);
  assert.deepEqual(
    bans.map(({ jail }) => jail),
    ['b', 'b c'],
  );
  assert.deepEqual(messages(problems), [
    "fail2ban-client get a banip --with-time: Sorry but the jail 'a' does not exist",
  ]);
});

/** What the client says, from its source, and what the user reads. */
const REFUSALS: readonly (readonly [said: string, message: RegExp, hint: RegExp])[] = [
  [
    'Permission denied to socket: /run/fail2ban/fail2ban.sock, (you must be root)',
    /^no right to ask fail2ban$/,
    /^run it as root$/,
  ],
  [
    'Failed to access socket path: /run/x. Is fail2ban running?',
    /^fail2ban is not running$/,
    /systemctl start fail2ban|run it as root/,
  ],
  [
    '[[Errno 111] Connection refused] Unable to contact server. Is it running?',
    /^fail2ban is not running$/,
    /systemctl start fail2ban|run it as root/,
  ],
  ['Something else', /^fail2ban-client status: .*Something else$/, /fail2ban\.log/],
];

for (const [said, message, hint] of REFUSALS) {
  test(`a client that says "${said}" is understood`, async (context) => {
    asFail2ban(context, `echo '2026-11-24 03:04:58,123 fail2ban [812]: ERROR   ${said}' >&2; exit 255`);
    const { bans, problems } = await listBans(all);
    assert.deepEqual([bans.length, problems.length, problems[0]!.exitCode], [0, 1, 1]);
    assert.match(problems[0]!.message, message);
    assert.match(problems[0]!.hint!, hint);
  });
}

test('a host without fail2ban is told so', async (context) => {
  setPath(context, temporaryDirectory(context));
  const { problems } = await listBans(all);
  assert.deepEqual(messages(problems), ['fail2ban is not installed, or fail2ban-client is not in PATH']);
});

test('a client that prints without an end is ended, and it is said', async (context) => {
  asFail2ban(context, 'yes');
  const { problems } = await listBans(all);
  assert.deepEqual(messages(problems), ['expected at most 16 MiB, got more from: fail2ban-client status']);
});

test('a fail2ban that does not answer is not waited for', { timeout: 30_000 }, async (context) => {
  asFail2ban(context, 'sleep 60');
  const { problems } = await listBans(all);
  assert.deepEqual(messages(problems), ['fail2ban gave no answer within 10 s to: fail2ban-client status']);
});

const messages = (problems: readonly Error[]) => problems.map(({ message }) => message);

/** A program in the place of fail2ban-client. */
function asFail2ban(context: TestContext, script: string): void {
  const directory = temporaryDirectory(context);
  writeFileSync(join(directory, 'fail2ban-client'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  setPath(context, `${directory}:${process.env.PATH}`);
}

function setPath(context: TestContext, path: string): void {
  const before = process.env.PATH;
  process.env.PATH = path;
  context.after(() => {
    process.env.PATH = before;
  });
}
