import { type ChildProcess, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedTree, downloadPackages } from './cached-tree.ts';
import { temporaryDirectory } from './fail2ban.ts';
import type { Finished, Host, Network } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** honeyport's folder, in which users type the documented commands. */
const PROJECT_DIR = fileURLToPath(new URL('../..', import.meta.url));

/** Unpacked, never installed: its maintainer scripts register with the maker's service and start a daemon. */
const UNPACK_TIMEOUT_MS = 60_000;
const DEADLINE_MS = 20_000;

/** A directory with the files of this machine's Debian package crowdsec, made on the first call ever. */
export function crowdsecRoot(): string {
  return cachedTree({ name: 'crowdsec', contents: 'crowdsec, control files in DEBIAN', build: unpack });
}

function unpack(root: string): void {
  process.stderr.write('honeyport tests: unpacking the package crowdsec; this happens once\n');
  downloadPackages(['crowdsec'], root);
  const script = 'dpkg -x crowdsec_*.deb .; dpkg -e crowdsec_*.deb DEBIAN; rm crowdsec_*.deb';
  execFileSync('sh', ['-ec', script], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: UNPACK_TIMEOUT_MS,
  });
}

/** A running crowdsec with everything private, on a host of a network. */
export interface Crowdsec {
  /** /var/log/honeyport as crowdsec sees it. */
  readonly logDirectory: string;
  /** /etc/crowdsec as crowdsec sees it. */
  readonly configuration: string;
  /** Runs a program that sees crowdsec's files in the system's places; below it runs the user's commands. */
  run(argv: readonly string[]): Finished;
  /** The output of a shell script run so; throws when it fails. */
  shell(script: string): string;
  /** What crowdsec wrote about its own work so far. */
  log(): string;
  /** (Re)starts the engine and waits until it reads its sources. */
  start(): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * Lays out crowdsec as Debian's package does when it is installed, without honeyport's files; `start` starts it.
 *
 * @param host whose network it has; nothing else is reachable, so that it speaks to nobody
 */
export function createCrowdsec(network: Network, host: Host): Crowdsec {
  const directory = temporaryDirectory();
  layOut(directory);
  const argvOf = (argv: readonly string[]) => [...entering(directory), ...argv];
  let engine: ChildProcess | undefined;
  let output = '';
  const run = (argv: readonly string[]) => network.run(host, argvOf(argv), { cwd: PROJECT_DIR });
  const shell = (script: string) => {
    const { code, stdout, stderr } = run(['sh', '-ec', script]);
    if (code !== 0) throw new Error(`Expected "${script}" to succeed, got ${code}: ${stdout}${stderr}`);
    return stdout;
  };
  const stop = async () => {
    const running = engine;
    engine = undefined;
    if (running === undefined || hasEnded(running)) return;
    running.kill('SIGTERM');
    try {
      await waitFor(() => hasEnded(running), { deadlineMs: 5_000, what: 'the end of crowdsec' });
    } catch {
      running.kill('SIGKILL');
    }
  };
  return {
    logDirectory: join(directory, 'log'),
    configuration: join(directory, 'etc'),
    run,
    shell,
    log: () => output,
    async start() {
      await stop();
      output = '';
      const started = network.spawn(host, argvOf(['crowdsec']), { stdio: ['ignore', 'pipe', 'pipe'] });
      engine = started;
      for (const stream of [started.stdout, started.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
      }
      const isReady = () => output.includes('Starting processing data');
      await waitFor(() => isReady() || hasEnded(started), {
        deadlineMs: DEADLINE_MS,
        what: () => `crowdsec to start; it said:\n${output}`,
      });
      if (hasEnded(started)) throw new Error(`crowdsec ended at once:\n${output}`);
    },
    async dispose() {
      await stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** What postinst does at a first installation, but for registering with the maker's service. */
function layOut(directory: string): void {
  const root = crowdsecRoot();
  for (const place of ['etc/crowdsec', 'var/lib/crowdsec', 'var/log/honeyport']) {
    mkdirSync(join(directory, 'places', place), { recursive: true });
  }
  for (const name of ['lib/hub', 'log', 'tmp']) mkdirSync(join(directory, name), { recursive: true });
  const etc = join(directory, 'etc');
  cpSync(join(root, 'etc/crowdsec'), etc, { recursive: true });
  cpSync(join(root, 'usr/share/crowdsec/data'), join(directory, 'lib/data'), { recursive: true });
  for (const item of ['collections', 'parsers', 'postoverflows', 'scenarios', '.index.json']) {
    symlinkSync(`/usr/share/crowdsec/hub/${item}`, join(directory, 'lib/hub', item));
  }
  for (const item of recommendedItems(root)) {
    // The code is picky about subdirectories: the vendor's is left out.
    const link = join(etc, item.replace(/\/[^/]+\/([^/]+)$/, '/$1'));
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(`/var/lib/crowdsec/hub/${item}`, link);
  }
  // The shipped example reads logs of this machine.
  writeFileSync(join(etc, 'acquis.yaml'), '');
  writeFileSync(join(etc, 'online_api_credentials.yaml'), '# no thanks\n');
  writeFileSync(
    join(etc, 'local_api_credentials.yaml'),
    'url: http://127.0.0.1:8080\nlogin: test\npassword: test-test-test\n',
  );
  writeFileSync(
    join(etc, 'config.yaml.local'),
    'common: { daemonize: false, log_media: stdout }\ndb_config: { use_wal: true }\n',
  );
  const machine = 'cscli --error machines add --force test --password test-test-test';
  const [program, ...args] = [...entering(directory), 'sh', '-c', machine];
  execFileSync(program!, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: DEADLINE_MS });
}

/** The items of the hub that postinst switches on. */
function recommendedItems(root: string): string[] {
  const script = readFileSync(join(root, 'DEBIAN/postinst'), 'utf8');
  const items = /^UPSTREAM_ITEMS=.*\n([^)]*?)^EOF$/m.exec(script)?.[1]?.split('\n').filter(Boolean) ?? [];
  if (items.length === 0) throw new Error("Expected UPSTREAM_ITEMS in crowdsec's postinst, got none");
  return items;
}

/**
 * What to put before a command so that it sees crowdsec installed and nobody else does: a mount namespace in which
 * the package's files lie over the system's, and private directories in the places that are written to.
 */
function entering(directory: string): string[] {
  const script = `
mount -t overlay overlay -o "lowerdir=$1/places/etc:/etc" /etc
mount -t overlay overlay -o "lowerdir=$2/usr:/usr" /usr
mount -t overlay overlay -o "lowerdir=$1/places/var:/var" /var
mount --bind "$1/etc" /etc/crowdsec
mount --bind "$1/lib" /var/lib/crowdsec
mount --bind "$1/log" /var/log/honeyport
TMPDIR=$1/tmp; export TMPDIR
shift 2
exec "$@"`;
  return [
    requireProgram('unshare'),
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-ec',
    script,
    'sh',
    directory,
    crowdsecRoot(),
  ];
}
