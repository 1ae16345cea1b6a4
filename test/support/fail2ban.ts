import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debian13Argv, debian13Root } from './debian13.ts';
import { readLines } from './listener.ts';
import { exitOnSignals, type Host, type Network } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** Whose fail2ban: this machine's (1.0.2 on Debian 12), or Debian 13's 1.1.0. */
export type Release = 'host' | 'debian13';
export const RELEASES: readonly Release[] = ['host', 'debian13'];

/** Our files, which mirror /etc/fail2ban. */
export const SHIPPED_DIR = fileURLToPath(new URL('../../fail2ban', import.meta.url));

/** Not os.tmpdir(): the Debian 13 system sees directories of this machine below /tmp only. */
const TEMPORARY_DIR = '/tmp';
const TEMPORARY_PREFIX = 'honeyport-fail2ban-';

/** From a written line to a ban takes a second; a loaded machine takes longer. */
const DEADLINE_MS = 20_000;
const COMMAND_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;

const temporaryDirectories = new Set<string>();

/** A directory that the Debian 13 system can see, too. Remove it when done; the end of the process does so anyway. */
export function temporaryDirectory(): string {
  if (temporaryDirectories.size === 0) {
    removeAbandoned();
    process.once('exit', removeTemporaryDirectories);
    exitOnSignals();
  }
  const directory = mkdtempSync(join(TEMPORARY_DIR, `${TEMPORARY_PREFIX}${process.pid}-`));
  temporaryDirectories.add(directory);
  return directory;
}

/** Directories of test processes that were killed. */
function removeAbandoned(): void {
  for (const name of readdirSync(TEMPORARY_DIR)) {
    const pid = new RegExp(`^${TEMPORARY_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    rmSync(join(TEMPORARY_DIR, name), { recursive: true, force: true });
  }
}

function removeTemporaryDirectories(): void {
  for (const directory of temporaryDirectories) rmSync(directory, { recursive: true, force: true });
}

/**
 * Makes a copy of a release's stock /etc/fail2ban with honeyport's files in it, as an installation has them.
 *
 * @param directory where it is made; what the shipped jail has below /var/log/honeyport is in `../log` then
 */
export function makeConfiguration(directory: string, release: Release = 'host'): void {
  if (release === 'host') requireProgram('fail2ban-server');
  const stock = release === 'host' ? '/etc/fail2ban' : join(debian13Root(), 'etc/fail2ban');
  // What the administrator of this machine changed is not stock.
  cpSync(stock, directory, { recursive: true, filter: (source) => !source.endsWith('.local') });
  copyShipped(directory);
}

/** Copies honeyport's files into a configuration, which installs or upgrades them. */
export function copyShipped(directory: string): void {
  cpSync(SHIPPED_DIR, directory, { recursive: true });
  mkdirSync(logDirectory(directory), { recursive: true });
  const jail = join(directory, 'jail.d/honeyport.conf');
  const text = readFileSync(jail, 'utf8');
  // Comments stay: what they show is for the user's own files.
  const located = text.replaceAll(/^([^#].*)\/var\/log\/honeyport\b/gm, `$1${logDirectory(directory)}`);
  writeFileSync(jail, located);
}

/** What is /var/log/honeyport for a configuration; nothing of a test is written into the machine's own. */
function logDirectory(configuration: string): string {
  return join(dirname(configuration), 'log');
}

/** The command line that runs a program of a release's fail2ban, which sees `binds` at their own paths. */
export function fail2banArgv(release: Release, argv: readonly string[], binds: readonly string[]): string[] {
  const [name, ...args] = argv;
  return release === 'host' ? [requireProgram(name!), ...args] : debian13Argv([name!, ...args], { binds });
}

/**
 * The addresses that a release's fail2ban-regex finds with a filter, in the order of the lines.
 *
 * @param source a log file, or `systemd-journal[...]`; below `directory`
 * @param directory where `makeConfiguration` has made `etc`
 */
export function findAddresses(
  release: Release,
  directory: string,
  source: string,
  filter = 'honeyport',
): string[] {
  const argv = ['fail2ban-regex', '-c', join(directory, 'etc'), '-o', 'ip', source, filter];
  // Its exit code is 0 even when nothing matched: only what it prints counts.
  return output(fail2banArgv(release, argv, [directory]))
    .split('\n')
    .filter(Boolean);
}

export interface Fail2banOptions {
  readonly network: Network;
  /** jail.local; every section but DEFAULT must be an enabled jail. */
  readonly jails: string;
  readonly release?: Release;
  /** Default: the network's sensor. */
  readonly host?: Host;
  /** Further files of the configuration, by their path in it. */
  readonly files?: Readonly<Record<string, string>>;
  /** Directories that jails read from, for the Debian 13 system; below /tmp. */
  readonly binds?: readonly string[];
}

/** A running fail2ban server with everything private: configuration, socket, database, log. */
export interface Fail2ban {
  readonly directory: string;
  /** Its /etc/fail2ban. */
  readonly configuration: string;
  /** fail2ban-client's output; throws when it fails. */
  client(...command: string[]): string;
  /** What fail2ban wrote into its own log so far. */
  log(): string;
  /** The addresses that a jail has banned now. */
  banned(jail?: string): string[];
  waitForBan(address: string, jail?: string): Promise<void>;
  /** nftables' rules of the host that it runs on. */
  ruleset(): string;
  /** Waits until an address is in the kernel, which is some milliseconds after the ban. */
  waitForBlock(address: string): Promise<void>;
  /** The output of its release's nft on the host that it runs on; throws when it fails. */
  nft(...args: string[]): string;
  /** Lines of the shipped jail's `log`. */
  banLines(): string[];
  /** Writes jail.local anew, as `jails` of the options; `reload` reads it. */
  configure(jails: string): void;
  /** Ends the server: in order, or with SIGKILL as a crash does. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Starts the server again after `stop`, with the database and everything else as it was left. */
  start(): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * Starts a release's real fail2ban server on a host of a network and waits until its jails run.
 *
 * @throws with fail2ban's log when it does not come up
 */
export async function startFail2ban(options: Fail2banOptions): Promise<Fail2ban> {
  const { network, release = 'host', host = network.sensor } = options;
  let { jails } = options;
  const directory = temporaryDirectory();
  const binds = [directory, ...(options.binds ?? [])];
  const configuration = join(directory, 'etc');
  const logFile = join(directory, 'fail2ban.log');
  const log = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '');
  const access = ['-c', configuration, '-s', join(directory, 'socket'), '-p', join(directory, 'pid')];
  makeConfiguration(configuration, release);
  writeFiles(configuration, { ...options.files, ...settings(directory, jails) });

  // As the packaged units do: -x for the socket that a killed server left.
  const run = fail2banArgv(release, ['fail2ban-server', ...access, '-xf', 'start'], binds);
  let server: ChildProcess | undefined;
  const client = (...command: string[]) =>
    output(fail2banArgv(release, ['fail2ban-client', ...access, ...command], binds));
  const banned = (jail = 'honeyport') => client('get', jail, 'banip').split(/\s+/).filter(Boolean);
  // Debian 12's nft does not survive a rule set that Debian 13's has made.
  const nft = (...args: string[]) => {
    const { code, stdout, stderr } = network.run(host, fail2banArgv(release, ['nft', ...args], []));
    if (code !== 0) throw new Error(`Expected nft ${args.join(' ')} to succeed, got ${code}: ${stderr}`);
    return stdout;
  };
  const ruleset = () => nft('list', 'ruleset');
  const start = async () => {
    const before = log().length;
    server = inNamespace(host, run);
    await started(server, jailNames(jails), () => log().slice(before));
    await waitFor(() => client('ping').includes('pong'), {
      deadlineMs: DEADLINE_MS,
      what: "fail2ban's answer",
    });
  };
  const dispose = async () => {
    if (server !== undefined) await stop(server);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }
  const bound = (what: string) => ({ deadlineMs: DEADLINE_MS, everyMs: 100, what });
  return {
    directory,
    configuration,
    client,
    log,
    banned,
    ruleset,
    nft,
    banLines: () => readLines(join(logDirectory(configuration), 'bans.log')),
    configure(changed) {
      jails = changed;
      writeFiles(configuration, { 'jail.local': jailLocal(jails) });
    },
    stop: (signal) => stop(server!, signal),
    start,
    dispose,
    async waitForBan(address, jail) {
      await waitFor(() => banned(jail).includes(address), bound(`the ban of ${address}`));
    },
    async waitForBlock(address) {
      await waitFor(
        () =>
          ruleset()
            .replaceAll(QUARANTINE_SETS, '')
            .split(/[\s,{}]+/)
            .includes(address),
        bound(`${address} in nftables`),
      );
    },
  };
}

/** Who is in these is not banned, or not yet. */
const QUARANTINE_SETS = /^\tset (?:quarantine|handshakes|unbanned|spared)_.*?^\t\}$/gms;

/** A server's own files beside it, and the given jails. */
function settings(directory: string, jails: string): Record<string, string> {
  const own = ['socket', 'pid', 'sqlite3', 'log'].map((name) => join(directory, name));
  const [socket, pid, database] = own;
  return {
    'fail2ban.local': `[Definition]
logtarget = ${join(directory, 'fail2ban.log')}
socket = ${socket}
pidfile = ${pid}
dbfile = ${database}
`,
    'jail.local': jailLocal(jails),
  };
}

/** Debian enables sshd, whose log a test host has not. */
function jailLocal(jails: string): string {
  return `[sshd]\nenabled = false\n\n${jails}`;
}

function writeFiles(directory: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
}

function jailNames(jails: string): string[] {
  return [...jails.matchAll(/^\[(?!DEFAULT\])([^\]]+)\]/gm)].map(([, name]) => name!);
}

function inNamespace(host: Host, argv: readonly string[]): ChildProcess {
  return spawn(requireProgram('ip'), ['netns', 'exec', host.namespace, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function started(server: ChildProcess, jails: readonly string[], log: () => string): Promise<void> {
  let said = '';
  for (const stream of [server.stdout, server.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const running = () => jails.every((jail) => log().includes(`Jail '${jail}' started`));
  const ended = () => server.exitCode !== null || server.signalCode !== null;
  const what = `fail2ban's jails ${jails.join(', ')}`;
  try {
    await waitFor(() => running() || ended(), { deadlineMs: DEADLINE_MS, what });
  } catch (error) {
    throw new Error(`${what} did not start:\n${said}${log()}`, { cause: error });
  }
  if (ended())
    throw new Error(`Expected fail2ban to run, got exit code ${server.exitCode}:\n${said}${log()}`);
}

/** Ends the server in order, so that it takes its rules back; by force when it does not come to an end. */
async function stop(server: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  const ended = () => server.exitCode !== null || server.signalCode !== null;
  if (ended()) return;
  server.kill(signal);
  try {
    await waitFor(ended, { deadlineMs: STOP_TIMEOUT_MS, what: 'the end of fail2ban' });
  } catch (error) {
    server.kill('SIGKILL');
    throw error;
  }
}

function output(argv: readonly string[]): string {
  const [command, ...args] = argv;
  const { status, stdout, stderr } = spawnSync(command!, args, {
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
  });
  if (status === 0) return stdout;
  throw new Error(`Expected ${args.slice(-3).join(' ')} to succeed, got ${status}: ${stdout}${stderr}`);
}
