import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { checkFirewall } from '../../src/doctor/check-firewall.ts';
import { checkListener } from '../../src/doctor/check-listener.ts';
import { checkUnused } from '../../src/doctor/check-unused.ts';
import { skipped } from '../../src/doctor/result.ts';
import { parseRuleSet } from '../../src/doctor/rule-set.ts';
import { sampleUnusedPorts } from '../../src/doctor/unused-sample.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { configurationOf, hostOf, listenerOf, type Outputs, told, writeTree } from './support.ts';

const ruleSet = (name: string) => readFileSync(new URL(`rule-sets/${name}.nft`, import.meta.url), 'utf8');
const [OLD, NEW] = [ruleSet('unused-1.0.6'), ruleSet('unused-1.1.3')];

const UNUSED = 'decoys: [{ ports: unused }]';
const PROC = { 'proc/sys/net/ipv4/ip_local_port_range': '32768\t60999\n' };
const SYSTEMD = { 'run/systemd/system/.keep': '' };
const TIMER_ON = {
  'systemctl is-active honeyport-rules.timer': 'active\n',
  'systemctl is-enabled honeyport-rules.timer': 'enabled\n',
};
const MARKED = listenerOf({ capabilities: (1n << 10n) | (1n << 13n) });

interface Given {
  readonly text?: string;
  readonly rules?: string;
  readonly outputs?: Outputs;
  readonly files?: Readonly<Record<string, string>>;
  readonly listener?: typeof MARKED;
}

async function look(context: TestContext, given: Given): Promise<string> {
  const { text = UNUSED, rules = OLD, outputs = {}, files = {}, listener = MARKED } = given;
  const root = temporaryDirectory(context);
  writeTree(root, { ...PROC, ...files });
  const results = await checkUnused({
    host: hostOf(root, outputs),
    configuration: configurationOf(text),
    listeners: [listener],
    rules: { ruleSet: parseRuleSet(rules) },
  });
  return told(results).join('\n');
}

const OK = /^ok: what is for unused ports is handed over to the listener at port 65535$/;
const NOT_LOADED =
  /^finding: the rules are not loaded: nobody who contacts an unused port is seen \| systemctl enable --now honeyport-rules\.timer, or by hand: honeyport rules \| nft -f -$/;
const DIFFERENT = 'finding: the loaded rules are not those of the configuration: ';
const AGAIN = ' | systemctl start honeyport-rules, or by hand: honeyport rules | nft -f -';

const CASES: readonly [string, Given, RegExp | string][] = [
  ['all is well, in the words of nft 1.0.6', {}, OK],
  ['all is well, in the words of nft 1.1.3', { rules: NEW }, OK],
  ['all is well beside other tables', { rules: `${ruleSet('docker')}\n${OLD}\n${ruleSet('ufw')}` }, OK],
  ['the timer is on', { files: SYSTEMD, outputs: TIMER_ON }, OK],
  [
    'the timer is off',
    { files: SYSTEMD },
    /^note: honeyport-rules\.timer is not on: .* \| systemctl enable --now honeyport-rules\.timer$/m,
  ],
  [
    'the timer is to be on from the next boot',
    { files: SYSTEMD, outputs: { ...TIMER_ON, 'systemctl is-active honeyport-rules.timer': 3 } },
    /^note: honeyport-rules\.timer is not on: /m,
  ],
  [
    'the timer is on until the next boot',
    { files: SYSTEMD, outputs: { ...TIMER_ON, 'systemctl is-enabled honeyport-rules.timer': 1 } },
    /^note: honeyport-rules\.timer is not on: /m,
  ],
  ['nothing is loaded', { rules: '', outputs: { 'nft -c': '' } }, NOT_LOADED],
  [
    'the kernel has no tproxy',
    {
      rules: '',
      outputs: { ...probe('nft_fib', ''), ...probe('nft_socket', ''), ...probe('nft_tproxy', 1) },
    },
    /^finding: the rules cannot be loaded: this kernel, or nft, lacks nft_tproxy \| modprobe nft_tproxy says why; in a container, on the host itself$/,
  ],
  [
    'the kernel has none of it',
    { rules: '', outputs: { 'nft -c': 1 } },
    /^finding: .* lacks nft_fib and nft_socket and nft_tproxy \|/,
  ],
  [
    'the port is another',
    { text: 'decoys: [{ ports: 65535 }, { ports: unused }]' },
    `${DIFFERENT}port 65535, expected 65534${AGAIN}`,
  ],
  [
    'the mark is another',
    { text: `${UNUSED}\nmark: 7` },
    `${DIFFERENT}mark 0x686f6e65, expected 0x7${AGAIN}`,
  ],
  ['the mark is off', { text: `${UNUSED}\nmark: off` }, `${DIFFERENT}mark 0x686f6e65, expected off${AGAIN}`],
  [
    'exceptions are others',
    { text: 'decoys: [{ ports: unused, except: [22, 23, ephemeral] }]' },
    `${DIFFERENT}except 80,113,443,32768-60999, expected 22-23,32768-60999${AGAIN}`,
  ],
  [
    'nothing is excepted',
    { text: 'decoys: [{ ports: unused, except: [] }]' },
    `${DIFFERENT}except 80,113,443,32768-60999, expected none${AGAIN}`,
  ],
  [
    'other ports are ephemeral',
    { files: { 'proc/sys/net/ipv4/ip_local_port_range': '1024 2000' } },
    /except 80,113,443,32768-60999, expected 80,113,443,1024-2000 \|/,
  ],
  [
    'one exception is as good as a list',
    {
      text: 'decoys: [{ ports: unused, except: 22 }]',
      rules: OLD.replace(/tcp dport \{[^}]*\}/, 'tcp dport 22'),
    },
    OK,
  ],
  [
    'a rule is gone',
    { rules: OLD.replace(/^.*fib daddr.*\n/m, '') },
    `finding: the table inet honeyport_unused was changed, or is of another version${AGAIN}`,
  ],
  [
    'it hooks elsewhere',
    { rules: OLD.replace('dstnat + 10', 'mangle') },
    /^finding: the table .* was changed/,
  ],
  ['what hands over is gone', { rules: OLD.replace(/^.*tproxy.*\n/m, '') }, /port none, expected 65535/],
  [
    'the listener lacks the right',
    { listener: listenerOf() },
    /^finding: the listener \(uid 990\) has no CAP_NET_RAW: it takes nothing for unused ports \| give the service/,
  ],
  [
    'there is no such decoy',
    { text: 'decoys: [{ ports: 23 }]', rules: '' },
    /^ok: no decoy has `ports: unused`/,
  ],
  [
    'there is none any more',
    { text: 'decoys: [{ ports: 23 }]' },
    'note: the table inet honeyport_unused is loaded, and no decoy has `ports: unused` | honeyport rules --remove | nft -f -',
  ],
];

function probe(module: string, said: string | number): Outputs {
  const words = { nft_fib: 'fib', nft_socket: 'socket', nft_tproxy: 'meta l4proto tcp tproxy' }[module];
  const chain =
    'add chain inet honeyport_check c { type filter hook prerouting priority -90 ; policy accept ; }';
  return {
    [`nft -c add table inet honeyport_check ; ${chain} ; add rule inet honeyport_check c ${words}`]: said,
  };
}

for (const [what, given, expected] of CASES) {
  test(`the check of unused ports tells that ${what}`, async (context) => {
    const said = await look(context, given);
    if (typeof expected === 'string') assert.equal(said, expected);
    else assert.match(said, expected);
  });
}

test('where the rules are not known, nothing is claimed of them', async () => {
  const results = await checkUnused({
    host: hostOf(''),
    configuration: configurationOf(UNUSED),
    listeners: [],
    rules: { unknown: skipped('only root may read the rules of nftables', 'sudo') },
  });
  assert.deepEqual(told(results), [
    'skipped: the rules are not known: only root may read the rules of nftables | sudo',
  ]);
});

test('a sample of unused ports has low and high ones, none that is excepted, a decoy, or listened on', (context) => {
  const root = temporaryDirectory(context);
  const listening = (port: number) =>
    `   0: 00000000:${port.toString(16).padStart(4, '0').toUpperCase()} 00000000:0000 0A 0 0 0 0 0 1\n`;
  writeTree(root, { ...PROC, 'proc/net/tcp': `head\n${listening(7)}${listening(2001)}` });
  const sample = (text: string) => sampleUnusedPorts(hostOf(root), configurationOf(text));
  assert.deepEqual(sample(UNUSED), [8, 2000, 20_000, 62_000]);
  assert.deepEqual(
    sample('decoys: [{ ports: [2000, 62000] }, { ports: unused, except: [1-40000, 61000-65530] }]'),
    [40_001, 65_531],
  );
  assert.deepEqual(sample('decoys: [{ ports: 23 }]'), []);
});

test('the listener is looked for where it takes what is handed over', (context) => {
  const root = temporaryDirectory(context);
  writeTree(root, { 'proc/net/tcp': 'head\n' });
  const results = checkListener({
    host: hostOf(root),
    configuration: configurationOf(UNUSED),
    listeners: [],
  });
  assert.match(told(results).join('\n'), /^finding: honeyport does not run, nobody listens on port 65535 /);
});

const input = (rules: string) => `table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		${rules}
	}
}
`;
const FIREWALLS: readonly [string, string, RegExp][] = [
  [
    'nothing stands in the way',
    OLD,
    /^ok: no rule of this host keeps a knock from unused ports \(as 7,2000,20000,62000\)$/,
  ],
  [
    'an input chain lets only services in',
    input('tcp dport 22 accept'),
    /^finding: nobody can knock at unused ports \(7,2000,20000,62000 and others\) over IPv4 and IPv6: the chain inet filter input lets no such packet in \| nft insert rule inet filter input meta l4proto tcp socket transparent 1 accept$/,
  ],
  [
    'an input chain lets in what is handed over',
    input('meta l4proto tcp socket transparent 1 accept'),
    /^ok: /,
  ],
  [
    'ufw lets nothing in',
    ruleSet('ufw'),
    /\| write into \/etc\/ufw\/before\.rules, before COMMIT: -A ufw-before-input -p tcp -m socket --transparent --nowildcard -j ACCEPT; then: ufw reload$/m,
  ],
  [
    'iptables lets nothing in',
    ruleSet('iptables'),
    /\| iptables -I INPUT -p tcp -m socket --transparent --nowildcard -j ACCEPT$/m,
  ],
  ['firewalld lets nothing in', ruleSet('firewalld'), /\| firewalld has no word for it: /],
];

for (const [what, rules, expected] of FIREWALLS) {
  test(`the firewall check tells of unused ports that ${what}`, (context) => {
    const root = temporaryDirectory(context);
    writeTree(root, PROC);
    const results = checkFirewall(hostOf(root), configurationOf(UNUSED), { ruleSet: parseRuleSet(rules) });
    assert.match(told(results).join('\n'), expected);
  });
}
