import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.ts';
import { type BackgroundProgram, startBackgroundProgram } from '../system/background-program.ts';
import { createNetworkNamespace, joinByWire, type NetworkNamespace } from '../system/network-namespace.ts';
import { runProgram } from '../system/run-program.ts';
import { type Fail2banFiles, writeFail2banConfiguration } from './fail2ban-configuration.ts';
import { waitUntil } from './wait-until.ts';

/** Addresses of RFC 5737 and RFC 3849, which are nobody's. */
export const SENSOR = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;
export const ATTACKER = '192.0.2.66';
const COLLEAGUE = { ipv4: '192.0.2.7', ipv6: '2001:db8::7' } as const;
export const DECOY_PORT = 23;
export const SERVICE_PORT = 8080;

export const BAN_SECONDS = 8;
/** Python and Node start slowly on a slow machine. */
const START_TIMEOUT_MS = 20_000;
/** Beyond the longest demo. */
const LIFETIME_MS = 180_000;
const KEPT_BYTES = 8192;
const PROGRAM_LIMITS = { timeoutMs: 10_000, mostBytes: 1024 * 1024 } as const;

/** What the demo is played on: two networks on one wire, and what runs in the sensor's. */
export interface Stage {
  readonly attacker: NetworkNamespace;
  /** Where the colleague, who is allowed, comes from and goes to. */
  readonly colleague: { readonly from: string; readonly to: string };
  readonly listenerLog: string;
  readonly fail2banLog: string;
  readonly bansLog: string;
  /** nftables' rules of the sensor. */
  ruleset(): Promise<string>;
  /** Which program has ended that should run. */
  problem(): string | undefined;
}

export interface StageOptions {
  /** Where all files are made. */
  readonly directory: string;
  readonly interruption: AbortSignal;
  /** Is given what takes a thing back that was made. */
  readonly onMade: (undo: () => Promise<void>) => void;
}

/**
 * Makes networks, starts a web server, honeyport and fail2ban in the sensor's, and waits until all of them work.
 * @throws UserError
 */
export async function openStage(options: StageOptions): Promise<Stage> {
  const { directory, interruption, onMade } = options;
  const sensor = await createNetwork('sensor', options);
  const attacker = await createNetwork('attacker', options);
  const ipv6 = await speaksIpv6(sensor);
  await joinNetworks(sensor, attacker, ipv6);
  interruption.throwIfAborted();
  const family = ipv6 ? 'ipv6' : 'ipv4';
  const colleague = { from: COLLEAGUE[family], to: SENSOR[family] };
  const listenerLog = join(directory, 'honeyport.log');
  const configuration = writeListenerConfiguration(directory, listenerLog, colleague.from);
  const files = writeFail2banFiles(directory, listenerLog);
  const programs = startPrograms(sensor, { configuration, files, ipv6 });
  for (const { running } of programs) onMade(() => endProgram(running));
  const problem = () => problemOf(programs);
  await Promise.all(programs.map((program) => waitForStart(program, { problem, interruption })));
  return {
    attacker,
    colleague,
    listenerLog,
    fail2banLog: files.log,
    bansLog: files.bans,
    ruleset: () => readRuleset(sensor),
    problem,
  };
}

async function createNetwork(
  role: string,
  { interruption, onMade }: StageOptions,
): Promise<NetworkNamespace> {
  interruption.throwIfAborted();
  const network = await createNetworkNamespace(`honeyport-demo-${role}-${process.pid}`);
  onMade(() => network.remove());
  return network;
}

/** A host may have IPv6 switched off, for new networks too. */
async function speaksIpv6(network: NetworkNamespace): Promise<boolean> {
  const [program, ...args] = network.command(['cat', '/proc/sys/net/ipv6/conf/default/disable_ipv6']);
  const { stdout } = await runProgram({ program: program!, args, ...PROGRAM_LIMITS });
  return stdout.trim() === '0';
}

function joinNetworks(sensor: NetworkNamespace, attacker: NetworkNamespace, ipv6: boolean): Promise<void> {
  const end = (namespace: NetworkNamespace, addresses: readonly string[]) => {
    const possible = addresses.filter((address) => ipv6 || !address.includes(':'));
    return { namespace, device: 'wire', addresses: possible.map(withPrefix) };
  };
  const ofSensor = [SENSOR.ipv4, SENSOR.ipv6];
  const ofAttacker = [ATTACKER, COLLEAGUE.ipv4, COLLEAGUE.ipv6];
  return joinByWire(end(sensor, ofSensor), end(attacker, ofAttacker));
}

function withPrefix(address: string): string {
  return address.includes(':') ? `${address}/64` : `${address}/24`;
}

/** The guard is off: who is logged in on this host has no business in the demo's network. */
function writeListenerConfiguration(directory: string, log: string, colleague: string): string {
  const path = join(directory, 'honeyport.yaml');
  const text = `decoys:
  - name: telnet
    ports: ${DECOY_PORT}
allow:
  - source: "${colleague}"
    comment: a colleague
guard: off
log:
  file: { path: ${JSON.stringify(log)} }
  console: off
`;
  writeFileSync(path, text);
  return path;
}

function writeFail2banFiles(directory: string, listenerLog: string): Fail2banFiles {
  // fail2ban does not start without it
  writeFileSync(listenerLog, '', { mode: 0o640 });
  const shipped = fileURLToPath(new URL('../../fail2ban', import.meta.url));
  return writeFail2banConfiguration({ directory, shipped, listenerLog, banSeconds: BAN_SECONDS });
}

interface StageProgram {
  readonly name: string;
  readonly running: BackgroundProgram;
  /** Whether it does its work already. */
  readonly hasStarted: () => boolean;
}

const WEB_SERVER = `
const [host, port] = process.argv.slice(1);
const server = require('node:http').createServer((request, response) => response.end('hello\\n'));
server.listen({ host, port: Number(port) }, () => console.log('listening'));
`;

function startPrograms(
  sensor: NetworkNamespace,
  { configuration, files, ipv6 }: { configuration: string; files: Fail2banFiles; ipv6: boolean },
): StageProgram[] {
  const node = process.execPath;
  const cli = fileURLToPath(new URL('../cli.js', import.meta.url));
  const web = start(sensor, [node, '-e', WEB_SERVER, '--', ipv6 ? '::' : '0.0.0.0', String(SERVICE_PORT)]);
  const honeyport = start(sensor, [node, cli, 'run', '-c', configuration]);
  const access = ['-c', files.configuration, '-s', files.socket, '-p', files.pid];
  const fail2ban = start(sensor, ['fail2ban-server', ...access, '-xf', 'start']);
  return [
    { name: 'the web server', running: web, hasStarted: () => web.output().includes('listening') },
    {
      name: 'honeyport',
      running: honeyport,
      hasStarted: () => honeyport.output().includes('hint: knock with'),
    },
    {
      name: 'fail2ban',
      running: fail2ban,
      hasStarted: () => readText(files.log).includes("Jail 'honeyport' started"),
    },
  ];
}

/** Starts a program that does not outlive this process, even if that is killed. */
function start(network: NetworkNamespace, argv: readonly string[]): BackgroundProgram {
  const args = ['--pdeathsig', 'KILL', ...network.command(argv)];
  return startBackgroundProgram({
    program: 'setpriv',
    args,
    env: environment(),
    timeoutMs: LIFETIME_MS,
    keptBytes: KEPT_BYTES,
  });
}

/** Without what a service manager tells its services; and Python leaves its own directories as they are. */
function environment(): Record<string, string> {
  return { PATH: process.env.PATH ?? '', LC_ALL: 'C', PYTHONDONTWRITEBYTECODE: '1' };
}

async function waitForStart(
  { name, hasStarted }: StageProgram,
  wait: { problem: () => string | undefined; interruption: AbortSignal },
): Promise<void> {
  const what = `the start of ${name}`;
  await waitUntil(() => hasStarted() || undefined, { what, timeoutMs: START_TIMEOUT_MS, ...wait });
}

async function endProgram(running: BackgroundProgram): Promise<void> {
  running.kill();
  await running.ended;
}

function problemOf(programs: readonly StageProgram[]): string | undefined {
  const ended = programs.find(({ running }) => !running.isRunning());
  if (ended === undefined) return undefined;
  const said = ended.running.output().trim().split('\n').slice(-3).join('; ');
  return `${ended.name} has ended, and said: ${said === '' ? 'nothing' : said}`;
}

async function readRuleset(network: NetworkNamespace): Promise<string> {
  const [program, ...args] = network.command(['nft', 'list', 'ruleset']);
  const { end, stdout, stderr } = await runProgram({
    program: program!,
    args,
    ...PROGRAM_LIMITS,
    ownGroup: true,
  });
  if (end.kind === 'exit' && end.code === 0) return stdout;
  throw new UserError(`nft list ruleset: ${end.kind}: ${stderr.trim()}`, { exitCode: 1 });
}

/** What is in a file that may not be there yet. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
