import { parseAddress } from '../address.ts';
import { addressKey, parseNetwork, prefixKey } from '../network.ts';

/** The first packet of a knock: a SYN from an address of the Internet that is in no set. */
export interface Knock {
  readonly family: 4 | 6;
  /** The peer's. */
  readonly address: string;
  readonly port: number;
  /** Where it comes in; undefined where that is not known. */
  readonly device: string | undefined;
  /** This host's, canonical. */
  readonly own: readonly string[];
}

/** Whether something holds of a knock; undefined where that cannot be told from the rule. */
export type Truth = boolean | undefined;

export interface Rule {
  holds(knock: Knock): Truth;
  /** The words of its verdict; empty where it has none. */
  readonly verdict: string;
  /** What decides by a map; undefined for most rules. */
  readonly map: VerdictMap | undefined;
}

interface VerdictMap {
  readonly key: string;
  readonly entries: readonly { readonly value: string; readonly verdict: string }[];
}

const VERDICT =
  /(?:^| )((?:accept|drop|return|continue|notrack)|reject(?: with .+)?|(?:jump|goto) \S+|dnat(?: ip6?)? to .+|redirect(?: to .+)?|masquerade|queue(?: .+)?|tproxy(?: ip6?)? to .+|fwd to .+)$/;
/** What only counts or notes. */
const SILENT =
  / ?\b(?:counter packets \d+ bytes \d+|log(?: prefix "[^"]*"| level \w+| flags \w+| group \d+| snaplen \d+| queue-threshold \d+)*|nftrace set \d)/g;

/** Reads a rule as nft prints it. What is not understood makes its truth unknown. */
export function parseRule(text: string): Rule {
  const plain = text
    .replace(/ comment "[^"]*"$/, '')
    .replace(SILENT, '')
    .trim();
  const verdict = VERDICT.exec(plain)?.[1] ?? '';
  const conditions: ((knock: Knock) => Truth)[] = [];
  let rest = plain.slice(0, plain.length - verdict.length).trim();
  let map: VerdictMap | undefined;
  while (rest !== '') {
    const found = CONDITION.exec(rest);
    if (found === null) {
      // a word that is not understood; what follows it must hold all the same
      conditions.push(OTHER_PROTOCOL.test(rest) ? () => false : () => undefined);
      rest = rest.replace(/^\S+ ?/, '');
      continue;
    }
    const { key = '', op, vmap, value = '' } = found.groups!;
    rest = rest.slice(found[0].length).trim();
    if (vmap !== undefined) map = mapOf(key, value);
    // `ip saddr != 192.0.2.1` holds of no IPv6 packet
    else conditions.push((knock) => isOfFamily(key, knock) && negated(op === '!=', holds(key, value, knock)));
  }
  return { holds: (knock) => allOf(conditions.map((condition) => condition(knock))), verdict, map };
}

const KEYS = [
  'meta l4proto',
  'ip protocol',
  'ip6 nexthdr',
  'meta nfproto',
  'iifname',
  'iif',
  '(?:tcp|th) dport',
  'tcp flags',
  'ct state',
  'ct status',
  'ip saddr',
  'ip6 saddr',
  'ip daddr',
  'ip6 daddr',
  'fib daddr type',
  'meta pkttype',
];
const VALUE = String.raw`\{[^}]*\}|"[^"]*"|\S+ / \S+|[^\s{"]\S*`;
const CONDITION = new RegExp(
  `^(?<key>${KEYS.join('|')}) (?:(?<op>!=) )?(?:(?<vmap>vmap) )?(?<value>${VALUE})(?= |$)`,
);
const OTHER_PROTOCOL = /^(?:udp|udplite|icmp|icmpv6|igmp|esp|ah|comp|sctp|dccp|rt|arp|vlan|ether type arp) /;

function allOf(truths: readonly Truth[]): Truth {
  if (truths.includes(false)) return false;
  return truths.includes(undefined) ? undefined : true;
}

function negated(isNegated: boolean, truth: Truth): Truth {
  return isNegated && truth !== undefined ? !truth : truth;
}

/** Whether one of the values, or the only one, is the knock's. */
export function holds(key: string, text: string, knock: Knock): Truth {
  if (text.startsWith('@')) return isInSet(key, knock);
  if (key === 'tcp flags') return text.startsWith('syn / ') ? true : undefined;
  const values = text
    .replace(/^\{|\}$/g, '')
    .split(',')
    .map((value) => value.trim().replace(/^"|"$/g, ''));
  const truths = values.map((value) => holdsValue(key, value, knock));
  if (truths.includes(true)) return true;
  return truths.includes(undefined) ? undefined : false;
}

/** Of what a set has, the rules tell nothing; but somebody of the Internet is in none. */
function isInSet(key: string, knock: Knock): Truth {
  if (!isOfFamily(key, knock)) return false;
  return key.endsWith('saddr') ? false : undefined;
}

function holdsValue(key: string, value: string, knock: Knock): Truth {
  switch (key) {
    case 'meta l4proto':
    case 'ip protocol':
    case 'ip6 nexthdr':
      if (!isOfFamily(key, knock)) return false;
      return value === 'tcp' || value === '6';
    case 'meta nfproto':
      return value === `ipv${knock.family}`;
    case 'iif':
    case 'iifname':
      return isDevice(value, knock.device);
    case 'tcp dport':
    case 'th dport':
      return isPort(value, knock.port);
    case 'ct state':
      return value === 'new' || value === 'untracked' ? value === 'new' : false;
    case 'ct status':
      return false;
    case 'ip saddr':
    case 'ip6 saddr':
      return isOfFamily(key, knock) && isIn(value, knock.address);
    case 'ip daddr':
    case 'ip6 daddr':
      return isOfFamily(key, knock) && isOwn(value, knock);
    case 'fib daddr type':
      return value === 'local';
    case 'meta pkttype':
      return value === 'host' || value === 'unicast';
    default:
      return undefined;
  }
}

function isOfFamily(key: string, { family }: Knock): boolean {
  if (/^ip /.test(key)) return family === 4;
  return !/^ip6 /.test(key) || family === 6;
}

function isDevice(value: string, device: string | undefined): Truth {
  if (value === 'lo') return false;
  if (device === undefined) return undefined;
  return value.endsWith('*') ? device.startsWith(value.slice(0, -1)) : value === device;
}

function isPort(value: string, port: number): Truth {
  const [first, last = first] = value
    .split('-')
    .map((text) => (/^\d+$/.test(text) ? Number(text) : undefined));
  return first === undefined || last === undefined ? undefined : port >= first && port <= last;
}

function isIn(value: string, address: string): Truth {
  const network = parseNetwork(value);
  const family = address.includes(':') ? 6 : 4;
  if ('expected' in network) return undefined;
  return network.family === family && network.key === prefixKey(addressKey(address), network.length);
}

/** Some of this host's addresses may be meant, and not the one that is knocked at. */
function isOwn(value: string, { own, family }: Knock): Truth {
  const ofFamily = own.filter(
    (address) => parseAddress(address)?.family === family && !/^127\.|^::1$/.test(address),
  );
  const truths = ofFamily.map((address) => isIn(value, address));
  if (truths.length > 0 && truths.every((truth) => truth === true)) return true;
  return truths.every((truth) => truth === false) ? false : undefined;
}

/** A map that has a name is not listed with the rules. */
function mapOf(key: string, text: string): VerdictMap {
  const entries = text
    .replace(/^\{|\}$/g, '')
    .split(',')
    .map((entry) => /^\s*(.*?) : (.*?)\s*$/.exec(entry));
  return {
    key,
    entries: entries.flatMap((entry) => (entry === null ? [] : [{ value: entry[1]!, verdict: entry[2]! }])),
  };
}
