import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { TestContext } from 'node:test';
import { CLI } from './listener.ts';
import { exitOnSignals } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

const DEADLINE_MS = 30_000;
const ROOT = dirname(dirname(CLI));

/** This package may be below /tmp, and is to be seen there. */
const SCRIPT = `
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir /run/package
mount --bind "$1" /run/package
mount -t tmpfs tmpfs /tmp
case $1 in
  /tmp/*) mkdir -p "$1"; mount --move /run/package "$1" ;;
  *) umount /run/package ;;
esac
rmdir /run/package
mount -o remount,bind,ro /
echo ready
exec sleep infinity`;

/** What a host looks like from outside of a demo. */
export interface HostState {
  readonly ruleset: string;
  readonly links: string;
  readonly settings: string;
  /** Of /run and /tmp. */
  readonly files: string;
  readonly processes: readonly string[];
}

/** A demo under way. */
export interface RunningDemo {
  /** As this machine sees it. */
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  waitFor(text: string): Promise<void>;
  /** Closes our end of its output. */
  hangUp(): void;
  kill(signal: NodeJS.Signals): void;
  /** The exit code, or the signal. */
  ended(): Promise<number | NodeJS.Signals>;
}

export interface DemoHost {
  start(options?: { readonly path?: string }): Promise<RunningDemo>;
  /** Its root directory, as this machine sees it. */
  readonly root: string;
  state(): HostState;
  processes(): readonly string[];
}

/**
 * A host that has this machine's files, read-only but for an empty /run and /tmp, and a network and processes of its own:
 * all that a demo changes on it can be seen, whatever else happens on this machine. It ends with the test.
 */
export async function startDemoHost(context: TestContext): Promise<DemoHost> {
  const isolated = ['--mount', '--propagation', 'private', '--net', '--pid', '--fork', '--kill-child'];
  const holder = spawn(
    requireProgram('setpriv'),
    ['--pdeathsig', 'KILL', requireProgram('unshare'), ...isolated, 'sh', '-ec', SCRIPT, 'sh', ROOT],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  exitOnSignals();
  context.after(() => holder.kill('SIGKILL'));
  let said = '';
  holder.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  await waitFor(() => said.includes('ready'), { deadlineMs: DEADLINE_MS, what: 'the host' });
  const init = childOf(holder.pid!)!;
  const enter = (argv: readonly string[]) => [
    ...['--target', String(init), '--mount', '--net', '--pid', '--wd=/', '--'],
    ...argv,
  ];
  const run = (script: string) =>
    execFileSync(requireProgram('nsenter'), enter(['sh', '-c', script]), { encoding: 'utf8' });
  const processes = () =>
    // who is dead and not waited for by anybody does nothing any more
    run(
      'for p in /proc/[0-9]*; do grep -q "^State:.Z" $p/status || { tr "\\0" " " < $p/cmdline; echo; }; done 2> /dev/null',
    )
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('sh -c ') && !line.startsWith('tr '));
  return {
    start: ({ path } = {}) => startDemo(enter([process.execPath, CLI, 'demo']), path),
    root: `/proc/${init}/root`,
    processes,
    state: () => ({
      ruleset: run('nft list ruleset'),
      links: run('ip -o link; ip -o address; ip netns list'),
      settings: run('grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | sort'),
      files: run('find /run /tmp -xdev | grep -vx /run/netns | sort'),
      processes: processes(),
    }),
  };
}

async function startDemo(argv: readonly string[], path = process.env.PATH): Promise<RunningDemo> {
  const child: ChildProcess = spawn(requireProgram('nsenter'), argv, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path },
  });
  const printed = { stdout: '', stderr: '' };
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (printed.stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (printed.stderr += text));
  const exit = new Promise<number | NodeJS.Signals>((resolve) =>
    child.once('exit', (code, signal) => resolve(code ?? signal!)),
  );
  const bound = (what: string) => ({
    deadlineMs: DEADLINE_MS,
    what: () => `${what}; it said:\n${printed.stdout}${printed.stderr}`,
  });
  // nsenter forks, and waits for what it has started
  const pid = await waitFor(() => childOf(child.pid!), bound('the demo'));
  return {
    pid,
    stdout: () => printed.stdout,
    stderr: () => printed.stderr,
    async waitFor(text) {
      const isOver = () => child.exitCode !== null || child.signalCode !== null;
      await waitFor(() => printed.stdout.includes(text) || isOver(), bound(`"${text}"`));
      if (!printed.stdout.includes(text)) throw new Error(bound(`the demo ended without "${text}"`).what());
    },
    hangUp: () => child.stdout!.destroy(),
    kill: (signal) => process.kill(pid, signal),
    ended: () => exit,
  };
}

function childOf(pid: number): number | undefined {
  const [child] = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean),
  );
  return child === undefined ? undefined : Number(child);
}
