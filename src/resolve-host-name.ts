import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { parseAddress } from './address.ts';
import { isErrnoException } from './errors.ts';

/** What a host name stands for. */
export interface Resolution {
  /** In canonical text; undefined where no answer came, or only that the name does not exist. */
  readonly ipv4: readonly string[] | undefined;
  readonly ipv6: readonly string[] | undefined;
  /** How long the answer holds. */
  readonly ttlSeconds: number;
  /** Why there are no addresses, such as ENOTFOUND or ETIMEOUT; undefined where there are some. */
  readonly failure: string | undefined;
  /** How many addresses were beyond what a host has. */
  readonly leftOut?: number;
}

/** For what has no time to live. */
const HOSTS_TTL_SECONDS = 60;
const TRY_TIMEOUT_MS = 2000;
const TRIES = 2;
/** A name with more addresses is no host. */
const MOST_ADDRESSES = 32;

/**
 * Looks a host name up in /etc/hosts, then asks the name servers of /etc/resolv.conf, as they are at this moment.
 * Never through getaddrinfo(3): a name server that does not answer would keep a thread of libuv's pool for half a
 * minute, and with it the end of the process. So a name must be complete; no search domain is added.
 *
 * @param signal ends the wait for an answer
 */
export async function resolveHostName(name: string, signal: AbortSignal): Promise<Resolution> {
  const hosts = await addressesInHosts(name);
  if (hosts.length > 0) {
    const [ipv4, ipv6] = ([4, 6] as const).map((family) =>
      hosts.filter((address) => address.family === family).map(({ text }) => text),
    );
    return { ipv4, ipv6, ttlSeconds: HOSTS_TTL_SECONDS, failure: undefined };
  }
  if (signal.aborted) return GIVEN_UP;
  const resolver = new Resolver({ timeout: TRY_TIMEOUT_MS, tries: TRIES });
  const cancel = () => resolver.cancel();
  signal.addEventListener('abort', cancel);
  try {
    const answers = await Promise.all([
      answerOf(resolver.resolve4(name, { ttl: true })),
      answerOf(resolver.resolve6(name, { ttl: true })),
    ]);
    return resolutionOf(...answers);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

const GIVEN_UP: Resolution = { ipv4: undefined, ipv6: undefined, ttlSeconds: 0, failure: 'ECANCELLED' };

async function addressesInHosts(name: string) {
  const text = await readFile('/etc/hosts', 'latin1').catch(() => '');
  // in some hosts files a hundred thousand names are blocked
  if (!text.toLowerCase().includes(name.toLowerCase())) return [];
  return text.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*$/, '').trim().split(/\s+/);
    const isMeant = names.some((other) => other.toLowerCase() === name.toLowerCase());
    return (isMeant ? parseAddress(address) : undefined) ?? [];
  });
}

interface Answer {
  readonly addresses: readonly string[] | undefined;
  readonly leftOut: number;
  readonly ttlSeconds: number;
  readonly failure: string | undefined;
}

async function answerOf(query: Promise<readonly { address: string; ttl: number }[]>): Promise<Answer> {
  try {
    const all = await query;
    const records = all.slice(0, MOST_ADDRESSES);
    return {
      leftOut: all.length - records.length,
      addresses: records.flatMap(({ address }) => parseAddress(address)?.text ?? []),
      ttlSeconds: Math.min(...records.map(({ ttl }) => ttl)),
      failure: undefined,
    };
  } catch (error) {
    const failure = isErrnoException(error) ? error.code : String(error);
    // the name exists, and has no address of this family
    const addresses = failure === 'ENODATA' ? [] : undefined;
    return { addresses, leftOut: 0, ttlSeconds: HOSTS_TTL_SECONDS, failure };
  }
}

function resolutionOf(ipv4: Answer, ipv6: Answer): Resolution {
  const count = (ipv4.addresses?.length ?? 0) + (ipv6.addresses?.length ?? 0);
  return {
    ipv4: ipv4.addresses,
    ipv6: ipv6.addresses,
    ttlSeconds: Math.min(ipv4.ttlSeconds, ipv6.ttlSeconds),
    leftOut: ipv4.leftOut + ipv6.leftOut,
    failure:
      count > 0 ? undefined : ([ipv4.failure, ipv6.failure].find((code) => code !== 'ENODATA') ?? 'ENODATA'),
  };
}
