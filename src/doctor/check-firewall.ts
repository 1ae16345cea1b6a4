import type { Configuration } from '../configuration/configuration.ts';
import { handOverPort } from '../configuration/hand-over-port.ts';
import { formatPorts } from '../format/ports.ts';
import { type Endpoint, endpointsOf } from './check-listener.ts';
import type { Rules } from './check-nftables.ts';
import { type Host, readText } from './host.ts';
import { createPacketPath, type Fate, type PacketPath } from './packet-path.ts';
import { finding, ok, type Result, skipped } from './result.ts';
import type { Knock } from './rule.ts';
import type { Chain } from './rule-set.ts';
import { sampleUnusedPorts } from './unused-sample.ts';

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
  const unused = sampleUnusedPorts(host, configuration);
  const asked = [
    { knocks: knocksAt(host, listedEndpoints(configuration)), isUnused: false },
    {
      knocks: knocksAt(
        host,
        unused.map((port) => ({ address: undefined, port })),
      ),
      isUnused: true,
    },
  ];
  const results = chains.flatMap((chain) =>
    asked.flatMap(({ knocks, isUnused }) => chainResults(chain, path, knocks, isUnused)),
  );
  const legacy = legacyTables(host);
  const all = [...results, ...legacy];
  if (results.length > 0) return all;
  return [ok(`no rule of this host keeps a knock from ${portsText(configuration, unused)}`), ...all];
}

/** Those of decoys whose ports the configuration names. */
function listedEndpoints(configuration: Configuration): Endpoint[] {
  const handOver = handOverPort(configuration);
  return endpointsOf(configuration).filter(({ port }) => port !== handOver);
}

/** What the host does with packets for itself, before the listener has them. */
function isOnTheWay({ hook, family, name, priority }: Chain): boolean {
  const isOurs = family === 'inet' && priority === -310 && /^\w+\./.test(name);
  return FAMILIES[family] !== undefined && ['ingress', 'prerouting', 'input'].includes(hook ?? '') && !isOurs;
}

function knocksAt(host: Host, endpoints: readonly Endpoint[]): Knock[] {
  const device = outerDevice(host);
  const hasIpv6 = host.addresses.some((address) => address.includes(':') && !/^(?:::1$|fe80:)/.test(address));
  return endpoints.flatMap(({ address, port }) => {
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

function chainResults(chain: Chain, path: PacketPath, knocks: readonly Knock[], isUnused: boolean): Result[] {
  const byFate = new Map<string, { fate: Fate; ports: Set<number>; families: Set<4 | 6> }>();
  for (const knock of knocks.filter(({ family }) => FAMILIES[chain.family]!.includes(family))) {
    const [fate, ...others] = path.fates(chain, knock);
    if (fate === undefined || others.length > 0 || fate === 'accept' || fate === 'continue') continue;
    const same = byFate.get(fate) ?? { fate, ports: new Set(), families: new Set() };
    same.ports.add(knock.port);
    same.families.add(knock.family);
    byFate.set(fate, same);
  }
  return [...byFate.values()].flatMap(({ fate, ports, families }) => {
    const over = [...families].map((family) => `IPv${family}`).join(' and ');
    if (isUnused) return fate === 'drop' ? [unusedDropped(chain, ports, over)] : [];
    return [fate === 'drop' ? dropped(chain, ports, over) : redirected(chain, ports, fate)];
  });
}

function dropped(chain: Chain, ports: ReadonlySet<number>, over: string): Result {
  return finding(
    `nobody can knock at port ${formatPorts(ports)} over ${over}: ${nameOf(chain)} lets no such packet in`,
    adviceFor(chain, ports),
  );
}

/** What is handed over is known by its socket; a port that is sent on is used. */
function unusedDropped(chain: Chain, ports: ReadonlySet<number>, over: string): Result {
  return finding(
    `nobody can knock at unused ports (${formatPorts(ports)} and others) over ${over}: ${nameOf(chain)} lets no such packet in`,
    adviceForUnused(chain),
  );
}

function adviceForUnused({ family, table, name, hook, rules }: Chain): string {
  if (table === 'firewalld')
    return 'firewalld has no word for it: exclude such a decoy, or open the ports that it is to have';
  const isUfw = rules.some((rule) => /jump ufw6?-/.test(rule));
  const program = family === 'ip6' ? 'ip6tables' : 'iptables';
  if (isUfw || (family !== 'inet' && name === name.toUpperCase())) {
    const line = `-A ufw${family === 'ip6' ? '6' : ''}-before-input -p tcp -m socket --transparent --nowildcard -j ACCEPT`;
    const file = `/etc/ufw/before${family === 'ip6' ? '6' : ''}.rules`;
    return isUfw
      ? `write into ${file}, before COMMIT: ${line}; then: ufw reload`
      : `${program} -I ${name} -p tcp -m socket --transparent --nowildcard -j ACCEPT`;
  }
  return hook === 'input'
    ? `nft insert rule ${family} ${table} ${name} meta l4proto tcp socket transparent 1 accept`
    : 'let such packets through there: they are handed over after it';
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

function portsText(configuration: Configuration, unused: readonly number[]): string {
  const ports = formatPorts(new Set(listedEndpoints(configuration).map(({ port }) => port)));
  const others = unused.length === 0 ? [] : [`unused ports (as ${formatPorts(new Set(unused))})`];
  return [...(ports === '' ? [] : [`port ${ports}`]), ...others].join(' and ');
}
