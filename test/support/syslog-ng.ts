import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cachedTree, downloadPackages, pathOfTree } from './cached-tree.ts';
import { exitOnSignals } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** Its package conflicts with rsyslog's, which other tests need, so it is unpacked and not installed. */
const PACKAGE = 'syslog-ng-core';
const ROOT = pathOfTree('syslog-ng');
const APT_TIMEOUT_MS = 5 * 60_000;
const DEADLINE_MS = 15_000;

/** syslog-ng in the foreground, with files of its own in `dir`. */
export interface RunningSyslogNg {
  readonly pid: number;
  /** What it said so far. */
  messages(): string;
  /** The answer of syslog-ng-ctl(1). */
  control(...args: string[]): string;
  stop(): Promise<void>;
}

/**
 * Starts syslog-ng and waits until it listens.
 *
 * @param dir a directory for its configuration, sockets and state
 * @param configuration the text of syslog-ng.conf, without its `@version`
 * @throws with what it said, when it does not start
 */
export async function startSyslogNg(dir: string, configuration: string): Promise<RunningSyslogNg> {
  const argv = syslogNgArgv(dir, configuration);
  const child = spawn(argv[0]!, [...argv.slice(1), '--foreground', '--stderr'], {
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let messages = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    messages += text;
  });
  const ended = endOf(child);
  try {
    await waitFor(() => child.exitCode !== null || messages.includes('syslog-ng starting up'), {
      deadlineMs: DEADLINE_MS,
      what: () => `syslog-ng to start; it said:\n${messages}`,
    });
    if (child.exitCode !== null) throw new Error(`syslog-ng ended at once:\n${messages}`);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  return {
    pid: child.pid!,
    messages: () => messages,
    control: (...args) =>
      execFileSync(join(ROOT, 'usr/sbin/syslog-ng-ctl'), [...args, `--control=${join(dir, 'control')}`], {
        env: environment(),
        encoding: 'utf8',
        timeout: DEADLINE_MS,
      }),
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
      await ended;
      clearTimeout(late);
    },
  };
}

/** What syslog-ng says of a configuration: nothing where it is right. */
export function checkSyslogNg(dir: string, configuration: string): string {
  const [command, ...args] = syslogNgArgv(dir, configuration);
  try {
    execFileSync(command!, [...args, '--syntax-only'], {
      env: environment(),
      encoding: 'utf8',
      timeout: DEADLINE_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return '';
  } catch (error) {
    return (error as { stderr: string }).stderr;
  }
}

/** The version that is tested, as in `3.38.1`. */
export function syslogNgVersion(): string {
  syslogNgRoot();
  const options = { env: environment(), encoding: 'utf8' as const, timeout: DEADLINE_MS };
  const text = execFileSync(join(ROOT, 'usr/sbin/syslog-ng'), [moduleArgument(), '--version'], options);
  return /^syslog-ng \d+ \((\S+)\)/m.exec(text)?.[1] ?? text;
}

/** Ends with us, even if we are killed. */
function endOf(child: ChildProcess): Promise<void> {
  exitOnSignals();
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  return new Promise((resolve) =>
    child.once('close', () => {
      process.off('exit', kill);
      resolve();
    }),
  );
}

function syslogNgArgv(dir: string, configuration: string): string[] {
  const root = syslogNgRoot();
  const file = join(dir, 'syslog-ng.conf');
  writeFileSync(file, `@version: ${moduleVersion()}\n${configuration}`);
  return [
    join(root, 'usr/sbin/syslog-ng'),
    '--no-caps',
    moduleArgument(),
    `--cfgfile=${file}`,
    `--persist-file=${join(dir, 'persist')}`,
    `--pidfile=${join(dir, 'pid')}`,
    `--control=${join(dir, 'control')}`,
  ];
}

function moduleArgument(): string {
  return `--module-path=${join(ROOT, 'usr/lib/syslog-ng', moduleVersion())}`;
}

/** The directory of modules is named after the version, as in `3.38`. */
function moduleVersion(): string {
  return readdirSync(join(ROOT, 'usr/lib/syslog-ng')).find((name) => /^\d+\.\d+$/.test(name))!;
}

function environment(): NodeJS.ProcessEnv {
  const libraries = [join(ROOT, 'usr/lib/syslog-ng'), ...libraryDirectories()];
  return { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', LD_LIBRARY_PATH: libraries.join(':') };
}

/** Debian's directories of libraries, named after the machine's architecture. */
function libraryDirectories(): string[] {
  const parents = [join(ROOT, 'usr/lib'), join(ROOT, 'lib')].filter(existsSync);
  return parents.flatMap((parent) =>
    readdirSync(parent)
      .filter((name) => name.endsWith('-linux-gnu'))
      .map((name) => join(parent, name)),
  );
}

/** A directory with syslog-ng and the libraries it needs, made on the first call ever. */
export function syslogNgRoot(): string {
  return cachedTree({ name: 'syslog-ng', contents: PACKAGE, build: unpack });
}

function unpack(root: string): void {
  const archives = join(root, 'archives');
  mkdirSync(archives);
  downloadPackages([PACKAGE, ...libraries()], archives);
  for (const name of readdirSync(archives)) {
    run(requireProgram('dpkg'), ['--extract', join(archives, name), root], root);
  }
  rmSync(archives, { recursive: true });
}

/** All but those of the C compiler, which every system has. */
function libraries(): string[] {
  const only = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'];
  const options = ['--recurse', ...only.map((kind) => `--no-${kind}`)];
  const names = run('apt-cache', ['depends', ...options, PACKAGE], '/').match(/^lib\S+$/gm) ?? [];
  const others = /^(?:libc6|libgcc-s1|libelogind0)$/;
  return [...new Set(names)].filter((name) => !others.test(name));
}

function run(command: string, args: readonly string[], cwd: string): string {
  return execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: APT_TIMEOUT_MS,
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
}
