import type { Configuration } from '../configuration/configuration.ts';
import { formatPorts } from '../format/ports.ts';
import { endpointsOf } from './check-listener.ts';
import type { Rules } from './check-nftables.ts';
import { type Host, readText } from './host.ts';
import { createPacketPath, type Fate, type PacketPath } from './packet-path.ts';
import { finding, ok, type Result, skipped } from './result.ts';
import type { Knock } from './rule.ts';
import type { Chain } from './rule-set.ts';

/** A peer of the Internet, as documentation has them. */
const PEERS = { 4: '198.51.100.7', 6: '2001:db8::7' } as const;
const FAMILIES: Readonly<Record<string, readonly (4 | 6)[]>> = {
  ip: [4],
  ip6: [6],
  inet: [4, 6],
  netdev: [4, 6],
};

/** Whether a knock from the Internet gets through this host's own rules to the listener. */
export function checkFirewall(host: Host, configuration: Configuration, rules: Rules): Result[] {
  if ('unknown' in rules)
    return [skipped(`the rules are not known: ${rules.unknown.message}`, rules.unknown.advice)];
  const chains = rules.ruleSet.chains.filter(isOnTheWay);
  const path = createPacketPath(rules.ruleSet);
  const results = chains.flatMap((chain) => chainResults(chain, path, knocksAt(host, configuration)));
  const legacy = legacyTables(host);
  const all = [...results, ...legacy];
  if (results.length > 0) return all;
  return [ok(`no rule of this host keeps a knock from port ${portsText(configuration)}`), ...all];
}

/** What the host does with packets for itself, before the listener has them. */
function isOnTheWay({ hook, family, name, priority }: Chain): boolean {
  const isOurs = family === 'inet' && priority === -310 && /^\w+\./.test(name);
  return FAMILIES[family] !== undefined && ['ingress', 'prerouting', 'input'].includes(hook ?? '') && !isOurs;
}

function knocksAt(host: Host, configuration: Configuration): Knock[] {
  const device = outerDevice(host);
  const hasIpv6 = host.addresses.some((address) => address.includes(':') && !/^(?:::1$|fe80:)/.test(address));
  return endpointsOf(configuration).flatMap(({ address, port }) => {
    const families = address === undefined ? (hasIpv6 ? [4, 6] : [4]) : [address.includes(':') ? 6 : 4];
    const own = address === undefined ? host.addresses : [address];
    return (families as (4 | 6)[]).map((family) => ({ family, address: PEERS[family], port, device, own }));
  });
}

/** Of the default route; without one, of the first route at all. */
function outerDevice(host: Host): string | undefined {
  const table = readText(host, '/proc/net/route') ?? '';
  return (/^(\S+)\t00000000\t/m.exec(table) ?? /^(\S+)\t[0-9A-F]{8}\t/m.exec(table))?.[1];
}

function chainResults(chain: Chain, path: PacketPath, knocks: readonly Knock[]): Result[] {
  const byFate = new Map<string, { fate: Fate; ports: Set<number>; families: Set<4 | 6> }>();
  for (const knock of knocks.filter(({ family }) => FAMILIES[chain.family]!.includes(family))) {
    const [fate, ...others] = path.fates(chain, knock);
    if (fate === undefined || others.length > 0 || fate === 'accept' || fate === 'continue') continue;
    const same = byFate.get(fate) ?? { fate, ports: new Set(), families: new Set() };
    same.ports.add(knock.port);
    same.families.add(knock.family);
    byFate.set(fate, same);
  }
  return [...byFate.values()].map(({ fate, ports, families }) => {
    const over = [...families].map((family) => `IPv${family}`).join(' and ');
    return fate === 'drop' ? dropped(chain, ports, over) : redirected(chain, ports, fate);
  });
}

function dropped(chain: Chain, ports: ReadonlySet<number>, over: string): Result {
  return finding(
    `nobody can knock at port ${formatPorts(ports)} over ${over}: ${nameOf(chain)} lets no such packet in`,
    adviceFor(chain, ports),
  );
}

function redirected(chain: Chain, ports: ReadonlySet<number>, fate: Fate): Result {
  const maker = chain.table === 'nat' ? ', as Docker publishes a port,' : '';
  return finding(
    `knocks at port ${formatPorts(ports)} never reach honeyport: ${nameOf(chain)}${maker} sends them on (${fate})`,
    'publish the container at another port, or take the port out of the configuration',
  );
}

function nameOf({ family, table, name }: Chain): string {
  if (table === 'firewalld') return 'firewalld';
  return `the chain ${family} ${table} ${name}`;
}

/** In the words of whoever made the rules. */
function adviceFor(chain: Chain, ports: ReadonlySet<number>): string {
  const ranges = formatPorts(ports).split(',');
  const { family, table, name, rules } = chain;
  if (rules.some((rule) => /jump ufw6?-/.test(rule)))
    return ranges.map((range) => `ufw allow ${range.replace('-', ':')}/tcp`).join(' && ');
  if (table === 'firewalld') {
    const options = ranges.map((range) => `--add-port=${range}/tcp`).join(' ');
    return `firewall-cmd --permanent ${options} && firewall-cmd --reload`;
  }
  if (family !== 'inet' && name === name.toUpperCase()) {
    const program = family === 'ip6' ? 'ip6tables' : 'iptables';
    return ranges
      .map((range) => `${program} -I ${name} -p tcp --dport ${range.replace('-', ':')} -j ACCEPT`)
      .join(' && ');
  }
  return `nft insert rule ${family} ${table} ${name} tcp dport { ${ranges.join(', ')} } accept`;
}

/** Rules that nft does not see. */
function legacyTables(host: Host): Result[] {
  const files = ['ip_tables_names', 'ip6_tables_names'].map(
    (name) => readText(host, `/proc/net/${name}`) ?? '',
  );
  const tables = new Set(files.flatMap((text) => text.split('\n')).filter((name) => name !== ''));
  if (tables.size === 0) return [];
  return [
    skipped(
      `rules of the old iptables are there (${[...tables].join(', ')}), which are not looked at`,
      'iptables-legacy-save shows whether they let the decoy ports in',
    ),
  ];
}

function portsText(configuration: Configuration): string {
  return formatPorts(new Set(endpointsOf(configuration).map(({ port }) => port)));
}
