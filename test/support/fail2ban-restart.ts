import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Fail2ban, fail2banArgv, type Release } from './fail2ban.ts';
import type { Network } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

const DEADLINE_MS = 60_000;

export interface RestartOptions {
  readonly network: Network;
  readonly release: Release;
  /** Directories that jails read from, as `startFail2ban` was given them. */
  readonly binds: readonly string[];
}

/** Ends a fail2ban server in order or as a crash does, and waits until it is gone; its files stay. */
export async function endFail2ban(fail2ban: Fail2ban, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const pid = Number(readFileSync(join(fail2ban.directory, 'pid'), 'utf8'));
  process.kill(pid, signal);
  await waitFor(() => !isRunning(pid), { deadlineMs: DEADLINE_MS, what: 'the end of fail2ban' });
}

/** Starts an ended fail2ban again with what it left, waits until its jails run, and returns what ends it. */
export async function startFail2banAgain(
  fail2ban: Fail2ban,
  jails: readonly string[],
  { network, release, binds }: RestartOptions,
): Promise<() => Promise<void>> {
  const { directory } = fail2ban;
  const before = fail2ban.log().length;
  // One that crashed leaves it, and the next one takes it for a server that runs.
  rmSync(join(directory, 'socket'), { force: true });
  const files = ['-c', join(directory, 'etc'), '-s', join(directory, 'socket'), '-p', join(directory, 'pid')];
  const argv = fail2banArgv(release, ['fail2ban-server', ...files, '-f', 'start'], [directory, ...binds]);
  const server = spawn(requireProgram('ip'), ['netns', 'exec', network.sensor.namespace, ...argv], {
    stdio: 'ignore',
  });
  const said = () => fail2ban.log().slice(before);
  await waitFor(() => hasEnded(server) || jails.every((jail) => said().includes(`Jail '${jail}' started`)), {
    deadlineMs: DEADLINE_MS,
    what: () => `fail2ban's jails ${jails.join(', ')}:\n${said()}`,
  });
  if (hasEnded(server)) throw new Error(`Expected fail2ban to run again, got an end:\n${said()}`);
  return async () => {
    server.kill('SIGTERM');
    await waitFor(() => hasEnded(server), { deadlineMs: DEADLINE_MS, what: 'the end of fail2ban' });
  };
}

function hasEnded(server: ChildProcess): boolean {
  return server.exitCode !== null || server.signalCode !== null;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
