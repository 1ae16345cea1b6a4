import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host, Network } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

export interface RsyslogOptions {
  /** RainerScript; nothing of the host's own configuration is read. */
  readonly config: string;
  /** Where its configuration, pid file and state are; the state outlives a restart. */
  readonly directory: string;
  readonly network?: Network;
  readonly host?: Host;
  /** Put before the command. */
  readonly before?: readonly string[];
}

export interface RunningRsyslog {
  readonly pid: number;
  /** What it said on standard error. */
  stderr(): string;
  /** Ends it and waits until it has. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const DEADLINE_MS = 15_000;

/** Starts a private rsyslogd, on a host of a network where one is given; it is ready when this returns. */
export async function startRsyslog(options: RsyslogOptions): Promise<RunningRsyslog> {
  const { config, directory, network, host, before = [] } = options;
  const work = join(directory, 'rsyslog-state');
  mkdirSync(work, { recursive: true });
  const pidFile = join(directory, 'rsyslog.pid');
  const file = join(directory, 'rsyslog.conf');
  writeFileSync(file, `global(workDirectory="${work}")\n${config}\n`);
  const argv = [...before, requireProgram('rsyslogd'), '-n', '-f', file, '-i', pidFile];
  const stdio = ['ignore', 'ignore', 'pipe'] as ['ignore', 'ignore', 'pipe'];
  const child: ChildProcess =
    network !== undefined && host !== undefined
      ? network.spawn(host, argv, { stdio })
      : spawn(argv[0]!, argv.slice(1), { stdio });
  let said = '';
  let ended = false;
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const end = once(child, 'close').then(() => {
    ended = true;
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  void end.then(() => process.off('exit', kill));
  try {
    // rsyslogd writes its pid file before it reads anything else, and its inputs run when it sleeps in its main loop.
    await waitFor(() => ended || isRunning(pidFile), {
      deadlineMs: DEADLINE_MS,
      what: () => `rsyslogd to start; it said:\n${said}`,
    });
    if (ended) throw new Error(`rsyslogd ended at once:\n${said}`);
  } catch (error) {
    kill();
    throw error;
  }
  return {
    pid: child.pid!,
    stderr: () => said,
    async stop(signal = 'SIGTERM') {
      if (!ended) child.kill(signal);
      await waitFor(() => ended, {
        deadlineMs: DEADLINE_MS,
        what: () => `rsyslogd to end; it said:\n${said}`,
      });
    },
  };
}

function isRunning(pidFile: string): boolean {
  return existsSync(pidFile) && statSync(pidFile).size > 0;
}

/** What rsyslogd says of a configuration, and its exit code. */
export function checkRsyslogConfig(
  file: string,
  before: readonly string[] = [],
): { code: number; output: string } {
  const [program, ...args] = [...before, requireProgram('rsyslogd'), '-N1', '-f', file];
  const { status, stdout, stderr } = spawnSync(program!, args, { encoding: 'utf8', timeout: DEADLINE_MS });
  return { code: status ?? -1, output: stdout + stderr };
}
