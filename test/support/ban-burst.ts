import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Fail2ban, type Release, startFail2ban, temporaryDirectory } from './fail2ban.ts';
import { createNetwork } from './namespaces.ts';
import { waitFor } from './wait.ts';

/** What blocks: honeyport's own action, or the stock one that comes nearest to it. */
export type Blocker = 'honeyport' | 'stock';

/** A running fail2ban whose jail `honeyport` takes bursts, and whose jail `other` blocks with the stock action. */
export interface BurstStage {
  /** Writes the lines of `size` distinct new sources at once; milliseconds from then until the last one is banned. */
  ban(size: number): Promise<number>;
  /** The same, but not waited for longer than that: whether the last one is banned by then, and how many are. */
  banWithin(size: number, ms: number): Promise<{ readonly isDone: boolean; readonly banned: number }>;
  /** While `size` sources are being banned, one falls into the jail `other`: how many are banned when that one is. */
  banAmid(size: number): Promise<number>;
  /** Ends fail2ban as it is, in the midst of a burst, too: its rules go with the network. */
  dispose(): Promise<void>;
}

/** 10,000 bans of a stock action take two minutes, and on a loaded machine longer. */
const DEADLINE_MS = 400_000;
const LOOK_EVERY_MS = 10;
/** Of a log: more than is written between two looks. */
const END_BYTES = 128 * 1024;
const OTHER = '203.0.113.99';

/** A stock ban counts when fail2ban says that it begins, ours when the kernel has it. */
export async function setBurstStage(blocker: Blocker, release: Release): Promise<BurstStage> {
  const directory = temporaryDirectory();
  const [log, otherLog] = ['honeyport.log', 'other.log'].map((name) => join(directory, name)) as [
    string,
    string,
  ];
  for (const path of [log, otherLog]) writeFileSync(path, '');
  const network = createNetwork();
  let fail2ban: Fail2ban | undefined;
  const dispose = async () => {
    await fail2ban?.stop('SIGKILL');
    await fail2ban?.dispose();
    network.dispose();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const jails = jailsFor(blocker, log, otherLog);
    fail2ban = await startFail2ban({ network, release, jails, binds: [directory] });
  } catch (error) {
    await dispose();
    throw error;
  }
  const { wasJustBanned, countBanned, isOtherBlocked } = observe(fail2ban, blocker);
  let next = 0;
  const write = (size: number): string[] => {
    const sources = Array.from({ length: size }, () => address(next++));
    appendFileSync(log, sources.map(connectLine).join(''));
    return sources;
  };
  return {
    dispose,
    async ban(size) {
      const begin = performance.now();
      const last = write(size).at(-1)!;
      await until(() => wasJustBanned(last), `${size} bans`);
      return performance.now() - begin;
    },
    async banWithin(size, ms) {
      const end = performance.now() + ms;
      const sources = write(size);
      const last = sources.at(-1)!;
      await until(() => wasJustBanned(last) || performance.now() >= end, `${size} bans, or ${ms} ms`);
      return { isDone: wasJustBanned(last), banned: countBanned(sources) };
    },
    async banAmid(size) {
      const sources = write(size);
      await until(() => countBanned(sources.slice(0, 1)) > 0, 'the first ban of a burst');
      appendFileSync(otherLog, connectLine(OTHER));
      await until(isOtherBlocked, 'the ban of the other jail');
      return countBanned(sources);
    },
  };
}

function jailsFor(blocker: Blocker, log: string, otherLog: string): string {
  const stock = 'banaction = nftables[type=custom]';
  return `[honeyport]
enabled = true
logpath = ${log}
${blocker === 'stock' ? stock : ''}

[other]
enabled = true
filter = honeyport
logpath = ${otherLog}
maxretry = 1
${stock}
`;
}

function observe(fail2ban: Fail2ban, blocker: Blocker) {
  const file = join(fail2ban.directory, blocker === 'stock' ? 'fail2ban.log' : 'log/bans.log');
  const saying = (source: string) =>
    blocker === 'stock' ? `[honeyport] Ban ${source}\n` : ` ban src=${source} `;
  return {
    /** Looks at the file's end only, so that looking costs the contestants little. */
    wasJustBanned: (source: string) => readEnd(file).includes(saying(source)),
    countBanned(sources: readonly string[]): number {
      const text = readFileSync(file, 'latin1');
      return sources.filter((source) => text.includes(saying(source))).length;
    },
    isOtherBlocked: () =>
      fail2ban.nft('get', 'element', 'inet', 'f2b-table', 'addr-set-other', `{ ${OTHER} }`).includes(OTHER),
  };
}

function readEnd(file: string): string {
  if (!existsSync(file)) return '';
  const descriptor = openSync(file, 'r');
  try {
    const end = Buffer.alloc(END_BYTES);
    const start = Math.max(0, fstatSync(descriptor).size - END_BYTES);
    return end.toString('latin1', 0, readSync(descriptor, end, 0, END_BYTES, start));
  } finally {
    closeSync(descriptor);
  }
}

function until(condition: () => boolean, what: string) {
  return waitFor(condition, { deadlineMs: DEADLINE_MS, everyMs: LOOK_EVERY_MS, what });
}

/** One of 131,072 for benchmarks (RFC 2544). */
function address(n: number): string {
  return `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
}

/** A line of now with which the shipped filter bans a source. */
export function connectLine(source: string): string {
  const time = new Date().toISOString().replace('Z', '+00:00');
  const ends = `src=${source} spt=40112 dst=203.0.113.5 dpt=23`;
  return `${time} web-1 honeyport[812]: connect ${ends} proto=tcp decoy=telnet id=7f3k9q2x.42\n`;
}
