import { readFile, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Contestant,
  cpuNs,
  LogReader,
  type Memory,
  memory,
  type Ports,
  type Running,
  start,
  stop,
} from './contestant.ts';
import { type LoadOptions, type LoadResult, type LoadSummary, runLoadProgram } from './load.ts';
import { compare, type Differences, type Ends, type Established, type Logged } from './manifest.ts';
import { latenciesNs, percentile, watchGrowth } from './readable.ts';

/** Long enough for closes, timers and a garbage collection after the last line. */
const SETTLE_MS = 200;
const PACED_RATE = 2000;
/** Open at once at full rate: many, and well below the accept queue (net.core.somaxconn, 4096). */
const FULL_RATE_CONCURRENCY = 256;

/** The compiled C programs, and a directory for logs. */
export interface Workshop {
  readonly load: string;
  readonly readable: string;
  readonly cputime: string;
  readonly directory: string;
}

/** How many connections each part of a round opens. */
export interface Sizes {
  readonly warmUp: number;
  readonly fullRate: number;
  readonly paced: number;
  readonly manyPorts: number;
  readonly burst: number;
}

/** What a contestant is measured by; the unit is the last word of the name. */
export type Sample = Partial<Record<MeasureName, number>>;
export type MeasureName =
  | 'fullRatePerS'
  | 'fullRateCpuUs'
  | 'pacedCpuUs'
  | 'latencyP50Us'
  | 'latencyP99Us'
  | 'startMs'
  | 'onePortMib'
  | 'onePortPeakMib'
  | 'afterFullRateMib'
  | 'afterFullRatePeakMib'
  | 'manyPortsMib'
  | 'manyPortsPeakMib'
  | 'afterMillionMib'
  | 'afterMillionPeakMib';

/** One load held against the log. */
export interface Verification {
  readonly contestant: Contestant['name'];
  readonly load: string;
  readonly summary: LoadSummary;
  readonly differences: Differences;
  /** Connections and SYNs that the kernel dropped because an accept queue was full, on the whole host. */
  readonly listenOverflows: number;
}

/** Collects what a round finds. */
export interface Findings {
  readonly sample: Sample;
  readonly verifications: Verification[];
}

type LoadPart = Omit<LoadOptions, 'address' | 'ports' | 'firstSource'> & { readonly ipv6?: boolean };

/** A load, what was logged of it, and what it cost the contestant. */
interface Driven extends LoadResult {
  readonly logged: readonly Logged[];
  readonly cpuUs: number;
  readonly perS: number;
}

/** One port: memory, full rate, paced, a burst that overflows the accept queue. */
export async function measureOnePort(
  contestant: Contestant,
  workshop: Workshop,
  sizes: Sizes,
): Promise<Findings> {
  return withRunning(contestant, 1, workshop, async (session) => {
    const fresh = await settledMemory(session);
    await drive(session, 'warm-up', {
      count: sizes.warmUp,
      concurrency: FULL_RATE_CONCURRENCY,
      mode: 'hold',
    });
    const full = await drive(session, 'full rate', {
      count: sizes.fullRate,
      concurrency: FULL_RATE_CONCURRENCY,
      mode: 'hold',
    });
    const after = await settledMemory(session);
    const paced = await measurePaced(session, sizes.paced);
    await drive(session, 'burst', { count: sizes.burst, concurrency: sizes.burst, mode: 'hold' });
    return {
      startMs: session.running.startMs,
      onePortMib: fresh.rss,
      onePortPeakMib: fresh.peak,
      fullRatePerS: full.perS,
      fullRateCpuUs: full.cpuUs,
      afterFullRateMib: after.rss,
      afterFullRatePeakMib: after.peak,
      ...paced,
    };
  });
}

async function measurePaced(session: Session, count: number): Promise<Sample> {
  const stopWatching = await watchGrowth(session.workshop.readable, session.running.logPath);
  const paced = await drive(session, '2,000/s', { count, rate: PACED_RATE, mode: 'rst' });
  const latencies = latenciesNs(await stopWatching(), paced.logged, asLogged(session, paced.established));
  return {
    pacedCpuUs: paced.cpuUs,
    latencyP50Us: percentile(latencies, 0.5) / 1e3,
    latencyP99Us: percentile(latencies, 0.99) / 1e3,
  };
}

/** 1,000 ports: start, every way of closing, IPv6. */
export async function measureThousandPorts(
  contestant: Contestant,
  workshop: Workshop,
  sizes: Sizes,
): Promise<Findings> {
  return withRunning(contestant, 1000, workshop, async (session) => {
    const count = sizes.manyPorts;
    for (const mode of ['rst', 'fin', 'data', 'hold'] as const) {
      await drive(session, `1,000 ports, ${mode}`, { count, mode });
    }
    if (await hasIpv6()) {
      for (const mode of ['rst', 'fin'] as const) {
        await drive(session, `1,000 ports, IPv6, ${mode}`, { count, mode, ipv6: true });
      }
    }
    return { startMs: session.running.startMs };
  });
}

/** Memory on 5,000 ports. */
export async function measureManyPorts(contestant: Contestant, workshop: Workshop): Promise<Findings> {
  return withRunning(contestant, 5000, workshop, async (session) => {
    const { rss, peak } = await settledMemory(session);
    return { manyPortsMib: rss, manyPortsPeakMib: peak };
  });
}

/** Memory after a million connections from a million sources. */
export async function measureMillion(contestant: Contestant, workshop: Workshop): Promise<Findings> {
  return withRunning(contestant, 1, workshop, async (session) => {
    await drive(session, 'a million', {
      count: 1_000_000,
      concurrency: FULL_RATE_CONCURRENCY,
      mode: 'hold',
      wallS: 300,
    });
    const { rss, peak } = await settledMemory(session);
    return { afterMillionMib: rss, afterMillionPeakMib: peak };
  });
}

/** Whether this host can be reached at ::1. */
export async function hasIpv6(): Promise<boolean> {
  const addresses = await readFile('/proc/net/if_inet6', 'utf8').catch(() => '');
  return /^0{31}1 /m.test(addresses);
}

/** A running contestant, its log, and what was found in it. */
interface Session {
  readonly running: Running;
  readonly reader: LogReader;
  readonly workshop: Workshop;
  readonly verifications: Verification[];
}

async function withRunning(
  contestant: Contestant,
  portCount: number,
  workshop: Workshop,
  measure: (session: Session) => Promise<Sample>,
): Promise<Findings> {
  const running = await start(contestant, await freePorts(portCount), workshop.directory);
  const reader = await LogReader.open(running.logPath);
  const session: Session = { running, reader, workshop, verifications: [] };
  try {
    const sample = await measure(session);
    await stop(running);
    await verifyRest(session);
    return { sample, verifications: session.verifications };
  } finally {
    running.child.kill('SIGKILL');
    await reader.close();
  }
}

/** What comes after the last load was never established, or is a repeat. */
async function verifyRest({ running, reader, verifications }: Session): Promise<void> {
  const last = verifications.at(-1);
  const differences = compare(await reader.rest(), []);
  if (!last || differences.invented.length === 0) return;
  verifications.push({ ...last, contestant: running.contestant.name, load: 'after the loads', differences });
}

/** Runs one load, waits for its lines, and holds them against the manifest. */
async function drive(session: Session, load: string, part: LoadPart): Promise<Driven> {
  const { running, reader, workshop } = session;
  const overflows = await listenOverflows();
  const cpuBefore = await cpuNs(workshop.cputime, running.pid);
  const result = await runLoadProgram(workshop.load, loadOptions(running, part));
  const logged = await reader.next(result.established.length);
  const lastLineMs = (await stat(running.logPath)).mtimeMs;
  await sleep(SETTLE_MS);
  const cpu = (await cpuNs(workshop.cputime, running.pid)) - cpuBefore;
  session.verifications.push({
    contestant: running.contestant.name,
    load,
    summary: result.summary,
    differences: compare(logged, asLogged(session, result.established)),
    listenOverflows: (await listenOverflows()) - overflows,
  });
  const count = result.established.length;
  return {
    ...result,
    logged,
    cpuUs: cpu / 1e3 / count,
    perS: count / loggedWithinS(result.summary, lastLineMs),
  };
}

/** From the first connect() until all were established and logged. */
function loggedWithinS({ began_realtime_us, wall_s }: LoadSummary, lastLineMs: number): number {
  return Math.max(wall_s, lastLineMs / 1e3 - began_realtime_us / 1e6);
}

let sourcesUsed = 0;

/** One source per connection, and none twice in a run: no two connections of IPv4 have the same ends. */
function loadOptions({ ports }: Running, { ipv6, ...part }: LoadPart): LoadOptions {
  if (ipv6) return { ...part, address: '::1', ports };
  const first = (127 << 24) + (16 << 16) + sourcesUsed;
  sourcesUsed += part.count;
  const firstSource = [24, 16, 8, 0].map((shift) => (first >>> shift) & 255).join('.');
  return { ...part, address: '127.0.0.1', ports, firstSource };
}

/** The truth, as far as the contestant's lines can tell it. */
function asLogged({ running }: Session, established: readonly Established[]): readonly Established[] {
  return running.contestant.tellsDestination
    ? established
    : established.map((ends): Established & Ends => ({ ...ends, dst: '' }));
}

async function settledMemory({ running }: Session): Promise<Memory> {
  await sleep(SETTLE_MS);
  return memory(running.pid);
}

async function listenOverflows(): Promise<number> {
  const [names = '', values = ''] = (await readFile('/proc/net/netstat', 'utf8')).split('\n');
  return Number(values.split(' ')[names.split(' ').indexOf('ListenOverflows')]);
}

/** A range of unprivileged ports below the ephemeral ones on which nobody listens. */
async function freePorts(count: number): Promise<Ports> {
  const taken = await listeningPorts();
  const ephemeral = Number((await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')).split(/\s/)[0]);
  for (let attempt = 0; attempt < 200; attempt++) {
    const first = 10_000 + Math.floor(Math.random() * (ephemeral - 10_000 - count));
    const last = first + count - 1;
    if (!taken.some((port) => port >= first && port <= last)) return [first, last];
  }
  throw new Error(`found no ${count} free ports between 10000 and ${ephemeral}`);
}

async function listeningPorts(): Promise<number[]> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  const listening = tables.join('').matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A /gm);
  return [...listening].map(([, port]) => Number.parseInt(port!, 16));
}
