import { dirname } from 'node:path';
import { allowExportPath, createAllowExport, readExportedAddresses } from '../allow/allow-export.ts';
import { createAllowList } from '../allow/allow-list.ts';
import { expiredEntries, expiryWarnings, nextExpiry } from '../allow/expiry.ts';
import { createHostNames, type HostNames } from '../allow/host-names.ts';
import type { AllowedNetwork } from '../configuration/allow-entry.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { isErrnoException, messageOf } from '../errors.ts';
import { createGuard, type Guard } from '../guard/guard.ts';
import type { LoginSession } from '../native/native.ts';
import { parseNetwork } from '../network.ts';
import { resolveHostName } from '../resolve-host-name.ts';
import type { Voice } from '../voice.ts';
import { type Brake, createBrake } from '../withhold/brake.ts';
import { createNat } from '../withhold/nat.ts';
import { isGuard, type Knowledge } from './judge.ts';

/** What the daemon knows of sources, kept up to date: the allow list, the guard, the brake. */
export interface KnownSources {
  readonly knowledge: Knowledge;
  /** Takes over a configuration; nothing in it can fail. */
  use(configuration: Configuration): void;
  close(): void;
}

/** setTimeout takes no more than 24 days. */
const LONGEST_WAIT_MS = 86_400_000;
/** What the guard found counts for the action as long as the listener says so again. */
const GUARD_LASTS_MS = 3_600_000;

/** @param logindSessions tells who is logged in; undefined where there is no libsystemd */
export function keepKnownSources(
  initial: Configuration,
  voice: Voice,
  logindSessions: (() => readonly LoginSession[]) | undefined,
): KnownSources {
  let configuration = initial;
  const allowList = createAllowList();
  const names = startHostNames();
  const allowExport = createAllowExport({
    onTrouble: (path, error) => reportExportTrouble(path, error, voice),
    onRecovery: (path) => voice.say(`the allow list ${path} can be written again`),
  });
  const nat = createNat((source, count, total) => reportNat(source, count, total, voice));
  let guard: Guard | undefined;
  let brake: Brake | undefined;
  let expiryTimer: NodeJS.Timeout | undefined;
  const exportTimer = setInterval(exportList, GUARD_LASTS_MS / 3).unref();
  use(initial);

  return {
    knowledge: {
      findAllowed: allowList.find,
      get guarded() {
        return guard?.findings;
      },
      nat,
      get brake() {
        return brake;
      },
      get cookies() {
        return configuration.cookies;
      },
    },
    use,
    close,
  };

  function use(wanted: Configuration): void {
    const isFirst = wanted === initial;
    const sameBrake = JSON.stringify(wanted.brake) === JSON.stringify(configuration.brake);
    configuration = wanted;
    allowList.useEntries(wanted.allow);
    names.use(hostNamesOf(wanted));
    allowList.useHostNames(names.addressesOf);
    useGuard(wanted.guard);
    if (isFirst || !sameBrake) brake = startBrake(wanted.brake, voice);
    warnOfExpired();
    exportList();
  }

  function startHostNames(): HostNames {
    return createHostNames({
      resolve: resolveHostName,
      known: readExportedAddresses(allowExportPath(initial.log.file.path), hostNamesOf(initial)),
      onChange: () => {
        allowList.useHostNames(names.addressesOf);
        exportList();
      },
      onTrouble: (message) => voice.warning(message),
      onRecovery: (message) => voice.say(message),
    });
  }

  function useGuard(wanted: boolean): void {
    if (wanted) {
      guard ??= createGuard({ logindSessions, onChange: takeFindings, onTrouble: voice.warning });
    } else {
      guard?.close();
      guard = undefined;
    }
    allowList.useGuarded(guard?.findings.allowed ?? []);
  }

  function takeFindings(): void {
    allowList.useGuarded(guard?.findings.allowed ?? []);
    exportList();
  }

  function exportList(): void {
    allowExport.write(allowExportPath(configuration.log.file.path), withGuardEnding(allowList.networks()), {
      spared: withGuardEnding(bridgesOf(guard)),
      incomplete: !names.areKnown,
    });
  }

  /** At once, and then each time that an entry ends. */
  function warnOfExpired(since = 0): void {
    const now = Date.now();
    const expired = expiredEntries(configuration.allow, now).filter(({ until }) => until! > since);
    for (const warning of expiryWarnings(expired)) voice.warning(warning);
    clearTimeout(expiryTimer);
    const next = nextExpiry(configuration.allow, now);
    if (next === undefined) return;
    const wait = Math.min(next - now, LONGEST_WAIT_MS);
    expiryTimer = setTimeout(() => warnOfExpired(now), wait).unref();
  }

  function close(): void {
    clearTimeout(expiryTimer);
    clearInterval(exportTimer);
    guard?.close();
    names.close();
    allowExport.close();
  }
}

/** Their connections are withheld, and the kernel cannot ask whether they are. */
function bridgesOf(guard: Guard | undefined): AllowedNetwork[] {
  return [...(guard?.findings.bridges ?? [])].flatMap((address) => {
    const network = parseNetwork(address);
    return 'expected' in network
      ? []
      : [{ source: 'guard:bridge', network, ports: undefined, until: undefined }];
  });
}

/** Who was logged in when the listener ended must not stay allowed for ever. */
function* withGuardEnding(networks: Iterable<AllowedNetwork>): Iterable<AllowedNetwork> {
  const until = Math.ceil((Date.now() + GUARD_LASTS_MS) / 1000) * 1000;
  for (const allowed of networks) yield isGuard(allowed) ? { ...allowed, until } : allowed;
}

function hostNamesOf({ allow }: Configuration): string[] {
  return allow.flatMap(({ network, source }) => (network === undefined ? [source] : []));
}

function startBrake(settings: Configuration['brake'], voice: Voice): Brake | undefined {
  if (settings === undefined) return undefined;
  const { sources, windowMs } = settings;
  return createBrake({
    ...settings,
    onHold: () =>
      voice.warning(
        `the brake holds: more than ${sources} sources within ${windowMs / 1000} s; what comes from others is withheld from banning`,
      ),
    onRelease: (connections) => voice.say(`the brake let go; ${connections} connections were withheld`),
  });
}

function reportNat(source: string, count: number, total: number, voice: Voice): void {
  voice.warning(
    `${count} of the last ${total} connections come from ${source}, a gateway or bridge: it hides their true sources, as NAT does, and they are withheld from banning`,
  );
  voice.hint(
    "let the listener see its peers: in a container use the host's network, else switch off masquerading and the userland proxy for these ports",
  );
}

function reportExportTrouble(path: string, error: unknown, voice: Voice): void {
  const reason = isErrnoException(error) ? error.code : messageOf(error);
  voice.warning(`cannot write the allow list for fail2ban's action, ${path}: ${reason}`);
  if (['EACCES', 'EPERM', 'EROFS'].includes(reason))
    voice.hint(`let the user that runs honeyport write in ${dirname(path)}`);
}
