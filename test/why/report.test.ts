import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../src/errors.ts';
import type { CurrentBans } from '../../src/system/fail2ban-client.ts';
import type { BanHistory, History } from '../../src/why/history.ts';
import { formatReport, type Report } from '../../src/why/report.ts';

const at = (text: string) => Date.parse(text);
const NONE: BanHistory = {
  neighbours: { netOf: () => undefined },
  path: '/var/log/honeyport/bans.log',
  files: 0,
  counts: new Map(),
  total: 0,
  first: undefined,
  last: undefined,
  lines: [],
};
const EVENTS: History = {
  path: '/var/log/honeyport/honeyport.log',
  files: 3,
  counts: new Map([
    ['connect', 11],
    ['withheld', 1],
  ]),
  total: 12,
  first: at('2026-11-22T03:04:58.123Z'),
  last: at('2026-11-23T03:04:58.123Z'),
  lines: ['a line', 'another one'],
};
const REPORT: Report = {
  address: '198.51.100.7',
  current: { bans: [], problems: [] },
  allowance: ['no entry'],
  events: EVENTS,
  banHistory: NONE,
};

test('a report says what is urgent first', () => {
  const bans = [
    { jail: "it's", what: '198.51.100.0/24', since: at('2026-11-24T01:00:00Z'), until: undefined },
    {
      jail: 'sshd',
      what: '198.51.100.7',
      since: at('2026-11-24T02:00:00Z'),
      until: at('2026-11-24T03:00:00Z'),
    },
  ];
  assert.equal(
    formatReport({ ...REPORT, current: { bans, problems: [] } }),
    `198.51.100.7

banned now: yes
  by jail it's, as part of 198.51.100.0/24
    since 2026-11-24T01:00:00.000+00:00
    until for ever
    lift  fail2ban-client set 'it'\\''s' unbanip 198.51.100.0/24
  by jail sshd
    since 2026-11-24T02:00:00.000+00:00
    until 2026-11-24T03:00:00.000+00:00
    lift  fail2ban-client set sshd unbanip 198.51.100.7

allow list:
  no entry

its lines: 12 in /var/log/honeyport/honeyport.log and 2 rotated
  connect 11, withheld 1
  first 2026-11-22T03:04:58.123+00:00
  last  2026-11-23T03:04:58.123+00:00
  the last 2:
a line
another one

its bans so far: none, no file /var/log/honeyport/bans.log could be read
`,
  );
});

const verdict = (current: CurrentBans) => /^banned now: .*$/m.exec(formatReport({ ...REPORT, current }))![0];

test('what is not known is not said to be so', () => {
  const bans = [{ jail: 'sshd', what: '198.51.100.7', since: 0, until: undefined }];
  const problems = [new UserError('no right')];
  assert.equal(verdict({ bans: [], problems: [] }), 'banned now: no');
  assert.equal(verdict({ bans: [], problems }), 'banned now: not known');
  assert.equal(verdict({ bans, problems }), 'banned now: yes, and perhaps by more jails');
});

test('nothing that others wrote steers the terminal', () => {
  const hostile = '\x1b[2J\x07\r\xff\u2028';
  const events = { ...EVENTS, path: hostile, lines: [hostile] };
  const bans = [{ jail: hostile, what: hostile, since: 0, until: undefined }];
  const report = { ...REPORT, events, allowance: [hostile], current: { bans, problems: [] } };
  const text = formatReport(report);
  assert.match(text, /^[ -~\n]*$/);
  assert.match(text, /\\x1b\[2J/);
});

test('a log that names the address nowhere is told from one that is not there', () => {
  const text = formatReport({ ...REPORT, events: { ...NONE, files: 1, path: '/x.log' } });
  assert.match(text, /^its lines: none in \/x\.log$/m);
});

test('a line with captured bytes does not fill the screen', () => {
  const lines = ['x'.repeat(5000), 'y'.repeat(1000)];
  const text = formatReport({ ...REPORT, events: { ...EVENTS, lines } });
  assert.match(text, /^x{1000}\.\.\. \(4000 more characters\)$/m);
  assert.match(text, /^y{1000}$/m);
});
