import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkFirewall } from '../../src/doctor/check-firewall.ts';
import { checkNftables, readRules } from '../../src/doctor/check-nftables.ts';
import { parseRuleSet } from '../../src/doctor/rule-set.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { configurationOf, factsOf, hostOf, jailOf, PLAN, told, writeTree } from './support.ts';

const ruleSet = (name: string) =>
  readFileSync(fileURLToPath(new URL(`rule-sets/${name}.nft`, import.meta.url)), 'utf8');
const OURS = ruleSet('honeyport');
const NFT = { 'nft --version': 'nftables v1.0.6 (Lester Gooch #5)\n' };

async function nftables(text: string, more?: Parameters<typeof factsOf>[0], version = NFT): Promise<string> {
  const results = await checkNftables(hostOf('', version), { ruleSet: parseRuleSet(text) }, factsOf(more));
  return told(results).join('\n');
}

test("the action's own chain is known in the kernel's listing", async () => {
  const { chains, sets } = parseRuleSet(OURS);
  const [chain] = chains;
  assert.deepEqual(
    [chain?.family, chain?.table, chain?.name, chain?.type, chain?.hook, chain?.priority, chain?.policy],
    ['inet', 'honeyport', 'prerouting.honeyport', 'filter', 'prerouting', -310, 'accept'],
  );
  assert.equal(sets.length, 8);
  assert.equal(await nftables(OURS), 'ok: prerouting.honeyport hooks prerouting before everything else');
});

const ELSEWHERE = PLAN.map((line) => line.replace('"log"', '"table": "mine", "log"'));
const KERNEL: readonly [string, string, Parameters<typeof factsOf>[0], RegExp][] = [
  [
    'the chain is gone',
    '',
    {},
    /^finding: the chain inet honeyport prerouting\.honeyport of jail honeyport is not in the kernel \| fail2ban puts it back/,
  ],
  [
    'it is in another table than the jail says',
    OURS,
    { plan: ELSEWHERE },
    /^finding: the chain inet mine prerouting\.honeyport /,
  ],
  [
    'a set is gone',
    OURS.replace(/\tset ban_ipv6[^}]*\}\n/, ''),
    {},
    /^finding: inet honeyport lacks the set ban_ipv6 of jail honeyport/,
  ],
  [
    'the chain hooks elsewhere',
    OURS.replace('raw - 10', 'filter'),
    {},
    /^finding: prerouting\.honeyport hooks prerouting at 0, expected prerouting at -310/,
  ],
  [
    'no rule blocks',
    OURS.replace(/ drop$/gm, ''),
    {},
    /^finding: prerouting\.honeyport has no rule that blocks whoever is banned/,
  ],
  [
    'what only observes need not block',
    OURS.replace(/ drop$/gm, ''),
    { jails: [jailOf({ mode: 'observe' })] },
    /^ok: /,
  ],
  [
    'a flowtable passes everything by',
    `${OURS}table inet fw {\n\tflowtable fast {\n\t\thook ingress priority filter\n\t\tdevices = { eth0 }\n\t}\n}\n`,
    {},
    /^note: the flowtable inet fw fast takes what it forwards past all chains: .* \| /m,
  ],
  [
    'a device hands packets on',
    `${OURS}table netdev t {\n\tchain in {\n\t\ttype filter hook ingress device "eth0" priority -500; policy accept;\n\t\tip daddr 10.0.0.1 fwd to "eth1"\n\t}\n}\n`,
    {},
    /^finding: netdev t in hands packets on at the device/,
  ],
  [
    'a chain is left of a jail that is gone',
    OURS.replace(
      /\tchain/,
      '\tchain prerouting.old {\n\t\ttype filter hook prerouting priority raw - 10; policy accept;\n\t}\n\n\tchain',
    ),
    {},
    /^note: the chain inet honeyport prerouting\.old belongs to no jail that runs/m,
  ],
  ['no jail runs', OURS, { jails: [] }, /^skipped: no jail runs that blocks with honeyport_nftables/],
];

for (const [what, text, more, expected] of KERNEL) {
  test(`the nftables check tells that ${what}`, async () => {
    assert.match(await nftables(text, more), expected);
  });
}

test('the nftables check tells that nft is old, missing, or not for everybody', async () => {
  assert.match(
    await nftables(OURS, {}, { 'nft --version': 'nftables v0.9.8\n' }),
    /^finding: nft 0\.9\.8 is older than 1\.0\.6/,
  );
  const results = async (host: ReturnType<typeof hostOf>) =>
    told(await checkNftables(host, await readRules(host), factsOf()))[0]!;
  assert.match(await results(hostOf('')), /^finding: nft is not installed \| apt-get install nftables$/);
  assert.match(await results(hostOf('', { nft: 1 })), /^finding: nft cannot read the rules: it failed \| /);
  assert.match(
    await results(hostOf('', { nft: 1 }, { isRoot: false })),
    /^skipped: only root may read the rules of nftables \| run it as root$/,
  );
});

const ROUTE = { 'proc/net/route': 'Iface\tDestination\tGateway\neth0\t00000000\t01020304\t0003\n' };
const base = (rules: string, head = 'type filter hook input priority filter; policy accept;') =>
  `table inet t {\n\tset open {\n\t\ttype inet_service\n\t}\n\n\tchain input {\n\t\t${head}\n${rules.replace(/^/gm, '\t\t')}\n\t}\n\n\tchain other {\n\t\ttcp dport 23 drop\n\t}\n}\n`;
const FINE = /^ok: no rule of this host keeps a knock from port 23,2323$/;
const FIREWALLS: readonly [string, string, RegExp][] = [
  ['no rule is in the way', '', FINE],
  ["honeyport's own rules are not in the way", OURS, FINE],
  [
    'ufw drops',
    ruleSet('ufw'),
    /^finding: nobody can knock at port 23,2323 over IPv4: the chain ip filter INPUT lets no such packet in \| ufw allow 23\/tcp && ufw allow 2323\/tcp\nfinding: nobody .* over IPv6: the chain ip6 filter INPUT .* \| ufw allow/,
  ],
  [
    'ufw lets in',
    ruleSet('ufw').replaceAll('tcp dport 22 counter', 'tcp dport { 22, 23, 2323 } counter'),
    FINE,
  ],
  [
    'firewalld rejects',
    ruleSet('firewalld'),
    /^finding: nobody can knock at port 23 over IPv4 and IPv6: firewalld lets no such packet in \| firewall-cmd --permanent --add-port=23\/tcp && firewall-cmd --reload$/,
  ],
  ['firewalld lets in', ruleSet('firewalld').replace('dport 2323', 'dport 20-3000'), FINE],
  [
    'iptables drops',
    ruleSet('iptables'),
    /^finding: nobody can knock at port 23,2323 over IPv4: .* \| iptables -I INPUT -p tcp --dport 23 -j ACCEPT && iptables -I INPUT -p tcp --dport 2323 -j ACCEPT$/,
  ],
  [
    'Docker publishes the port',
    ruleSet('docker'),
    /^finding: knocks at port 2323 never reach honeyport: the chain ip nat PREROUTING, as Docker publishes a port, sends them on \(dnat to 172\.17\.0\.2:80\) \| publish the container/,
  ],
  [
    'a policy drops',
    base(
      'ct state established,related accept\niifname "lo" accept',
      'type filter hook input priority filter; policy drop;',
    ),
    /^finding: .* port 23,2323 over IPv4 and IPv6: the chain inet t input .* \| nft insert rule inet t input tcp dport \{ 23, 2323 \} accept$/,
  ],
  [
    'a chain that is jumped to drops',
    base('tcp flags != syn / fin,syn,rst,ack ct state new drop\njump other'),
    /^finding: nobody can knock at port 23 over/,
  ],
  ['a chain returns', base('jump other').replace('tcp dport 23 drop', 'return\n\t\ttcp dport 23 drop'), FINE],
  [
    'a map of verdicts drops',
    base('tcp dport vmap { 22 : accept, 23 : drop }'),
    /^finding: nobody can knock at port 23 over/,
  ],
  [
    'a map of states accepts what is new',
    base('ct state vmap { invalid : drop, established : accept, new : accept }\ndrop'),
    FINE,
  ],
  [
    'prerouting drops',
    base(
      'iifname "eth*" tcp dport 23 log prefix "a drop accept " flags all counter packets 1 bytes 2 drop comment "accept"',
      'type filter hook prerouting priority raw; policy accept;',
    ),
    /^finding: nobody can knock at port 23 over/,
  ],
  [
    'another device, another protocol and another peer do not matter',
    base(
      'iifname "eth1" drop\nudp dport 23 drop\nmeta l4proto { icmp, udp } drop\nip saddr 10.0.0.0/8 drop\nip6 saddr fe80::/10 drop\nip saddr @bad drop\nct state invalid drop',
    ),
    FINE,
  ],
  [
    'only those that are no peers get in',
    base('ip saddr != 10.0.0.0/8 tcp dport 23 drop'),
    /^finding: nobody can knock at port 23 over IPv4: /,
  ],
  [
    'another address of this host does not matter',
    base('ip daddr 192.0.2.77 drop\nip daddr { 203.0.113.5 } tcp dport 2323 reject'),
    /^finding: nobody can knock at port 2323 over IPv4: /,
  ],
  [
    'what is in doubt is not claimed',
    base(
      'tcp dport @open drop\nxt match "geoip" drop\nmeta mark 0x1 drop\nlimit rate over 5/second drop\nqueue to 0',
    ),
    FINE,
  ],
  ['chains that jump in a circle end', base('jump other').replace('tcp dport 23 drop', 'jump other'), FINE],
  ['a listing that is no listing is no rule', '\x00\xff{{{{ chain'.repeat(1000), FINE],
];

for (const [what, text, expected] of FIREWALLS) {
  test(`the firewall check tells that ${what}`, (context) => {
    const root = temporaryDirectory(context);
    writeTree(root, ROUTE);
    const results = checkFirewall(hostOf(root), configurationOf(), { ruleSet: parseRuleSet(text) });
    assert.match(told(results).join('\n'), expected);
  });
}

test('rules of the old iptables are not looked at, and that is said', (context) => {
  const root = temporaryDirectory(context);
  writeTree(root, { 'proc/net/ip_tables_names': 'nat\nfilter\n' });
  const results = told(checkFirewall(hostOf(root), configurationOf(), { ruleSet: parseRuleSet('') }));
  assert.match(
    results[1]!,
    /^skipped: rules of the old iptables are there \(nat, filter\), which are not looked at \| iptables-legacy-save/,
  );
});
