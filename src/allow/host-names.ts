import { messageOf } from '../errors.ts';
import type { Resolution } from '../resolve-host-name.ts';

export interface HostNamesOptions {
  readonly resolve: (name: string, signal: AbortSignal) => Promise<Resolution>;
  /** Addresses that names had when they were last resolved, as from before a restart. */
  readonly known: ReadonlyMap<string, readonly string[]>;
  /** Called when the addresses of a name have changed, or are known for the first time. */
  readonly onChange: () => void;
  readonly onTrouble: (message: string) => void;
  readonly onRecovery: (message: string) => void;
}

/** Host names and the addresses that they stand for, asked for again when an answer is too old. */
export interface HostNames {
  /** Takes these names in the place of those before; all are asked for at once. */
  use(names: Iterable<string>): void;
  /** In canonical text; of a name that does not resolve now, those that it had. */
  addressesOf(name: string): readonly string[];
  /** Whether each name had an answer, now or before a restart. */
  readonly areKnown: boolean;
  close(): void;
}

interface Name {
  readonly text: string;
  ipv4: readonly string[];
  ipv6: readonly string[];
  dueAt: number;
  asking: boolean;
  failing: boolean;
  hasTooMany: boolean;
  isKnown: boolean;
}

const MOST_QUESTIONS = 8;
/** Between one answer and the next question, whatever the answer's time to live. */
const SHORTEST_SECONDS = 30;
const LONGEST_SECONDS = 3600;
const RETRY_SECONDS = 30;

export function createHostNames(options: HostNamesOptions): HostNames {
  const { resolve, known, onChange, onTrouble, onRecovery } = options;
  let names = new Map<string, Name>();
  const abort = new AbortController();
  let questions = 0;
  let timer: NodeJS.Timeout | undefined;

  return {
    use,
    addressesOf: (name) => {
      const { ipv4 = [], ipv6 = [] } = names.get(name.toLowerCase()) ?? {};
      return [...ipv4, ...ipv6];
    },
    get areKnown() {
      return [...names.values()].every(({ isKnown }) => isKnown);
    },
    close,
  };

  function use(wanted: Iterable<string>): void {
    const before = names;
    names = new Map();
    for (const text of wanted) {
      const key = text.toLowerCase();
      const name = before.get(key) ?? newName(text, known.get(key) ?? []);
      // those that were never asked for stay in front
      name.dueAt = Math.min(name.dueAt, Date.now());
      names.set(key, name);
    }
    askDue();
  }

  function close(): void {
    clearTimeout(timer);
    names = new Map();
    abort.abort();
  }

  /** Asks for what is due, a few at a time, and comes back for the rest. */
  function askDue(): void {
    clearTimeout(timer);
    const now = Date.now();
    // the one that has waited longest first: where answers are slow, the last ones would never have their turn
    for (const name of [...names.values()].sort((one, other) => one.dueAt - other.dueAt)) {
      if (questions >= MOST_QUESTIONS) return;
      if (name.dueAt <= now && !name.asking) void ask(name);
    }
    const idle = [...names.values()].filter(({ asking }) => !asking);
    if (idle.length === 0) return;
    const next = idle.reduce((least, { dueAt }) => Math.min(least, dueAt), Number.POSITIVE_INFINITY);
    timer = setTimeout(askDue, Math.max(0, next - Date.now()));
    timer.unref();
  }

  async function ask(name: Name): Promise<void> {
    questions += 1;
    name.asking = true;
    const resolution = await resolve(name.text, abort.signal).catch(unresolved);
    questions -= 1;
    name.asking = false;
    const seconds = Math.min(LONGEST_SECONDS, Math.max(SHORTEST_SECONDS, resolution.ttlSeconds));
    name.dueAt = Date.now() + (resolution.failure === undefined ? seconds : RETRY_SECONDS) * 1000;
    // a reload may have dropped it meanwhile
    if (names.get(name.text.toLowerCase()) === name) take(name, resolution);
    if (!abort.signal.aborted) askDue();
  }

  function take(name: Name, { ipv4, ipv6, failure, leftOut = 0 }: Resolution): void {
    if (leftOut > 0 && !name.hasTooMany) {
      onTrouble(`host name ${name.text} has too many addresses; ${leftOut} of them do not count`);
    }
    name.hasTooMany = leftOut > 0;
    if (failure !== undefined) {
      if (!name.failing) onTrouble(troubleText(name, failure));
      name.failing = true;
      return;
    }
    if (name.failing) onRecovery(`host name ${name.text} resolves again`);
    name.failing = false;
    const before = [...name.ipv4, ...name.ipv6].join();
    // without an answer for one of the families, what was known of it stays
    name.ipv4 = (ipv4 ?? name.ipv4).toSorted();
    name.ipv6 = (ipv6 ?? name.ipv6).toSorted();
    const wasKnown = name.isKnown;
    name.isKnown ||= ipv4 !== undefined && ipv6 !== undefined;
    if ([...name.ipv4, ...name.ipv6].join() !== before || name.isKnown !== wasKnown) onChange();
  }
}

function newName(text: string, addresses: readonly string[]): Name {
  const isIpv6 = (address: string) => address.includes(':');
  return {
    text,
    ipv4: addresses.filter((address) => !isIpv6(address)),
    ipv6: addresses.filter(isIpv6),
    dueAt: 0,
    asking: false,
    failing: false,
    hasTooMany: false,
    isKnown: addresses.length > 0,
  };
}

function unresolved(error: unknown): Resolution {
  return { ipv4: undefined, ipv6: undefined, ttlSeconds: RETRY_SECONDS, failure: messageOf(error) };
}

function troubleText({ text, ipv4, ipv6 }: Name, failure: string): string {
  const last = [...ipv4, ...ipv6];
  const consequence =
    last.length === 0
      ? 'it allows nobody until it does'
      : `its last ${last.length === 1 ? 'address stays' : 'addresses stay'} allowed: ${last.slice(0, 8).join(', ')}`;
  return `host name ${text} does not resolve (${failure}); ${consequence}`;
}
