import type { AllowedNetwork } from '../configuration/allow-entry.ts';
import { messageOf } from '../errors.ts';
import type { LoginSession } from '../native/native.ts';
import { type Network, parseNetwork } from '../network.ts';
import { readDefaultGateways } from './gateways.ts';
import { readLoginAddresses } from './login-sessions.ts';
import { readOwnAddresses } from './own-addresses.ts';
import { readResolvers } from './resolvers.ts';

/** What the guard knows of this host. */
export interface GuardFindings {
  /** `guard:loopback`, `guard:own`, `guard:gateway`, `guard:resolver` and `guard:session`. */
  readonly allowed: readonly AllowedNetwork[];
  /** Addresses that stand for many sources where this host is behind NAT: gateways, bridges, and its own. */
  readonly translators: ReadonlySet<string>;
  /** Of these, the bridges, which nothing proves to be routers. */
  readonly bridges: ReadonlySet<string>;
}

/** Reads what may not be banned, again and again. */
export interface Guard {
  readonly findings: GuardFindings;
  close(): void;
}

export interface GuardOptions {
  readonly logindSessions: (() => readonly LoginSession[]) | undefined;
  /** Called when something has changed. */
  readonly onChange: () => void;
  /** Called once for each part that cannot be read; what it said before stays. */
  readonly onTrouble: (message: string) => void;
}

/** Between a login, or a new address, and its being seen. */
const INTERVAL_MS = 2000;

const PARTS = ['own addresses', 'gateways', 'resolvers', 'logged-in sessions'] as const;
type Part = (typeof PARTS)[number];

/** Starts with what is there now. */
export function createGuard({ logindSessions, onChange, onTrouble }: GuardOptions): Guard {
  const readers: Record<Part, () => Partial<Reading>> = {
    'own addresses': readOwnAddresses,
    gateways: () => ({ gateways: readDefaultGateways() }),
    resolvers: () => ({ resolvers: readResolvers() }),
    'logged-in sessions': () => ({ sessions: readLoginAddresses(logindSessions) }),
  };
  const failing = new Set<Part>();
  let reading: Reading = { own: [], bridges: [], gateways: [], resolvers: [], sessions: [] };
  let findings = read();
  const timer = setInterval(readAgain, INTERVAL_MS).unref();

  return {
    get findings() {
      return findings;
    },
    close: () => clearInterval(timer),
  };

  function read(): GuardFindings {
    for (const part of PARTS) readPart(part);
    return findingsOf(reading);
  }

  function readPart(part: Part): void {
    try {
      reading = { ...reading, ...readers[part]() };
      failing.delete(part);
    } catch (error) {
      if (!failing.has(part)) onTrouble(`the guard cannot read the ${part}: ${messageOf(error)}`);
      failing.add(part);
    }
  }

  function readAgain(): void {
    const before = JSON.stringify(reading);
    const found = read();
    if (JSON.stringify(reading) === before) return;
    findings = found;
    onChange();
  }
}

interface Reading {
  readonly own: readonly string[];
  readonly bridges: readonly string[];
  readonly gateways: readonly string[];
  readonly resolvers: readonly string[];
  readonly sessions: readonly string[];
}

function findingsOf({ own, bridges, gateways, resolvers, sessions }: Reading): GuardFindings {
  const kinds: [string, readonly string[]][] = [
    ['own', own],
    ['gateway', gateways],
    ['resolver', resolvers],
    ['session', sessions],
  ];
  const found = kinds.flatMap(([kind, addresses]) =>
    addresses.filter((address) => !LOOPBACK.test(address)).flatMap((address) => guarded(kind, address)),
  );
  const known = new Set([...own, ...gateways, ...resolvers, ...sessions]);
  return {
    allowed: [...['127.0.0.0/8', '::1'].flatMap((network) => guarded('loopback', network)), ...found],
    translators: new Set([...gateways, ...bridges, ...own].filter((address) => !LOOPBACK.test(address))),
    // one that is known to be something else is no riddle
    bridges: new Set(bridges.filter((address) => !known.has(address))),
  };
}

const LOOPBACK = /^127\.|^::1$/;

function guarded(kind: string, address: string): AllowedNetwork[] {
  const network = parseNetwork(address);
  return 'expected' in network ? [] : [allowedBy(kind, network)];
}

function allowedBy(kind: string, network: Network): AllowedNetwork {
  return { source: `guard:${kind}`, network, ports: undefined, until: undefined };
}
