import { fileURLToPath } from 'node:url';
import { compileC } from '../../bench/compile.ts';
import { type LoadOptions, type LoadResult, runLoadProgram } from '../../bench/load.ts';
import { compare, type Differences, type Ends, parseConnectLine } from '../../bench/manifest.ts';

export type { LoadOptions, LoadResult, LoadSummary } from '../../bench/load.ts';
export type { Differences, Ends, Established } from '../../bench/manifest.ts';

const SOURCE = fileURLToPath(new URL('../../bench/load.c', import.meta.url));
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/honeyport', import.meta.url));

/**
 * Opens `count` TCP connections and tells which of them were established.
 * Compiles bench/load.c when its program is missing or older; rejects with the installing command where gcc is missing.
 */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  return runLoadProgram(await compileC(SOURCE, CACHE), options);
}

/** Holds the `connect` lines among `lines` against the truth, as multisets of (src, spt, dst, dpt). */
export function compareLogWithManifest(lines: readonly string[], established: readonly Ends[]): Differences {
  const logged = lines.map(parseConnectLine).filter((ends) => ends !== undefined);
  return compare(logged, established);
}
