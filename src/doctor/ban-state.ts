import { addressFromBytes, parseAddress } from '../address.ts';
import { maskBytes } from '../network.ts';
import { placeOf } from './check-nftables.ts';
import { type Fail2banFacts, type JailFacts, plannedOption } from './fail2ban-facts.ts';
import { type Host, printed } from './host.ts';

/** Of these jails those that have banned an address. */
export async function jailsThatBan(
  host: Host,
  jails: readonly JailFacts[],
  address: string,
): Promise<JailFacts[]> {
  const bans = await Promise.all(
    jails.map(async ({ name }) => (await printed(host, 'fail2ban-client', 'get', name, 'banip')) ?? ''),
  );
  return jails.filter((_, index) => bans[index]!.split(/\s+/).includes(address));
}

/** Whether the kernel's set of a jail has an address, or the network that `prefix6` makes of it. */
export async function isInKernel(
  host: Host,
  facts: Fail2banFacts,
  jail: string,
  address: string,
): Promise<boolean> {
  const { table } = placeOf(facts, jail);
  const length = Number(plannedOption(facts.plan ?? [], jail, 'prefix6') ?? 128);
  const isWide = address.includes(':') && length < 128;
  const set = `ban_ipv${address.includes(':') ? 6 : 4}${isWide ? `_${length}` : ''}.${jail}`;
  const element = isWide ? addressFromBytes(maskBytes(parseAddress(address)!.bytes, length), 0, 16) : address;
  return (await printed(host, 'nft', 'get', 'element', 'inet', table, set, `{ ${element} }`)) !== undefined;
}

/** Lifts bans of addresses in all of these jails; what is not banned is no matter. */
export async function unban(
  host: Host,
  jails: readonly JailFacts[],
  addresses: readonly string[],
): Promise<void> {
  if (addresses.length === 0) return;
  for (const { name } of jails) await host.run('fail2ban-client', 'set', name, 'unbanip', ...addresses);
}
