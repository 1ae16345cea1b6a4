import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import type { Endpoint } from '../capture/listener.ts';
import { ListenErrors } from '../capture/listeners.ts';
import { transparencyErrno } from '../capture/transparency.ts';
import { ERRNO } from '../native/constants.ts';
import type { Native } from '../native/native.ts';
import type { Voice } from '../voice.ts';
import { listenProblem } from './listen-problem.ts';

/**
 * What becomes of the decoy with `ports: unused`. Its socket takes a right, and a port that nobody chose for it: where it lacks
 * one of them, the other decoys listen all the same.
 */
export interface UnusedPorts {
  /**
   * Has the endpoints listened on, as far as that can be had, and says what there is to know of the one with `ports: unused`,
   * once until that changes.
   * @param replace as that of Listeners, which throws ListenErrors
   * @throws ListenErrors of other endpoints
   */
  listen(endpoints: readonly Endpoint[], replace: (endpoints: readonly Endpoint[]) => void): void;
  /** Does not try again any more. */
  close(): void;
}

export interface UnusedPortsOptions {
  readonly native: Pick<Native, 'socket' | 'setsockopt' | 'close' | 'errno'>;
  readonly voice: Voice;
  /** Called a minute after the port was another program's, to listen once more. */
  readonly onRetry: () => void;
  /** Where the kernel shows its modules. */
  readonly modules?: string;
  /** How long the host runs. */
  readonly uptimeSeconds?: () => number;
}

/** Why it does not listen. */
interface Obstacle {
  readonly reason: string;
  readonly hint: string | undefined;
}

/** An outgoing connection that has the port lasts some minutes, and nobody reloads when it ends. */
const RETRY_MS = 60_000;

export function createUnusedPorts({
  native,
  voice,
  onRetry,
  modules = '/sys/module',
  uptimeSeconds = uptime,
}: UnusedPortsOptions): UnusedPorts {
  let told: string | undefined;
  let retryTimer: NodeJS.Timeout | undefined;

  return {
    listen(endpoints, replace) {
      clearTimeout(retryTimer);
      const endpoint = endpoints.find(isTransparent);
      const obstacle = listenAsFarAsPossible(endpoints, replace);
      const news = endpoint && `${endpoint.decoy} ${endpoint.port} ${obstacle?.reason}`;
      if (news !== told && endpoint !== undefined) tell(endpoint, obstacle);
      told = news;
    },
    close: () => clearTimeout(retryTimer),
  };

  function listenAsFarAsPossible(
    endpoints: readonly Endpoint[],
    replace: (endpoints: readonly Endpoint[]) => void,
  ): Obstacle | undefined {
    const others = endpoints.filter((endpoint) => !isTransparent(endpoint));
    const isWanted = others.length < endpoints.length;
    const errno = isWanted ? transparencyErrno(native) : undefined;
    if (errno !== undefined) {
      replace(others);
      return missingRight(errno);
    }
    try {
      replace(endpoints);
      return undefined;
    } catch (error) {
      if (!isOnlyTaken(error)) throw error;
      replace(others);
      retryTimer = setTimeout(onRetry, RETRY_MS).unref();
      const { message, hint } = listenProblem(error.errors, false);
      return { reason: message, hint: `it is tried again each minute; ${hint}` };
    }
  }

  function tell(endpoint: Endpoint, obstacle: Obstacle | undefined): void {
    if (obstacle === undefined) {
      tellListening(endpoint, voice, uptimeSeconds() > RULES_DUE_SECONDS && areRulesMissing(modules));
      return;
    }
    voice.warning(`decoy ${endpoint.decoy} does not listen, so unused ports stay closed: ${obstacle.reason}`);
    if (obstacle.hint !== undefined) voice.hint(obstacle.hint);
  }
}

/** Any user may have the port, by a connection of his even by chance; that must not keep the other decoys from listening. */
function isOnlyTaken(error: unknown): error is ListenErrors {
  return (
    error instanceof ListenErrors &&
    error.errors.every(({ endpoint, errno }) => isTransparent(endpoint) && errno === ERRNO.EADDRINUSE)
  );
}

function isTransparent(endpoint: Endpoint): boolean {
  return endpoint.isTransparent === true;
}

function missingRight(errno: number): Obstacle {
  const code = getSystemErrorName(-errno);
  if (code !== 'EPERM') return { reason: `IP_TRANSPARENT failed with ${code}`, hint: undefined };
  return { reason: 'CAP_NET_RAW is missing', hint: CAPABILITY_HINT };
}

const CAPABILITY_HINT =
  'AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW for the service; with user:, a restart';

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
