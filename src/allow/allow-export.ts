import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { AllowedNetwork } from '../configuration/allow-entry.ts';
import { readBounded } from '../configuration/read.ts';
import { formatRanges } from '../format/ports.ts';

/** The file in which fail2ban's action finds the allow list, so that nothing of it need be written twice. */
export interface AllowExport {
  /** Writes the list into a file, whole or not at all; a list that comes meanwhile follows. */
  write(path: string, networks: Iterable<AllowedNetwork>, more?: QuarantineNeeds): void;
  /** Gives up what is not written yet. */
  close(): void;
}

/** What the kernel's quarantine, which asks nobody, needs to know beside the list. */
export interface QuarantineNeeds {
  /** Sources whose connections may be withheld: never quarantined, though they may be banned. */
  readonly spared?: Iterable<AllowedNetwork>;
  /** Whether there is more on the list than is known yet. */
  readonly incomplete?: boolean;
}

export interface AllowExportOptions {
  /** Called once until it works again; it is tried again by itself. */
  readonly onTrouble: (path: string, error: unknown) => void;
  readonly onRecovery: (path: string) => void;
}

/** Version of the file's keys. */
const VERSION = 1;
const RETRY_MS = 60_000;
/** So many take a millisecond, in which nothing is accepted. */
const ENTRIES_PER_TURN = 2000;
const MOST_MEBIBYTES = 64;

/** Beside the log and named after it, where the action finds it by the jail's `logpath`. */
export function allowExportPath(logPath: string): string {
  return join(dirname(logPath), `${basename(logPath).replace(/\.log$/, '')}.allow.json`);
}

export function createAllowExport({ onTrouble, onRecovery }: AllowExportOptions): AllowExport {
  let waiting: ExportedList | undefined;
  let writing = false;
  let failing: string | undefined;
  let closed = false;
  let retryTimer: NodeJS.Timeout | undefined;

  return {
    write(path, networks, { spared = [], incomplete = false } = {}) {
      waiting = { path, networks: [...networks], spared: [...spared], incomplete };
      clearTimeout(retryTimer);
      if (!writing) void writeWaiting();
    },
    close() {
      closed = true;
      clearTimeout(retryTimer);
    },
  };

  async function writeWaiting(): Promise<void> {
    writing = true;
    while (waiting !== undefined && !closed) {
      const list = waiting;
      waiting = undefined;
      if (await writeList(list)) continue;
      // one that came meanwhile may be for another place, and is tried at once
      if (waiting !== undefined) continue;
      waiting = list;
      break;
    }
    writing = false;
    if (waiting !== undefined && !closed)
      retryTimer = setTimeout(() => void writeWaiting(), RETRY_MS).unref();
  }

  /** Whether it is written. */
  async function writeList(list: ExportedList): Promise<boolean> {
    const { path } = list;
    try {
      await replaceFile(list, () => closed);
    } catch (error) {
      if (failing !== path && !closed) onTrouble(path, error);
      failing = path;
      return false;
    }
    if (failing === path) onRecovery(path);
    failing = undefined;
    return true;
  }
}

interface ExportedList {
  readonly path: string;
  readonly networks: readonly AllowedNetwork[];
  readonly spared: readonly AllowedNetwork[];
  readonly incomplete: boolean;
}

/** Through a file of another name, so that nobody ever reads half a list. */
async function replaceFile(list: ExportedList, isGivenUp: () => boolean): Promise<void> {
  const { path } = list;
  const temporary = `${path}.new`;
  await unlink(temporary).catch(() => {});
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const file = await open(temporary, flags, 0o640);
  try {
    await writeEntries(file, list, isGivenUp);
    await file.sync();
    if (isGivenUp()) throw new Error('given up');
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
}

async function writeEntries(
  file: FileHandle,
  { networks, spared, incomplete }: ExportedList,
  isGivenUp: () => boolean,
): Promise<void> {
  const now = Date.now();
  const more = incomplete ? '"incomplete":true,' : '';
  let text = `{"version":${VERSION},"time":"${new Date(now).toISOString()}",${more}"entries":[`;
  let separator = '\n';
  let count = 0;
  const spareds = new Set(spared);
  for (const allowed of [...networks, ...spareds]) {
    if (allowed.until !== undefined && allowed.until <= now) continue;
    text += separator + entryText(allowed, spareds.has(allowed));
    separator = ',\n';
    count += 1;
    if (count % ENTRIES_PER_TURN !== 0) continue;
    await file.appendFile(text);
    text = '';
    if (isGivenUp()) return;
  }
  await file.appendFile(`${text}\n]}\n`);
}

function entryText({ source, network, ports, until }: AllowedNetwork, isSpared: boolean): string {
  return JSON.stringify({
    by: source,
    net: network.text,
    only: isSpared ? 'quarantine' : undefined,
    ports: ports === undefined ? undefined : formatRanges(ports),
    until: until === undefined ? undefined : until / 1000,
  });
}

/** The addresses by host name of an export; nothing where there is none, or none that can be read. */
export function readExportedAddresses(path: string, names: Iterable<string>): Map<string, string[]> {
  const addresses = new Map([...names].map((name): [string, string[]] => [name.toLowerCase(), []]));
  if (addresses.size === 0) return addresses;
  try {
    const { entries } = JSON.parse(Buffer.from(readBounded(path, MOST_MEBIBYTES)).toString()) as {
      entries: { by: string; net: string }[];
    };
    // an entry of the list may stand for the same name twice, with other ports
    for (const { by, net } of entries) {
      const known = addresses.get(by.toLowerCase());
      const [, address] = /^(.+)\/(?:32|128)$/.exec(net) ?? [];
      if (address !== undefined && known?.includes(address) === false) known.push(address);
    }
  } catch {
    // the first start, or a file that somebody else wrote: names are about to be resolved
  }
  return addresses;
}
