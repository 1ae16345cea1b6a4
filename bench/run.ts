import { rmSync } from 'node:fs';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { allowSides } from './allow.ts';
import { formatBans, measureBans } from './bans.ts';
import { measureBlock } from './block.ts';
import { formatBlock, isSound } from './block-report.ts';
import { compileC } from './compile.ts';
import { type Contestant, honeyport, reference } from './contestant.ts';
import { limitsSides } from './limits.ts';
import {
  type Findings,
  hasIpv6,
  measureManyPorts,
  measureMillion,
  measureOnePort,
  measureThousandPorts,
  type Sample,
  type Sizes,
  type Verification,
  type Workshop,
} from './measure.ts';
import { format, summarize, summarizeLoads } from './report.ts';
import { formatSides, measureSides, type Side } from './sides.ts';
import { syslogSides } from './syslog.ts';

const USAGE = `Usage: npm run bench -- [--quick] [--million] [--rounds N] [--json FILE] [--cli FILE]
       npm run bench -- --allow | --limits | --syslog [--quick] [--rounds N]
       npm run bench -- --bans | --block

  --quick      one short round
  --million    also memory after a million connections
  --rounds N   default 5
  --json FILE  the result for programs
  --cli FILE   another build than dist/cli.js
  --allow      an allow list of 100,000 entries instead, beside none
  --limits     limits of lines instead, beside none
  --syslog     syslog receivers instead, good and bad, beside none
  --bans       bursts of bans instead, beside the stock action; as root, about three minutes
  --block      from a handshake with a decoy to the block instead, with and without quarantine; as root, about a minute`;

const FULL: Sizes = { warmUp: 10_000, fullRate: 60_000, paced: 10_000, manyPorts: 5_000, burst: 5_000 };
const QUICK: Sizes = { warmUp: 5_000, fullRate: 20_000, paced: 4_000, manyPorts: 2_000, burst: 5_000 };

interface Options {
  readonly rounds: number;
  readonly sizes: Sizes;
  readonly million: boolean;
  readonly allow: boolean;
  readonly limits: boolean;
  readonly syslog: boolean;
  readonly bans: boolean;
  readonly block: boolean;
  readonly json: string | undefined;
  readonly cli: string;
}

/** Everything measured, round by round. */
interface Results {
  readonly honeyport: Sample[];
  readonly reference: Sample[];
  readonly verifications: Verification[];
}

process.exitCode = await main(process.argv.slice(2));

/** Exit status: 0 done, whether or not the aims are met; 1 failed, or a log that differs from the truth; 2 usage. */
async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (typeof options === 'number') return options;
  const directory = await mkdtemp(join(tmpdir(), 'honeyport-bench-'));
  const clean = () => rmSync(directory, { recursive: true, force: true });
  process.once('exit', clean);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  try {
    return await bench(options, directory);
  } catch (error) {
    console.error(`honeyport bench: error: ${(error as Error).message}`);
    return 1;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function readOptions(args: readonly string[]): Options | number {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        million: { type: 'boolean', default: false },
        allow: { type: 'boolean', default: false },
        limits: { type: 'boolean', default: false },
        syslog: { type: 'boolean', default: false },
        bans: { type: 'boolean', default: false },
        block: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        json: { type: 'string' },
        cli: { type: 'string', default: fileURLToPath(new URL('../dist/cli.js', import.meta.url)) },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      return 0;
    }
    const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
    if (!Number.isInteger(rounds) || rounds < 1)
      throw new Error(`expected a number of rounds, got ${values.rounds}`);
    const { million, allow, limits, syslog, bans, block, json, cli } = values;
    const sizes = values.quick ? QUICK : FULL;
    return { rounds, sizes, million, allow, limits, syslog, bans, block, json, cli };
  } catch (error) {
    console.error(`honeyport bench: error: ${(error as Error).message}\n${USAGE}`);
    return 2;
  }
}

async function bench(options: Options, directory: string): Promise<number> {
  if (options.bans) {
    console.log(formatBans(await measureBans(progress)));
    return 0;
  }
  await access(options.cli).catch(() => {
    throw new Error(`${options.cli} is missing: npm run build`);
  });
  if (options.block) return reportBlock(options.cli, directory);
  const [load, readable, cputime, yardstick] = await compilePrograms(directory);
  const workshop = { load, readable, cputime, directory };
  if (options.allow) return reportSides(await allowSides(options.cli, workshop), options, workshop);
  if (options.limits) return reportSides(limitsSides(options.cli), options, workshop);
  if (options.syslog) return reportSyslog(options, workshop);
  const contestants = [honeyport(options.cli), reference(yardstick)];
  const results = await runRounds(options, contestants, workshop);
  return report(options, results);
}

async function reportBlock(cli: string, directory: string): Promise<number> {
  const result = await measureBlock(cli, await compile('block.c', directory), directory, progress);
  console.log(formatBlock(result));
  return isSound(result) ? 0 : 1;
}

async function reportSyslog(options: Options, workshop: Workshop): Promise<number> {
  const { sides, close } = await syslogSides(options.cli);
  const code = await reportSides(sides, options, workshop);
  close();
  return code;
}

async function reportSides(
  sides: readonly Side[],
  { rounds, sizes }: Options,
  workshop: Workshop,
): Promise<number> {
  const result = await measureSides({ sides, rounds, sizes, workshop, progress });
  const loads = summarizeLoads(result.verifications);
  console.log(`${formatSides(result)}\n\n${format([], loads)}`);
  explainDifferences(result.verifications);
  return loads.every(({ met }) => met) ? 0 : 1;
}

async function compilePrograms(directory: string): Promise<[string, string, string, string]> {
  return [
    await compile('load.c', directory),
    await compile('readable.c', directory),
    await compile('cputime.c', directory),
    await compile('reference.c', directory),
  ];
}

function compile(name: string, directory: string): Promise<string> {
  return compileC(fileURLToPath(new URL(name, import.meta.url)), directory);
}

async function runRounds(
  options: Options,
  contestants: readonly Contestant[],
  workshop: Workshop,
): Promise<Results> {
  const results: Results = { honeyport: [], reference: [], verifications: [] };
  for (let round = 1; round <= options.rounds; round++) {
    for (const contestant of contestants) {
      progress(`round ${round} of ${options.rounds}: ${contestant.name}`);
      const { sample, verifications } = await measureRound(contestant, workshop, options.sizes);
      results[contestant.name].push(sample);
      results.verifications.push(...verifications);
    }
  }
  if (options.million) await addMillion(contestants[0]!, workshop, results);
  return results;
}

async function measureRound(contestant: Contestant, workshop: Workshop, sizes: Sizes): Promise<Findings> {
  const parts = [
    await measureOnePort(contestant, workshop, sizes),
    await measureThousandPorts(contestant, workshop, sizes),
    await measureManyPorts(contestant, workshop),
  ];
  return {
    sample: Object.assign({}, ...parts.map(({ sample }) => sample)),
    verifications: parts.flatMap(({ verifications }) => verifications),
  };
}

async function addMillion(contestant: Contestant, workshop: Workshop, results: Results): Promise<void> {
  progress('a million connections');
  const { sample, verifications } = await measureMillion(contestant, workshop);
  results.honeyport.push(sample);
  results.verifications.push(...verifications);
}

async function report(options: Options, results: Results): Promise<number> {
  const rows = summarize(results.honeyport, results.reference);
  const loads = summarizeLoads(results.verifications);
  const ipv6 = await hasIpv6();
  console.log(format(rows, loads));
  if (!ipv6) console.log('\nIPv6: not measured, this host has no ::1');
  const complete = loads.every(({ met }) => met);
  if (!complete) explainDifferences(results.verifications);
  if (options.json) {
    const host = { node: process.version, kernel: release(), cpus: availableParallelism(), ipv6 };
    const result = { time: new Date().toISOString(), ...host, rounds: options.rounds, complete, rows, loads };
    await writeFile(options.json, `${JSON.stringify({ ...result, samples: results }, null, 2)}\n`);
  }
  return complete ? 0 : 1;
}

function explainDifferences(verifications: readonly Verification[]): void {
  for (const { contestant, load, summary, differences, listenOverflows } of verifications) {
    if (summary.established < summary.attempted * 0.99) {
      console.error(
        `honeyport bench: error: ${contestant}, ${load}: not established: ${JSON.stringify(summary.errors)}`,
      );
    }
    for (const kind of ['missing', 'duplicated', 'invented'] as const) {
      const names = differences[kind];
      if (names.length === 0) continue;
      console.error(
        `honeyport bench: error: ${contestant}, ${load}: ${names.length} ${kind}, first ${names[0]}`,
      );
      if (kind === 'missing' && listenOverflows > 0) {
        console.error(
          `honeyport bench: hint: the kernel dropped ${listenOverflows} for full accept queues meanwhile`,
        );
      }
    }
  }
}

function progress(what: string): void {
  console.error(`honeyport bench: ${what}`);
}
