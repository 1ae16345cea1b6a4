import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import type { Endpoint } from '../capture/listener.ts';
import { transparencyErrno } from '../capture/transparency.ts';
import type { Native } from '../native/native.ts';
import type { Voice } from '../voice.ts';

/** What becomes of the decoy with `ports: unused`, which listens only where this process may do what that takes. */
export interface UnusedPorts {
  /** The endpoints that can be listened on. */
  listenable(endpoints: readonly Endpoint[]): readonly Endpoint[];
  /** Says what there is to know of the one with `ports: unused`, once until that changes. */
  tell(endpoints: readonly Endpoint[]): void;
}

export interface UnusedPortsOptions {
  readonly native: Pick<Native, 'socket' | 'setsockopt' | 'close' | 'errno'>;
  readonly voice: Voice;
  /** Where the kernel shows its modules. */
  readonly modules?: string;
  /** How long the host runs. */
  readonly uptimeSeconds?: () => number;
}

export function createUnusedPorts({
  native,
  voice,
  modules = '/sys/module',
  uptimeSeconds = uptime,
}: UnusedPortsOptions): UnusedPorts {
  let errno: number | undefined;
  let told: string | undefined;

  return {
    listenable(endpoints) {
      errno = endpoints.some(isTransparent) ? transparencyErrno(native) : undefined;
      return errno === undefined ? endpoints : endpoints.filter((endpoint) => !isTransparent(endpoint));
    },
    tell(endpoints) {
      const endpoint = endpoints.find(isTransparent);
      const news = endpoint && `${endpoint.decoy} ${endpoint.port} ${errno}`;
      if (news === told) return;
      told = news;
      if (endpoint === undefined) return;
      if (errno !== undefined) tellMissingRight(endpoint, errno, voice);
      else tellListening(endpoint, voice, uptimeSeconds() > RULES_DUE_SECONDS && areRulesMissing(modules));
    },
  };
}

function isTransparent(endpoint: Endpoint): boolean {
  return endpoint.isTransparent === true;
}

function tellMissingRight({ decoy }: Endpoint, errno: number, voice: Voice): void {
  const code = getSystemErrorName(-errno);
  const reason = code === 'EPERM' ? 'CAP_NET_RAW is missing' : `IP_TRANSPARENT failed with ${code}`;
  voice.warning(`decoy ${decoy} does not listen, so unused ports stay closed: ${reason}`);
  if (code === 'EPERM')
    voice.hint('AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW for the service; with user:, a restart');
}

function tellListening({ decoy, port }: Endpoint, voice: Voice, areMissing: boolean): void {
  if (!areMissing) {
    voice.say(
      `decoy ${decoy} takes at port ${port} what the kernel's rules hand over; to load them: ${LOAD}`,
    );
    return;
  }
  voice.warning(`decoy ${decoy} waits at port ${port}, but no rule of the kernel hands unused ports over`);
  voice.hint(LOAD);
}

const LOAD = 'systemctl enable --now honeyport-rules.timer, or by hand: honeyport rules | nft -f -';

/** After boot; the timer loads them after a minute. */
const RULES_DUE_SECONDS = 120;

/**
 * Whether it is certain that no rule hands connections over. Rules are root's to read, but everybody may see how many of
 * them, in all network namespaces, use the module for `tproxy`.
 */
function areRulesMissing(modules: string): boolean {
  const users = read(join(modules, 'nft_tproxy/refcnt'));
  if (users !== undefined) return users.trim() === '0';
  // what is built in is not shown; nothing is that needs nf_tables, where that is a module
  return read(join(modules, 'nf_tables/refcnt')) !== undefined;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return undefined;
  }
}
