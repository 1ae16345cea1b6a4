import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkAction } from '../../src/doctor/check-action.ts';
import { checkFail2ban } from '../../src/doctor/check-fail2ban.ts';
import { checkFilter } from '../../src/doctor/check-filter.ts';
import { checkJail } from '../../src/doctor/check-jail.ts';
import { gatherFail2ban } from '../../src/doctor/fail2ban-facts.ts';
import type { Host } from '../../src/doctor/host.ts';
import { UserError } from '../../src/errors.ts';
import { factsOf, hostOf, jailOf, LOG, NOW, PLAN, told } from './support.ts';

/** As fail2ban-client 1.0.2 and 1.1.0 print it. */
const OUTPUTS = {
  'fail2ban-client --version': 'Fail2Ban v1.1.0\n',
  'fail2ban-client -d': PLAN.join('\n'),
  'fail2ban-client status': 'Status\n|- Number of jail:\t2\n`- Jail list:\tsshd, honeyport\n',
  'fail2ban-client get honeyport logpath': `Current monitored log file(s):\n\`- ${LOG}\n`,
  'fail2ban-client get honeyport failregex':
    'The following regular expression are defined:\n`- [0]: ^x connect src=\n',
  'fail2ban-client get honeyport usedns': 'no\n',
  'fail2ban-client get honeyport maxretry': '1\n',
  'fail2ban-client get honeyport bantime': '86400\n',
  'fail2ban-client get honeyport ignoreip':
    'These IP addresses/networks are ignored:\n|- 127.0.0.0/8\n`- ::1\n',
  'fail2ban-client get honeyport actions':
    'The jail honeyport has the following actions:\nhoneyport_nftables, honeyport_rotation\n',
  'fail2ban-client get honeyport action honeyport_nftables mode': 'block\n',
  'fail2ban-client get honeyport action honeyport_nftables waiting': '0\n',
};

test('what fail2ban says of itself is gathered from its client', async () => {
  const facts = await gatherFail2ban(hostOf('', OUTPUTS));
  assert.equal(facts.version, '1.1.0');
  assert.deepEqual(facts.running, ['sshd', 'honeyport']);
  const failregex = OUTPUTS['fail2ban-client get honeyport failregex'];
  assert.deepEqual(facts.jails, [jailOf({ failregex })]);
  assert.deepEqual(told(await checkFail2ban(hostOf('', OUTPUTS), facts)), ['ok: fail2ban 1.1.0 runs']);
  assert.deepEqual(told(checkJail(facts, LOG)), [`ok: jail honeyport runs and reads ${LOG}`]);
  assert.deepEqual(told(checkAction(facts)), [
    'ok: jail honeyport has honeyport_nftables, honeyport_rotation',
  ]);
});

test('nonsense from fail2ban-client is not taken for an answer, and trips nothing', async () => {
  const nonsense = Object.fromEntries(Object.keys(OUTPUTS).map((line) => [line, '\x00\xff'.repeat(1000)]));
  const facts = await gatherFail2ban(hostOf('', nonsense));
  assert.deepEqual([facts.version, facts.running, facts.jails], ['unknown', [], []]);
  assert.equal(
    (await gatherFail2ban(hostOf('', { ...OUTPUTS, 'fail2ban-client get': 255 }))).jails[0]?.bantime,
    86_400,
  );
});

const FAIL2BAN: readonly [string, Parameters<typeof factsOf>[0], Partial<Host>, RegExp][] = [
  [
    'it is not installed',
    { version: undefined },
    {},
    /^finding: fail2ban is not installed \| apt-get install fail2ban nftables/,
  ],
  ['it is too old', { version: '0.11.2' }, {}, /^finding: fail2ban 0\.11\.2 is older than 1\.0\.2/],
  [
    'it is newer than what was tried',
    { version: '1.2.0' },
    {},
    /^note: fail2ban 1\.2\.0 was not tried with honeyport/m,
  ],
  [
    'it does not run',
    { problem: new UserError('fail2ban is not running', { hint: 'start it' }) },
    {},
    /^finding: fail2ban is not running \| start it$/,
  ],
  [
    'only root may ask it',
    { problem: new UserError('no right') },
    { isRoot: false },
    /^skipped: only root may ask fail2ban whether it runs \| run it as root$/,
  ],
  [
    'its configuration is broken',
    { planProblem: 'No section: x' },
    {},
    /^finding: fail2ban's configuration cannot be read: No section: x \| .*fail2ban-client -t$/,
  ],
];

for (const [what, more, host, expected] of FAIL2BAN) {
  test(`the fail2ban check tells that ${what}`, async () => {
    const results = await checkFail2ban(hostOf('', {}, host), factsOf(more));
    assert.match(told(results).join('\n'), expected);
  });
}

test('the fail2ban check tells that it polls for want of pyinotify', async () => {
  const results = await checkFail2ban(hostOf('', { '/usr/bin/python3': 1 }), factsOf());
  assert.match(
    told(results).join('\n'),
    /^note: python3-pyinotify is not installed: .* \| apt-get install python3-pyinotify/m,
  );
});

const plan = (text: string) => PLAN.map((line) => line.replace("'honeyport', 'auto'", text));
const JAIL: readonly [string, Parameters<typeof factsOf>[0], RegExp][] = [
  [
    'no jail is enabled',
    { plan: ["['add', 'sshd', 'auto']"], jails: [] },
    /^finding: no jail of honeyport is enabled in fail2ban \| printf /,
  ],
  [
    'nobody answers',
    { running: undefined, jails: [], problem: new UserError('not running', { hint: 'start it' }) },
    /^skipped: fail2ban gave no answer: not running \| start it/,
  ],
  [
    'it does not run',
    { running: ['sshd'], jails: [] },
    /^finding: jail honeyport is enabled and does not run \| fail2ban-client reload; /,
  ],
  [
    'it reads another log',
    { jails: [jailOf({ logs: ['/var/log/x.log'] })] },
    /^finding: jail honeyport reads \/var\/log\/x\.log, but the log is \S+ \| write `backend = auto` and `logpath = /,
  ],
  ['it reads no log', { jails: [jailOf({ logs: [] })] }, /^finding: jail honeyport reads no file, but/],
  ['it is not enabled any more', { plan: [] }, /^finding: jail honeyport runs, but is not enabled any more/],
  [
    'its backend is systemd',
    { plan: plan("'honeyport', 'systemd'") },
    /^finding: jail honeyport has the backend systemd, which reads no file/,
  ],
  [
    'its filter is another',
    { jails: [jailOf({ failregex: '|- [0]: ^sshd' })] },
    /^finding: jail honeyport has another filter than honeyport's/,
  ],
  [
    'it asks name servers',
    { jails: [jailOf({ usedns: 'warn' })] },
    /^note: jail honeyport has usedns = warn/m,
  ],
  [
    'it waits for the third connection',
    { jails: [jailOf({ maxretry: 3 })] },
    /^note: jail honeyport bans at the third connection only \(maxretry 3\)/m,
  ],
  ['it bans for seconds', { jails: [jailOf({ bantime: 10 })] }, /^note: jail honeyport bans for 10 s only/m],
  [
    'it ignores everybody',
    { jails: [jailOf({ ignored: ['0.0.0.0'] })] },
    /^finding: jail honeyport ignores 0\.0\.0\.0\/0 \(ignoreip\): nobody is ever banned/,
  ],
  [
    'it ignores a part of the Internet',
    { jails: [jailOf({ ignored: ['::/1'] })] },
    /^note: jail honeyport ignores ::\/1 \(ignoreip\), a great part/m,
  ],
];

for (const [what, more, expected] of JAIL) {
  test(`the jail check tells that ${what}`, () => {
    assert.match(told(checkJail(factsOf(more), LOG)).join('\n'), expected);
  });
}

const ACTION: readonly [string, Parameters<typeof jailOf>[0], RegExp][] = [
  [
    'it has none',
    { actions: [] },
    /^finding: jail honeyport has no action: .* \| fail2ban-client restart honeyport$/,
  ],
  ['it only observes', { mode: 'observe' }, /^note: jail honeyport only observes: /m],
  [
    'addresses are not in the kernel',
    { waiting: 7 },
    /^finding: jail honeyport: addresses that are banned and not in the kernel: 7 \| /,
  ],
  [
    'a stock action blocks',
    { actions: ['nftables', 'honeyport_rotation'] },
    /^note: jail honeyport blocks with nftables, honeyport_rotation, not with honeyport_nftables/m,
  ],
  [
    'rotation loses lines',
    { actions: ['honeyport_nftables'] },
    /^finding: jail honeyport has no honeyport_rotation: /,
  ],
  ['fail2ban did not tell', { actions: undefined }, /^skipped: fail2ban did not tell the actions/m],
];

for (const [what, more, expected] of ACTION) {
  test(`the action check tells that ${what}`, () => {
    assert.match(told(checkAction(factsOf({ jails: [jailOf(more)] }))).join('\n'), expected);
  });
}

test('without a jail there is no action to look at', () => {
  assert.deepEqual(told(checkAction(factsOf({ jails: [] }))), ['skipped: no jail of honeyport runs']);
});

const row = (address: string, offSeconds = 0) =>
  `['${address}',\t${NOW / 1000 + offSeconds},\t{'ip4': '${address}'}],\n`;
const BOTH = row('198.51.100.7') + row('2001:db8::7');
const FILTER: readonly [string, string | undefined, RegExp][] = [
  ['it finds who is bannable', BOTH, /^ok: the filter finds the peer of a connect line of now/],
  [
    'it finds nobody',
    '',
    /^finding: the filter does not match a line of now: it found nobody for 198\.51\.100\.7 and 2001:db8::7 \| copy /,
  ],
  ['it misses IPv6', row('198.51.100.7'), /^finding: .*it found nobody for 2001:db8::7/],
  [
    'it is broken',
    '2026-11-28 03:00:00,000 fail2ban [1]: ERROR   No failure-id group',
    /^finding: the filter does not match a line of now: No failure-id group/,
  ],
  [
    'it takes allowed lines',
    BOTH + row('192.0.2.8'),
    /^finding: the filter takes lines that are not bannable: 192\.0\.2\.8 would be banned/,
  ],
  [
    'it reads another time zone',
    row('198.51.100.7', -32_400) + row('2001:db8::7', -32_400),
    /^finding: the filter reads the time of a line wrong, by -9\.0 hours/,
  ],
  ['fail2ban-regex is not there', undefined, /^skipped: fail2ban-regex is not installed/],
];

for (const [what, output, expected] of FILTER) {
  test(`the filter check tells that ${what}`, async () => {
    let lines = '';
    const host = hostOf('', output === undefined ? {} : { 'fail2ban-regex': output });
    const run: Host['run'] = (program, ...args) => {
      lines = readFileSync(args[2]!, 'utf8');
      return host.run(program, ...args);
    };
    assert.match(told(await checkFilter({ host: { ...host, run }, sensor: 'web-1' })).join('\n'), expected);
    const events = [
      ...lines.matchAll(/^2026-11-28T03:00:00\.000\+00:00 web-1 honeyport\[\d+\]: (\w+) src=(\S+) /gm),
    ];
    assert.deepEqual(
      events.map(([, kind]) => kind),
      ['connect', 'connect', 'allowed', 'withheld'],
    );
  });
}
