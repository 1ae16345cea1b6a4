/** The two ends of a TCP connection; `dst` is empty where a log does not tell it. */
export interface Ends {
  readonly src: string;
  readonly spt: number;
  readonly dst: string;
  readonly dpt: number;
}

/** A connection that the load generator saw established. Times are CLOCK_MONOTONIC, as in `process.hrtime`. */
export interface Established extends Ends {
  /** Just before connect(). */
  readonly startNs: number;
  readonly establishedNs: number;
}

/** A `connect` line, and how long the log was with its newline. */
export interface Logged extends Ends {
  readonly endOffset: number;
}

/** What differs between a log and the truth, each connection as `src spt dst dpt`, once per occurrence. */
export interface Differences {
  /** Established, and in no line. */
  readonly missing: readonly string[];
  /** Established, and in more lines than it should be. */
  readonly duplicated: readonly string[];
  /** In a line, and never established. */
  readonly invented: readonly string[];
}

const CONNECT = /(?:^|\s)connect src=(\S+) spt=(\d+) (?:dst=(\S+) )?dpt=(\d+)(?:\s|$)/;

/** Reads the manifest of bench/load.c. */
export function parseManifest(text: string): Established[] {
  return text.split('\n').filter(Boolean).map(parseManifestLine);
}

function parseManifestLine(line: string): Established {
  const [src = '', spt, dst = '', dpt, startNs, establishedNs] = line.split(' ');
  return {
    src,
    spt: Number(spt),
    dst,
    dpt: Number(dpt),
    startNs: Number(startNs),
    establishedNs: Number(establishedNs),
  };
}

/** The ends named by a `connect` line; undefined for every other line. */
export function parseConnectLine(line: string): Ends | undefined {
  const [, src, spt, dst = '', dpt] = CONNECT.exec(line) ?? [];
  return src === undefined ? undefined : { src, spt: Number(spt), dst, dpt: Number(dpt) };
}

/** The `connect` lines of a log that is ASCII, or of its part from byte `offset` on. What has no newline is not yet a line. */
export function parseLog(log: Buffer, offset = 0): Logged[] {
  const logged: Logged[] = [];
  for (let start = 0, end = log.indexOf(10); end !== -1; start = end + 1, end = log.indexOf(10, start)) {
    const ends = parseConnectLine(log.toString('latin1', start, end));
    if (ends) logged.push({ ...ends, endOffset: offset + end + 1 });
  }
  return logged;
}

/** `src spt dst dpt` */
export function nameOf({ src, spt, dst, dpt }: Ends): string {
  return `${src} ${spt} ${dst} ${dpt}`;
}

/** Compares as multisets: a connection established twice from the same port must be logged twice. */
export function compare(logged: Iterable<Ends>, established: Iterable<Ends>): Differences {
  const truth = count(established);
  const found = count(logged);
  const surplus = [...found].map(([name, n]) => ({ name, n: n - (truth.get(name) ?? 0) }));
  const shortage = [...truth].map(([name, n]) => ({ name, n: n - (found.get(name) ?? 0) }));
  return {
    missing: repeat(shortage),
    duplicated: repeat(surplus.filter(({ name }) => truth.has(name))),
    invented: repeat(surplus.filter(({ name }) => !truth.has(name))),
  };
}

function count(all: Iterable<Ends>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const ends of all) {
    const name = nameOf(ends);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function repeat(names: readonly { name: string; n: number }[]): string[] {
  return names.flatMap(({ name, n }) => Array<string>(Math.max(n, 0)).fill(name));
}
