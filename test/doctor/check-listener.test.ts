import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkCapability } from '../../src/doctor/check-capability.ts';
import { checkListener } from '../../src/doctor/check-listener.ts';
import { findListeners } from '../../src/doctor/running-listener.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { configurationOf, hostOf, listenerOf, told, writeTree } from './support.ts';

const HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const LISTEN = '00000000:0000 0A 00000000:00000000 00:00000000 00000000';
const LISTEN6 = LISTEN.replace('00000000:0000', '00000000000000000000000000000000:0000');
/** `::` port 23, `0.0.0.0` port 2323, and a connection. */
const OURS = {
  'proc/net/tcp': `${HEAD}   0: 00000000:0913 ${LISTEN}   990        0 102 1\n   1: 057100CB:0017 077133C6:9CA0 01 00000000:00000000 00:00000000 00000000 990 0 103 1\n`,
  'proc/net/tcp6': `${HEAD}   0: 00000000000000000000000000000000:0017 ${LISTEN6}   990        0 101 1\n`,
};

/** A /proc with sockets, and a process that holds some. */
function makeHost(
  context: TestContext,
  holders: Readonly<Record<number, readonly number[]>>,
  files: Record<string, string> = OURS,
) {
  const root = temporaryDirectory(context);
  writeTree(root, files);
  for (const [pid, sockets] of Object.entries(holders)) {
    const argv = pid === '812' ? ['/usr/bin/node', '/usr/bin/honeyport', 'run'] : ['nginx: master process'];
    writeTree(root, {
      [`proc/${pid}/cmdline`]: `${argv.join('\0')}\0`,
      [`proc/${pid}/status`]: `Name:\t${pid === '1' ? 'systemd' : pid === '812' ? 'node' : 'nginx'}\nUid:\t0\t990\t0\t0\nGid:\t0\t990\t0\t0\nGroups:\t4 \nCapEff:\t0000000000000400\n`,
    });
    mkdirSync(join(root, `proc/${pid}/fd`));
    for (const socket of sockets) symlinkSync(`socket:[${socket}]`, join(root, `proc/${pid}/fd/${socket}`));
  }
  return hostOf(root);
}

function check(host: ReturnType<typeof hostOf>, text?: string): string[] {
  return told(checkListener({ host, configuration: configurationOf(text), listeners: findListeners(host) }));
}

test('a honeyport that listens on every port is found by its command line', (context) => {
  const host = makeHost(context, { 812: [101, 102], 4: [900] });
  const [listener, ...others] = findListeners(host);
  assert.deepEqual(others, []);
  assert.deepEqual(
    [listener?.pid, listener?.uid, listener?.gids, listener?.capabilities],
    [812, 990, [990, 4], 1024n],
  );
  assert.deepEqual(check(host), ['ok: honeyport[812] listens on all ports: 23,2323']);
});

const BROKEN: readonly [string, Readonly<Record<number, readonly number[]>>, string | undefined, RegExp][] = [
  [
    'nobody listens',
    { 4: [900] },
    'decoys: [{ ports: 24 }]',
    /^finding: honeyport does not run, nobody listens on port 24 \| systemctl start honeyport; /,
  ],
  [
    'another configuration runs',
    { 812: [101, 102] },
    'decoys: [{ ports: [23, 24-26] }]',
    /^finding: honeyport\[812\] runs and does not listen on port 24-26: .* \| systemctl reload honeyport/,
  ],
  [
    'a service has the port',
    { 812: [102], 77: [101] },
    undefined,
    /^finding: port 23 is taken by nginx\[77\] \| /,
  ],
  [
    "the address is another host's",
    { 812: [101] },
    'decoys: [{ ports: 23, address: 192.0.2.9 }]',
    /^finding: port 23: no interface of this host has the address 192\.0\.2\.9 \| /,
  ],
  [
    'systemd holds the port',
    { 1: [101, 102] },
    undefined,
    /^note: systemd\[1\] holds port 23,2323 for a service that it starts with the first connection$/,
  ],
];

for (const [what, holders, text, expected] of BROKEN) {
  test(`the listener check tells that ${what}`, (context) => {
    const results = check(makeHost(context, holders), text);
    assert.ok(
      results.some((result) => expected.test(result)),
      results.join('\n'),
    );
  });
}

test('who is not root does not know whose the ports are, and is told so', (context) => {
  assert.deepEqual(check(makeHost(context, { 4: [] })), [
    'skipped: somebody listens on port 23,2323, only root may see who | run it as root',
  ]);
});

test('without /proc/net/tcp the listener check is skipped', (context) => {
  assert.match(
    check(hostOf(temporaryDirectory(context)))[0]!,
    /^skipped: \S+\/proc\/net\/tcp cannot be read/,
  );
});

const UNIT = 'etc/systemd/system/honeyport.service';
const CAPABILITIES: readonly [
  string,
  Parameters<typeof listenerOf>[0] | undefined,
  Record<string, string>,
  RegExp,
][] = [
  ['it has the capability', {}, {}, /^ok: the listener \(uid 990\) has CAP_NET_BIND_SERVICE for port 23$/],
  [
    'it lacks the capability',
    { capabilities: 0n },
    {},
    /^note: the listener \(uid 990\) has no CAP_NET_BIND_SERVICE: .* at a reload \| give the service Ambient/,
  ],
  ['it is root', { uid: 0 }, {}, /^note: the listener\[812\] runs as root, which it does not need \| /],
  [
    'no unit is there',
    undefined,
    {},
    /^skipped: the listener does not run, and there is no honeyport\.service/,
  ],
  [
    'the unit gives it',
    undefined,
    { [UNIT]: 'User=honeyport\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n' },
    /^ok: \S+honeyport\.service gives CAP_NET_BIND_SERVICE/,
  ],
  [
    'the unit does not give it',
    undefined,
    { [UNIT]: '[Service]\nUser=honeyport\n' },
    /^finding: \S+honeyport\.service gives no CAP_NET_BIND_SERVICE, which port 23 needs \| /,
  ],
  [
    'a drop-in takes it back',
    undefined,
    {
      [UNIT]: 'User=honeyport\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n',
      [`${UNIT}.d/override.conf`]: '[Service]\nAmbientCapabilities=\n',
    },
    /^finding: \S+honeyport\.service gives no CAP_NET_BIND_SERVICE/,
  ],
  [
    'systemd opens the ports of a listener without it',
    { capabilities: 0n },
    { 'etc/systemd/system/honeyport.socket': '[Socket]\nListenStream=23\n' },
    /^ok: systemd opens the ports/,
  ],
  ['the unit is for root', undefined, { [UNIT]: '[Service]\n' }, /^note: \S+ runs the listener as root/],
  [
    'no port needs it',
    {},
    { 'proc/sys/net/ipv4/ip_unprivileged_port_start': '0\n' },
    /^ok: no port below 0 is configured/,
  ],
];

for (const [what, listener, files, expected] of CAPABILITIES) {
  test(`the capability check tells that ${what}`, (context) => {
    const root = temporaryDirectory(context);
    writeTree(root, files);
    const listeners = listener === undefined ? [] : [listenerOf(listener)];
    const results = told(
      checkCapability({ host: hostOf(root), configuration: configurationOf(), listeners }),
    );
    assert.match(results.join('\n'), expected);
    assert.equal(results.length, 1);
  });
}
