import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { requireProgram } from './programs.ts';

/** Named network namespaces live here (ip-netns(8)). */
const NAMESPACE_DIR = '/run/netns';
const NAME_PREFIX = 'hp';

const RUN_TIMEOUT_MS = 30_000;

/** A host of a network. */
export interface Host {
  /** Name of the network namespace. */
  readonly namespace: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** How a program in a namespace ended; a program ended by a signal or the timeout has code -1. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/**
 * What an attempt came to: `open` (over UDP: an answer), `timeout`, or the error's code, such as `ECONNREFUSED`.
 */
export type Attempt = 'open' | 'timeout' | `E${string}`;

export interface AttemptOptions {
  /** One of the attacker's addresses. */
  readonly from: string;
  readonly to: string;
  readonly port: number;
  /** Default: tcp. */
  readonly protocol?: 'tcp' | 'udp';
  readonly timeoutMs?: number;
}

/** Two hosts on one wire, cut off from everything else; a third one behind the sensor, where it is wanted. */
export interface Network {
  readonly sensor: Host;
  readonly attacker: Host;
  /** Runs a program on a host to its end. */
  run(host: Host, argv: readonly string[], options?: RunOptions): Finished;
  /** Starts a program on a host; `dispose` ends it if it still runs. */
  spawn(host: Host, argv: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Makes every address of a prefix, such as 198.18.0.0/16 or 2001:db8:5::/64, one of the attacker's own. */
  addSources(prefix: string): void;
  /**
   * Adds a host that is reached through the sensor alone, as a container is: the sensor forwards to it, and the
   * attacker has a route there. Once per network.
   */
  addHostBehind(): Host;
  /** Tries to reach a port from the attacker, with a TCP connection or a datagram. */
  connect(options: AttemptOptions): Promise<Attempt>;
  dispose(): void;
}

let networks = 0;

/**
 * Makes a network of two hosts, `sensor` and `attacker`, with IPv4 and IPv6. Needs root. Call `dispose` when done;
 * should the test process end without it, the namespaces go with the process.
 */
export function createNetwork(): Network {
  removeAbandoned();
  networks += 1;
  const number = networks;
  const host = (name: string, end: number, wire = 99): Host => ({
    namespace: `${NAME_PREFIX}-${process.pid}-${number}-${name}`,
    ipv4: `10.${wire}.${number}.${end}`,
    ipv6: `fd00:${wire}:${number}::${end}`,
  });
  const sensor = host('sensor', 1);
  const attacker = host('attacker', 2);
  const behind = host('behind', 2, 98);
  const dispose = () => {
    process.off('exit', dispose);
    for (const { namespace } of [sensor, attacker, behind]) removeNamespace(namespace);
  };
  // First of all: programs must have ended when others remove the directories that they write to.
  process.prependOnceListener('exit', dispose);
  exitOnSignals();
  try {
    connectHosts(sensor, attacker);
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    sensor,
    attacker,
    run: (at, argv, options = {}) => runIn(at, argv, options),
    spawn: (at, argv, options = {}) =>
      spawn(requireProgram('ip'), ['netns', 'exec', at.namespace, ...argv], options),
    addSources(prefix) {
      // AnyIP: a local route makes a whole prefix the host's own without an address for each.
      ip('-n', attacker.namespace, 'route', 'add', 'local', prefix, 'dev', 'lo');
      // Not a default route: fail2ban looks up its own name, and a name server that is out of reach must be
      // known to be so at once, not after a timeout of 20 seconds.
      const gateway = prefix.includes(':') ? attacker.ipv6 : attacker.ipv4;
      ip('-n', sensor.namespace, 'route', 'add', prefix, 'via', gateway);
    },
    addHostBehind() {
      connectBehind(sensor, attacker, behind, host('sensor', 1, 98));
      return behind;
    },
    connect: (options) => attempt(attacker, options),
    dispose,
  };
}

function connectHosts(sensor: Host, attacker: Host): void {
  for (const { namespace } of [sensor, attacker]) addNamespace(namespace);
  connectWire('wire', sensor, attacker);
  // IPv6, unlike IPv4, refuses to bind an address that only a local route makes one's own (see addSources).
  ip('netns', 'exec', attacker.namespace, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind');
}

/** `inside` is the sensor with its addresses on the new wire. */
function connectBehind(sensor: Host, attacker: Host, behind: Host, inside: Host): void {
  addNamespace(behind.namespace);
  connectWire('inner', inside, behind, 200);
  const forward = 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding';
  ip('netns', 'exec', sensor.namespace, 'sh', '-c', forward);
  for (const family of ['ipv4', 'ipv6'] as const) {
    ip('-n', behind.namespace, 'route', 'add', 'default', 'via', inside[family]);
    ip('-n', attacker.namespace, 'route', 'add', behind[family], 'via', sensor[family]);
  }
}

function addNamespace(namespace: string): void {
  ip('netns', 'add', namespace);
  ip('-n', namespace, 'link', 'set', 'lo', 'up');
  // Duplicate address detection would keep IPv6 from working for a second or two.
  const noDetection = 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad';
  ip('netns', 'exec', namespace, 'sh', '-c', noDetection);
}

/** Joins two hosts; when it returns, packets go both ways. */
function connectWire(wire: string, one: Host, other: Host, index = 100): void {
  // Ends with different numbers: the kernel takes its time, up to a second, over devices whose peer has their own.
  const ends = ['type', 'veth', 'peer', 'name', wire, 'index', String(index + 1), 'netns', other.namespace];
  ip('-n', one.namespace, 'link', 'add', wire, 'index', String(index), ...ends);
  for (const { namespace, ipv4, ipv6 } of [one, other]) {
    ip('-n', namespace, 'address', 'add', `${ipv4}/24`, 'dev', wire);
    ip('-n', namespace, 'address', 'add', `${ipv6}/64`, 'dev', wire);
    ip('-n', namespace, 'link', 'set', wire, 'up');
  }
  // IPv6 sends nothing before.
  const isUp = `until [ "$(cat /sys/class/net/${wire}/operstate)" = up ]; do sleep 0.01; done`;
  for (const { namespace } of [one, other]) ip('netns', 'exec', namespace, 'sh', '-c', isUp);
}

function runIn(host: Host, argv: readonly string[], options: RunOptions): Finished {
  const result = spawnSync(requireProgram('ip'), ['netns', 'exec', host.namespace, ...argv], {
    encoding: 'utf8',
    timeout: options.timeoutMs ?? RUN_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    maxBuffer: 64 * 1024 * 1024,
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const note = result.signal === null ? '' : `ended by ${result.signal}\n`;
  return { code: result.status ?? -1, stdout: result.stdout, stderr: result.stderr + note };
}

/** Prints what became of one attempt; a program, since a process cannot change its own namespace. */
const ATTEMPT = `
const [protocol, host, port, localAddress, timeout] = process.argv.slice(1);
const end = (outcome) => { process.stdout.write(outcome); process.exit(); };
const attempts = {
  tcp() {
    const socket = require('node:net').connect({ host, port: Number(port), localAddress });
    socket.on('connect', () => end('open')).on('error', (error) => end(error.code));
  },
  udp() {
    const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.on('message', () => end('open')).on('error', (error) => end(error.code));
    socket.bind(0, localAddress, () => socket.connect(Number(port), host, () => socket.send('x')));
  },
};
attempts[protocol]();
// After a last look: on a loaded machine the answer may be there, and this program not have had its turn.
setTimeout(() => setImmediate(setImmediate, () => end('timeout')), Number(timeout));`;

async function attempt(attacker: Host, options: AttemptOptions): Promise<Attempt> {
  const { from, to, port, protocol = 'tcp', timeoutMs = 2_000 } = options;
  const argv = [process.execPath, '-e', ATTEMPT, protocol, to, String(port), from, String(timeoutMs)];
  const child = spawn(requireProgram('ip'), ['netns', 'exec', attacker.namespace, ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: timeoutMs + RUN_TIMEOUT_MS,
  });
  let outcome = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    outcome += text;
  });
  await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  if (outcome === '') throw new Error(`Expected an outcome of connecting to ${to} port ${port}, got none`);
  return outcome as Attempt;
}

function ip(...args: string[]): string {
  return execFileSync(requireProgram('ip'), args, { encoding: 'utf8', timeout: RUN_TIMEOUT_MS });
}

/** Ends what runs in a namespace, then deletes it; one that is gone already is fine. */
function removeNamespace(namespace: string): void {
  const isThere = () => existsSync(`${NAMESPACE_DIR}/${namespace}`);
  if (!isThere()) return;
  try {
    for (const pid of ip('netns', 'pids', namespace).split('\n').filter(Boolean)) endProcess(Number(pid));
    ip('netns', 'delete', namespace);
  } catch (error) {
    // An abandoned one may have been removed by another test process meanwhile.
    if (isThere()) throw error;
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** Namespaces of test processes that were killed before they could clean up. */
function removeAbandoned(): void {
  const names = existsSync(NAMESPACE_DIR) ? readdirSync(NAMESPACE_DIR) : [];
  for (const name of names) {
    const pid = new RegExp(`^${NAME_PREFIX}-(\\d+)-\\d+-(?:sensor|attacker|behind)$`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNamespace(name);
  }
}

let exitsOnSignals = false;

/** Lets signals end us through `exit`, where things are cleaned up; the test runner ends late files with SIGTERM. */
export function exitOnSignals(): void {
  if (exitsOnSignals) return;
  exitsOnSignals = true;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
}

/**
 * Collects what is to be done when a test has ended, last things first, so that programs end in order before their
 * network goes; node:test itself runs its hooks first things first. Every step is taken, even if one fails.
 */
export function cleanUpAfter(context: TestContext): (step: () => unknown) => void {
  const steps: (() => unknown)[] = [];
  context.after(async () => {
    const errors: unknown[] = [];
    for (const step of steps.reverse()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, `cleaning up failed: ${errors.join('; ')}`);
  });
  return (step) => steps.push(step);
}
