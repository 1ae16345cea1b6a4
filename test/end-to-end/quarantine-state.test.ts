import assert from 'node:assert/strict';
import { chmodSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RELEASES } from '../support/fail2ban.ts';
import {
  DEADLINE_MS,
  DECOY,
  members,
  type QuarantineStage,
  setQuarantineStage,
} from '../support/quarantine-stage.ts';
import { waitFor } from '../support/wait.ts';

const action = 'honeyport_nftables.py';

/** Jails that read the listener's log and must not quarantine, each with what is said of it, and at which level. */
const DOUBTFUL: Readonly<Record<string, readonly [lines: string, said: RegExp]>> = {
  listless: [`banaction = ${action}[allow=off, log=off]`, /INFO +\[listless\] no quarantine: no allow list/],
  none: [`banaction = ${action}[quarantine=0, log=off]`, /^(?!.*\[none\] no quarantine)/s],
  retries: ['maxretry = 1001', /NOTICE +\[retries\] no quarantine: maxretry/],
  command: ['ignorecommand = /bin/false', /NOTICE +\[command\] no quarantine: what ignorecommand/],
  named: [
    'ignoreip = 192.0.2.1 scanner.example',
    /NOTICE +\[named\] no quarantine: ignoreip has scanner\.ex/,
  ],
  regex: ['ignoreregex = decoy=holding', /NOTICE +\[regex\] no quarantine: what ignoreregex/],
  some: ['filter = honeyport[decoy="all|one"]', /INFO +\[some\] no quarantine: the jail's filter/],
};

for (const release of RELEASES) {
  test(`on ${release}, only the jail that knows of everybody whom not to block quarantines, and says why not`, async (context) => {
    const stage = await setQuarantineStage(context, {
      release,
      state: 'on',
      // each jail has the shipped action of its own; the first has no list
      jails: ({ logFile, dir }) => {
        const other = join(dir, 'auth.log');
        writeFileSync(other, '');
        const jail = (name: string, logpath: string, lines: string) =>
          `[${name}]\nenabled = true\n${defaults(lines, `logpath = ${logpath}`)}${lines}\n\n`;
        const elsewhere = `filter = honeyport\nbanaction = ${action}[log=off]`;
        return [
          '\n',
          ...Object.entries(DOUBTFUL).map(([name, [lines]]) => jail(name, logFile, lines)),
          jail('elsewhere', other, elsewhere),
          jail('both', `${logFile}\n          ${other}`, elsewhere),
          jail('other', other, `filter = sshd\nbanaction = ${action}[log=off]`),
        ].join('');
      },
    });
    const { fail2ban } = stage;
    const state = (jail: string) =>
      fail2ban.client('get', jail, 'action', 'honeyport_nftables', 'quarantine').trim();
    const said = { ...mapValues(DOUBTFUL, ([, pattern]) => pattern), ...ELSEWHERE };
    for (const [jail, pattern] of Object.entries(said)) {
      await waitFor(() => pattern.test(fail2ban.log()), {
        deadlineMs: DEADLINE_MS,
        what: () => `${pattern} in\n${fail2ban.log()}`,
      });
      assert.equal(state(jail), 'off', jail);
      assert.doesNotMatch(fail2ban.ruleset(), new RegExp(`quarantine\\S*\\.${jail} `), jail);
    }
    // the others ban
    assert.match(stage.knockAndTry('198.18.0.1'), /^timeout/);
    for (const jail of Object.keys(said)) {
      const once = fail2ban.log().match(new RegExp(`\\[${jail}\\] no quarantine`, 'g'))?.length ?? 0;
      assert.ok(once <= 1, jail);
    }
  });
}

const ELSEWHERE = {
  elsewhere: /INFO +\[elsewhere\] no quarantine: there is no \S+auth\.allow\.json/,
  both: /INFO +\[both\] no quarantine: there is no \S+auth\.allow\.json/,
  other: /INFO +\[other\] no quarantine: the jail's filter/,
};

function defaults(lines: string, logpath: string): string {
  const own = [
    logpath,
    'filter = honeyport',
    `banaction = ${action}[log=off]`,
    'maxretry = 1',
    'usedns = no',
  ];
  return own
    .filter((line) => !lines.includes(`${line.split(' ')[0]} = `))
    .map((line) => `${line}\n`)
    .join('');
}

function mapValues<A, B>(values: Readonly<Record<string, A>>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(value)]));
}

test('where the list is gone, refused, old or not whole nobody is quarantined, until it is good again', async (context) => {
  const stage = await setQuarantineStage(context);
  const list = join(stage.dir, 'honeyport.allow.json');
  const text = readFileSync(list, 'utf8');
  const write = (changed: string) => {
    writeFileSync(`${list}.test`, changed);
    renameSync(`${list}.test`, list);
  };
  let host = 0;
  const turns: [string, () => void, RegExp][] = [
    ['gone', () => rmSync(list), /no quarantine: \S+ is not good/],
    ['refused', () => chmodSync(list, 0o666), /no quarantine: \S+ is not good/],
    [
      'old',
      () => utimesSync(list, 0, Date.now() / 1000 - 7200),
      /no quarantine: the listener does not write/,
    ],
    ['from the future', () => utimesSync(list, 0, Date.now() / 1000 + 7200), /the listener does not write/],
    ['cut off', () => write(text.slice(0, -3)), /no quarantine: \S+ is not good/],
    ['not whole', () => write(text.replace('"entries"', '"incomplete":true,"entries"')), /no address yet/],
  ];
  for (const [what, spoil, pattern] of turns) {
    const before = stage.fail2ban.log().length;
    host += 2;
    assert.equal(stage.knockAndTry(`198.18.0.${host}`), 'timeout open', what);
    spoil();
    await stage.becomes('off');
    await stage.waitForOpen(`198.18.0.${host}`);
    assert.equal(stage.knockAndTry(`198.18.0.${host + 1}`), 'open open', what);
    assert.match(stage.fail2ban.log().slice(before), pattern, what);
    write(text);
    await stage.becomes('on');
    assert.match(
      stage.fail2ban.log().slice(before),
      /NOTICE +\[honeyport\] the quarantine is in force again/,
    );
  }
  assert.ok(statSync(list).isFile());
});

test('a host name on the list that nobody can resolve keeps the quarantine off', async (context) => {
  const stage = await setQuarantineStage(context, {
    config: 'allow:\n  - nowhere.invalid',
    wrapper: ['unshare', '--mount', 'sh', '-ec', 'mount --bind DIR/none /etc/resolv.conf; exec "$@"', 'sh'],
    prepare: ({ dir }) => writeFileSync(join(dir, 'none'), 'nameserver 127.0.0.1\n'),
    state: 'off',
  });
  await stage.waitForLog(/NOTICE +\[honeyport\] no quarantine: a host name in \S+ has no address yet/);
  assert.equal(stage.knockAndTry('198.18.0.1'), 'open open');
});

test('while the kernel sends SYN cookies nobody is quarantined, and it is said', async (context) => {
  const stage = await setQuarantineStage(context, { constants: { COOKIE_SECONDS: '6' } });
  assert.equal(stage.knockAndTry('198.18.0.1'), 'timeout open');
  setCookies(stage, 2);
  await stage.reach('198.18.0.2');
  await stage.becomes('suspended');
  assert.equal(await stage.reach('198.18.0.1'), 'open', 'who was in it is free');
  assert.equal(stage.knockAndTry('198.18.0.3'), 'open open');
  assert.deepEqual(stage.quarantined(), []);
  setCookies(stage, 1);
  await stage.becomes('on');
  assert.equal(stage.knockAndTry('198.18.0.4'), 'timeout open');
  assert.equal(stage.fail2ban.log().match(/WARNING +\[honeyport\] the quarantine is suspended/g)?.length, 1);
});

test('cookies that were sent before fail2ban started are waited out', async (context) => {
  const stage = await setQuarantineStage(context, {
    constants: { COOKIE_SECONDS: '5' },
    prepare: async ({ network }) => {
      network.run(network.sensor, ['sh', '-c', 'echo 2 > /proc/sys/net/ipv4/tcp_syncookies']);
      network.spawn(network.sensor, [
        'python3',
        '-c',
        'import socket; socket.create_server(("", 99)).accept()',
      ]);
      const { attacker, sensor } = network;
      const sends = async () =>
        (await network.connect({ from: attacker.ipv4, to: sensor.ipv4, port: 99 })) === 'open';
      await waitFor(sends, { deadlineMs: DEADLINE_MS, what: 'a cookie to be sent' });
      network.run(sensor, ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/tcp_syncookies']);
    },
    state: 'suspended',
  });
  assert.equal(stage.knockAndTry('198.18.0.1'), 'open open');
  await stage.becomes('on');
  assert.equal(stage.knockAndTry('198.18.0.2'), 'timeout open');
});

function setCookies({ network }: QuarantineStage, value: number): void {
  const { code } = network.run(network.sensor, [
    'sh',
    '-c',
    `echo ${value} > /proc/sys/net/ipv4/tcp_syncookies`,
  ]);
  assert.equal(code, 0);
}

// who is in it tries the decoy once more: two handshakes each
for (const [what, constants] of [
  ['places', { MOST_QUARANTINED: '2' }],
  ['handshakes', { MOST_HANDSHAKES: '4', HANDSHAKE_SECONDS: '60' }],
] as const) {
  test(`a quarantine without room for more ${what} lets others through to their ban, and says so`, async (context) => {
    const stage = await setQuarantineStage(context, { constants: { ...constants, REARM_SECONDS: '1' } });
    for (const source of ['198.18.0.1', '198.18.0.2'])
      assert.equal(stage.knockAndTry(source), 'timeout open');
    assert.equal(stage.knockAndTry('198.18.0.3'), 'open open');
    await stage.waitForLog(/ERROR +\[honeyport\] the quarantine is full/);
    assert.equal(stage.state(), 'on');
  });
}

test('rules that somebody changes come back with the quarantine, and a reload switches it off and on', async (context) => {
  const stage = await setQuarantineStage(context);
  const { fail2ban } = stage;
  const changes = [
    ['flush', 'ruleset'],
    ['flush', 'chain', 'inet', 'honeyport', 'prerouting-knocks.honeyport'],
    ['flush', 'chain', 'inet', 'honeyport', 'prerouting-quarantined.honeyport'],
    ['flush', 'chain', 'inet', 'honeyport', 'prerouting.honeyport'],
  ];
  for (const [index, change] of changes.entries()) {
    const quarantined = `198.18.7.${index}`;
    assert.equal(stage.knockAndTry(quarantined), 'timeout open');
    fail2ban.nft(...change);
    let host = 0;
    const isBack = () => {
      host += 1;
      return stage.knockAndTry(`198.18.${index}.${host}`) === 'timeout open';
    };
    await waitFor(isBack, {
      deadlineMs: DEADLINE_MS,
      what: `the quarantine after ${change.join(' ')}`,
    });
    assert.equal(await stage.reach(quarantined), 'open', 'made anew it holds nobody');
  }
  stage.configure({ options: ', quarantine=0' });
  fail2ban.client('reload');
  await stage.becomes('off');
  assert.equal(stage.knockAndTry('198.18.6.1'), 'open open');
  assert.doesNotMatch(fail2ban.ruleset(), /quarantine|unbanned|handshakes/);
  stage.configure({ options: ', quarantine=60' });
  fail2ban.client('reload');
  await stage.becomes('on');
  assert.equal(stage.knockAndTry('198.18.6.2'), 'timeout open');
  fail2ban.client('stop', 'honeyport');
  assert.equal(await stage.reach('198.18.6.2'), 'open', 'it ends with the jail');
  assert.equal(fail2ban.ruleset(), '');
});

/** An nft that fails at whatever has a text, as long as a file is there; each call is a line of another file. */
function nftThatFails(text: string): string {
  return `#!/bin/sh
here=$(dirname "$0")
script=
case " $* " in *" - "*) script=$(cat);; esac
printf '%s\\n' "$*" >> "$here/calls"
printf '%s\\n' "$script" | sed -n 's/^\\(list\\|reset\\) \\([a-z]*\\).*/\\1 \\2/p' >> "$here/calls"
case "$script" in *"${text}"*)
  if [ -e "$here/broken" ]; then echo "Error: Could not process rule: No such file or directory" >&2; exit 1; fi;;
esac
printf '%s\\n' "$script" | exec /usr/sbin/nft "$@"
`;
}

function breaking(text: string, isBroken: boolean) {
  return ({ dir }: { dir: string }) => {
    writeFileSync(join(dir, 'nft'), nftThatFails(text), { mode: 0o755 });
    if (isBroken) writeFileSync(join(dir, 'broken'), '');
  };
}

const OPTIONS = { options: ', nft="DIR/nft"', bans: true };

test('where the kernel has no nft_socket, the quarantine says so once, bans work, and it is tried again', async (context) => {
  const stage = await setQuarantineStage(context, {
    ...OPTIONS,
    constants: { QUARANTINE_RETRY_SECONDS: '1' },
    prepare: breaking('socket mark', true),
    state: 'off',
  });
  const { fail2ban } = stage;
  assert.equal(stage.knockAndTry('198.18.0.1'), 'open open');
  await fail2ban.waitForBan('198.18.0.1');
  await fail2ban.waitForBlock('198.18.0.1');
  assert.match(
    fail2ban.log(),
    /ERROR +\[honeyport\] no quarantine: \S+ ended with 1: Error: Could not process rule: No such file/,
  );
  const calls = () => readFileSync(join(stage.dir, 'calls'), 'utf8').split('\n').length;
  const before = calls();
  await waitFor(() => calls() > before + 2, { deadlineMs: DEADLINE_MS, what: 'further attempts' });
  rmSync(join(stage.dir, 'broken'));
  await stage.becomes('on');
  const [service] = stage.knockAndTry('198.18.0.2').split(' ');
  assert.equal(service, 'timeout');
  await stage.waitForLog(/NOTICE +\[honeyport\] the quarantine works now/);
  assert.equal(fail2ban.log().match(/no quarantine: /g)?.length, 1);
  assert.doesNotMatch(fail2ban.log(), /next try in|were not as they had been left/);
});

test('where nft fails to give leave, the bans and their rules do not know of it, and the state is that of the kernel', async (context) => {
  const stage = await setQuarantineStage(context, {
    ...OPTIONS,
    constants: { ARMED_SECONDS: '8', REARM_SECONDS: '1', QUARANTINE_RETRY_SECONDS: '1' },
    prepare: breaking('quarantine_armed.honeyport { tcp }', false),
  });
  const { fail2ban } = stage;
  const handle = () =>
    /chain prerouting\.honeyport \{ # handle (\d+)/.exec(fail2ban.nft('-a', 'list', 'ruleset'))?.[1];
  const before = handle();
  assert.ok(before !== undefined);
  writeFileSync(join(stage.dir, 'broken'), '');
  await stage.becomes('off');
  assert.deepEqual(members(fail2ban, 'quarantine_armed'), [], 'no leave is left');
  assert.equal(stage.knockAndTry('198.18.0.1'), 'open open');
  await fail2ban.waitForBlock('198.18.0.1');
  fail2ban.client('set', 'honeyport', 'unbanip', '198.18.0.1');
  await stage.waitForOpen('198.18.0.1');
  assert.equal(handle(), before);
  rmSync(join(stage.dir, 'broken'));
  await stage.becomes('on');
  assert.equal(fail2ban.log().match(/no quarantine: /g)?.length, 1);
  assert.doesNotMatch(fail2ban.log(), /next try in|were not as they had been left/);
});

test('where nft fails to take leave back, the state says so until it has ended by itself', async (context) => {
  const stage = await setQuarantineStage(context, {
    ...OPTIONS,
    constants: { ARMED_SECONDS: '8', REARM_SECONDS: '3' },
    prepare: breaking('flush set inet honeyport quarantine_armed.honeyport', false),
  });
  writeFileSync(join(stage.dir, 'broken'), '');
  setCookies(stage, 2);
  await stage.reach('198.18.0.1');
  await stage.waitForLog(/the quarantine is suspended/);
  assert.equal(stage.state(), 'on');
  assert.deepEqual(members(stage.fail2ban, 'quarantine_armed'), ['tcp']);
  await stage.becomes('suspended');
  assert.deepEqual(members(stage.fail2ban, 'quarantine_armed'), []);
  assert.doesNotMatch(stage.fail2ban.log(), /next try in/);
});

test('nft is asked for nothing that reads all bans, and an unban of an old ban leaves nothing behind', async (context) => {
  const stage = await setQuarantineStage(context, {
    ...OPTIONS,
    options: `${OPTIONS.options}, quarantine=1`,
    settings: 'bantime = 1h',
    constants: { REARM_SECONDS: '1', HANDSHAKE_SECONDS: '1' },
    prepare: breaking('nothing of this kind', false),
  });
  const { fail2ban } = stage;
  const unbanned = () => members(fail2ban, 'unbanned_ipv4');
  for (const source of ['198.18.0.1', '198.18.0.2']) {
    stage.knockAndTry(source);
    await fail2ban.waitForBlock(source);
  }
  fail2ban.client('set', 'honeyport', 'unbanip', '198.18.0.2');
  await waitFor(() => unbanned().includes('198.18.0.2'), {
    deadlineMs: DEADLINE_MS,
    what: 'a ban of late to be exempt',
  });
  const until = performance.now() + 6000;
  await waitFor(() => performance.now() > until, {
    deadlineMs: DEADLINE_MS,
    what: 'the first ban to be old',
  });
  fail2ban.client('set', 'honeyport', 'unbanip', '198.18.0.1');
  await stage.waitForOpen('198.18.0.1');
  assert.deepEqual(unbanned(), []);
  const calls = new Set(readFileSync(join(stage.dir, 'calls'), 'utf8').trim().split('\n'));
  assert.deepEqual([...calls].toSorted(), ['-f -', '-s -t list ruleset inet', 'reset counter']);
  assert.equal(await stage.reach('198.18.0.1', DECOY), 'open');
});
