import assert from 'node:assert/strict';
import { chmodSync, linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseConfiguration } from '../../src/configuration/load.ts';
import { checkAllowList } from '../../src/doctor/check-allow-list.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { factsOf, hostOf, NOW, type Outputs, told } from './support.ts';

const ALLOW = `allow:
  - 192.0.2.0/24
  - 198.51.100.9
  - { source: 2001:db8:1::/48, ports: [23] }
  - { source: 192.0.2.200, until: 2026-01-31 }
  - scanner.example.net`;
const ENTRIES = [
  '{"by":"guard:loopback","net":"127.0.0.0/8"}',
  '{"by":"guard:own","net":"203.0.113.5/32"}',
  '{"by":"192.0.2.0/24","net":"192.0.2.0/24"}',
  '{"by":"198.51.100.9","net":"198.51.100.9/32"}',
  '{"by":"2001:db8:1::/48","net":"2001:db8:1::/48","ports":"23"}',
  '{"by":"scanner.example.net","net":"198.51.100.44/32"}',
];
const SETS: Readonly<Record<string, unknown[]>> = {
  allow_ipv4: [{ prefix: { addr: '127.0.0.0', len: 8 } }, { prefix: { addr: '192.0.2.0', len: 24 } }],
  allow_ipv6: [],
  allow_ipv4_host: ['203.0.113.5', '198.51.100.9', '198.51.100.44'],
  allow_ipv6_host: [],
};

/** As `nft -j list set` prints them. */
function kernel(sets = SETS): Outputs {
  const lists = Object.entries(sets).map(([name, elem]) => {
    const set = elem.length > 0 ? { elem } : {};
    return [
      `nft -j list set inet honeyport ${name}.honeyport`,
      JSON.stringify({ nftables: [{ metainfo: {} }, { set }] }),
    ];
  });
  return Object.fromEntries(lists);
}

function makeList(context: TestContext, entries: readonly string[] = ENTRIES) {
  const dir = temporaryDirectory(context);
  const [log, list] = [join(dir, 'honeyport.log'), join(dir, 'honeyport.allow.json')];
  writeFileSync(log, '');
  writeFileSync(
    list,
    `{"version":1,"time":"${new Date(NOW - 5000).toISOString()}","entries":[\n${entries.join(',\n')}\n]}\n`,
    { mode: 0o640 },
  );
  const look = async (outputs: Outputs = kernel(), allow = ALLOW, isRoot = true) => {
    const configuration = parseConfiguration(
      Buffer.from(`decoys: [{ ports: 23 }]\nlog: { file: { path: ${log} } }\n${allow}\n`),
      'a.yaml',
    );
    return told(
      await checkAllowList({ host: hostOf('', outputs, { isRoot }), configuration, facts: factsOf() }),
    ).join('\n');
  };
  return { list, look };
}

test('a list that is in step, trusted and in the kernel is fine', async (context) => {
  const { list, look } = makeList(context);
  assert.equal(await look(), `ok: ${list} has 6 entries, written 5 s ago, as the configuration`);
  // of whom only the quarantine must spare, the kernel's list of whom not to block has nothing
  const spared = '{"by":"guard:bridge","net":"172.18.0.1/32","only":"quarantine"}';
  assert.match(await makeList(context, [...ENTRIES, spared]).look(), /^ok: \S+ has 7 entries/);
});

const FILES: readonly [string, (list: string) => void, RegExp][] = [
  [
    'it is not there',
    (list) => rmSync(list),
    /^finding: there is no \S+honeyport\.allow\.json: .* \| start honeyport/,
  ],
  [
    'others may write it',
    (list) => chmodSync(list, 0o664),
    /^finding: \S+ may be written by others than its owner: .* \| chmod go-w/,
  ],
  [
    'it has a second name',
    (list) => linkSync(list, `${list}.2`),
    /^finding: \S+ is no regular file of one name/,
  ],
  [
    'it is a link',
    (list) => {
      rmSync(list);
      symlinkSync('/etc/passwd', list);
    },
    /^finding: \S+ cannot be used: expected JSON/,
  ],
  [
    'it is a directory',
    (list) => {
      rmSync(list);
      mkdirSync(list);
    },
    /^finding: \S+ cannot be used: expected a regular file/,
  ],
  [
    'it is half a list',
    (list) => writeFileSync(list, '{"version":1,'),
    /^finding: \S+ cannot be used: expected JSON \| let honeyport write it anew/,
  ],
  [
    'it is something else',
    (list) => writeFileSync(list, '{"version":1,"entries":[null,7]}'),
    /^finding: \S+ cannot be used: expected a list of version 1/,
  ],
];

for (const [what, breakIt, expected] of FILES) {
  test(`the allow-list check tells that ${what}`, async (context) => {
    const { list, look } = makeList(context);
    breakIt(list);
    assert.match(await look(), expected);
  });
}

test('the allow-list check tells that the listener has another list than the configuration', async (context) => {
  const { look } = makeList(context);
  assert.match(
    await look(kernel(), `${ALLOW}\n  - 10.0.0.0/8`),
    /^finding: \S+ lacks 10\.0\.0\.0\/8 of the configuration: .* \| systemctl reload honeyport/,
  );
  assert.match(
    await look(kernel(), ALLOW.replace('  - 198.51.100.9\n', '')),
    /^finding: \S+ still has 198\.51\.100\.9, which the configuration has not/,
  );
  assert.match(
    await look(kernel(), `${ALLOW}\n  - other.example.net`),
    /^note: the allow entry other\.example\.net has no address/m,
  );
  const unguarded = makeList(context, ENTRIES.slice(2));
  assert.match(await unguarded.look(), /^finding: \S+ has nothing of the guard, which is on/);
});

test('the allow-list check tells what the kernel would block all the same', async (context) => {
  const { look } = makeList(context);
  const without = { ...SETS, allow_ipv4: [{ prefix: { addr: '127.0.0.0', len: 8 } }], allow_ipv4_host: [] };
  assert.match(
    await look(kernel(without)),
    /^finding: jail honeyport would block 203\.0\.113\.5\/32, 192\.0\.2\.0\/24, 198\.51\.100\.9\/32 and 1 more: /,
  );
  assert.match(await look({}), /^finding: the allow list of jail honeyport is not in the kernel \| /);
  assert.match(
    await look({}, ALLOW, false),
    /^skipped: whether the kernel has the allow list only root may see \| run it as root/m,
  );
  // a part of it will not do, a network around it will
  const half = { ...SETS, allow_ipv4: [SETS.allow_ipv4![0], { prefix: { addr: '192.0.2.0', len: 25 } }] };
  assert.match(await look(kernel(half)), /^finding: jail honeyport would block 192\.0\.2\.0\/24: /);
  const wide = {
    ...SETS,
    allow_ipv4: [{ prefix: { addr: '0.0.0.0', len: 1 } }, { prefix: { addr: '128.0.0.0', len: 1 } }],
    allow_ipv4_host: [],
  };
  assert.match(await look(kernel(wide)), /^ok: /);
});
