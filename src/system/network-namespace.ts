import { randomInt } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { UserError } from '../errors.ts';
import { type ProgramResult, runProgram } from './run-program.ts';

/** A network of its own, with nothing but a loopback device until it is joined to another. */
export interface NetworkNamespace {
  readonly name: string;
  /** The command line that runs a program in it. */
  command(argv: readonly string[]): readonly string[];
  /**
   * Ends what runs in it, then deletes it and the wires that lead there; one that is gone already is fine.
   * @throws UserError
   */
  remove(): Promise<void>;
}

/** One end of a wire. */
export interface WireEnd {
  /** Undefined: the network that this process is in. */
  readonly namespace: NetworkNamespace | undefined;
  readonly device: string;
  /** Each with its prefix length: `198.18.0.1/30`, `2001:db8::1/64`. */
  readonly addresses: readonly string[];
}

/** Where ip-netns(8) keeps them. */
const DIRECTORY = '/run/netns';

const TIMEOUT_MS = 10_000;
const MOST_BYTES = 1024 * 1024;
const UP_TIMEOUT_MS = 5000;
const LOOK_EVERY_MS = 10;
/** Who forks while being killed is met again in the next round. */
const KILL_ROUNDS = 20;
/** Wires are told by their group from devices that others made. */
const WIRE_GROUP = '1786';

/**
 * Makes a network namespace whose loopback device is up. Needs root.
 * @param name ends in this process's id, `honeyport-<what>-<pid>`, so that an abandoned one is known as such
 * @throws UserError
 */
export async function createNetworkNamespace(name: string): Promise<NetworkNamespace> {
  await ip('netns', 'add', name);
  const namespace: NetworkNamespace = {
    name,
    command: (argv) => ['ip', 'netns', 'exec', name, ...argv],
    remove: () => removeNamespace(name),
  };
  try {
    await ip('-n', name, 'link', 'set', 'lo', 'up');
    return namespace;
  } catch (error) {
    await namespace.remove();
    throw error;
  }
}

/**
 * Joins two networks. When it is done, packets go both ways, of IPv6 too. The wire goes with the first of its
 * namespaces that is removed.
 * @throws UserError
 */
export async function joinByWire(one: WireEnd, other: WireEnd): Promise<void> {
  // ip(8) makes the device here and its peer in a namespace that has a name
  const [near, far] = other.namespace === undefined ? [other, one] : [one, other];
  // The kernel takes up to a second over a device whose peer has the same number. These are high enough to be free.
  const index = randomInt(1_000_000, 1_000_000_000);
  const peer = ['peer', 'name', far.device, 'index', String(index + 1)];
  const place = far.namespace === undefined ? [] : ['netns', far.namespace.name];
  await ip(
    ...at(near),
    'link',
    'add',
    near.device,
    'index',
    String(index),
    'type',
    'veth',
    ...peer,
    ...place,
  );
  for (const end of [near, far]) {
    // duplicate address detection would keep IPv6 from working for a second or two
    for (const address of end.addresses)
      await ip(
        ...at(end),
        'address',
        'add',
        address,
        'dev',
        end.device,
        ...(isIpv6(address) ? ['nodad'] : []),
      );
    await ip(...at(end), 'link', 'set', end.device, 'group', WIRE_GROUP, 'up');
  }
  for (const end of [near, far]) await waitUntilUp(end);
}

function at({ namespace }: WireEnd): string[] {
  return namespace === undefined ? [] : ['-n', namespace.name];
}

function isIpv6(address: string): boolean {
  return address.includes(':');
}

/** IPv6 sends nothing before. */
async function waitUntilUp(end: WireEnd): Promise<void> {
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (!(await isUp(end))) {
    if (performance.now() > deadline)
      throw failure(`waited ${UP_TIMEOUT_MS / 1000} s for the network device ${end.device} to be up`);
    await delay(LOOK_EVERY_MS);
  }
}

async function isUp(end: WireEnd): Promise<boolean> {
  const [link] = JSON.parse(await ip(...at(end), '-json', 'link', 'show', 'dev', end.device));
  return link?.operstate === 'UP';
}

/**
 * Removes namespaces of processes that were killed before they could. Comes before any is made: one that bears this
 * process's own id is of an earlier process that had the same.
 * @param prefix of their names, as `honeyport-demo-`
 * @throws UserError
 */
export async function removeAbandonedNamespaces(prefix: string): Promise<void> {
  for (const name of namespaceNames()) {
    const pid = name.startsWith(prefix) ? /-(\d+)$/.exec(name)?.[1] : undefined;
    if (pid !== undefined && isAbandoned(Number(pid))) await removeNamespace(name);
  }
}

function isAbandoned(pid: number): boolean {
  return pid === process.pid || !existsSync(`/proc/${pid}`);
}

function namespaceNames(): readonly string[] {
  return existsSync(DIRECTORY) ? readdirSync(DIRECTORY) : [];
}

async function removeNamespace(name: string): Promise<void> {
  if (!existsSync(`${DIRECTORY}/${name}`)) return;
  await endProcesses(name);
  // the kernel deletes a namespace in its own time; the other ends of its wires are to be gone now
  await runIp(['-n', name, 'link', 'delete', 'group', WIRE_GROUP]);
  const args = ['netns', 'delete', name];
  const result = await runIp(args);
  if (!succeeded(result) && existsSync(`${DIRECTORY}/${name}`)) throw problemOf(args, result);
}

async function endProcesses(name: string): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS; round += 1) {
    // one that another process removes at this moment has no processes
    const { stdout } = await runIp(['netns', 'pids', name]);
    const pids = stdout.split('\n').filter((line) => line !== '');
    if (pids.length === 0) return;
    for (const pid of pids) endProcess(Number(pid));
    await delay(LOOK_EVERY_MS);
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}

/** @throws UserError when it fails */
async function ip(...args: string[]): Promise<string> {
  const result = await runIp(args);
  if (succeeded(result)) return result.stdout;
  throw problemOf(args, result);
}

function runIp(args: readonly string[]): Promise<ProgramResult> {
  // what is under way when Ctrl-C is pressed is finished, and then taken back
  return runProgram({ program: 'ip', args, timeoutMs: TIMEOUT_MS, mostBytes: MOST_BYTES, ownGroup: true });
}

function succeeded({ end }: ProgramResult): boolean {
  return end.kind === 'exit' && end.code === 0;
}

function problemOf(args: readonly string[], { end, stderr }: ProgramResult): UserError {
  const asked = `ip ${args.join(' ')}`;
  switch (end.kind) {
    case 'missing':
      return failure('ip of iproute2 is not installed, or it is not in PATH', 'apt-get install iproute2');
    case 'timeout':
      return failure(`${asked}: no end within ${TIMEOUT_MS / 1000} s`);
    case 'too much output':
      return failure(`${asked}: expected at most 1 MiB, got more`);
    case 'failure':
      return failure(`${asked}: ${end.message}`);
    case 'exit':
      return refusalOf(asked, stderr.trim().replaceAll('\n', '; ').slice(0, 500));
  }
}

function refusalOf(asked: string, said: string): UserError {
  const message = `${asked}: ${said === '' ? 'no reason given' : said}`;
  if (/not permitted|Permission denied/.test(said)) return failure(message, rightsHint());
  if (/Unknown device type|not supported/i.test(said))
    return failure(message, 'this kernel has no veth devices: modprobe veth');
  if (/Read-only file system/.test(said)) return failure(message, `${DIRECTORY} must be writable`);
  return failure(message);
}

function rightsHint(): string {
  if (process.geteuid?.() !== 0) return 'run it as root';
  return 'root may not make networks here, as in a container without CAP_SYS_ADMIN and CAP_NET_ADMIN: run it on the host itself';
}

function failure(message: string, hint?: string): UserError {
  return new UserError(message, { hint, exitCode: 1 });
}
