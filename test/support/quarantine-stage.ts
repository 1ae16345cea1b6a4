import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { SERVICE, startService } from './bans.ts';
import { type Fail2ban, type Release, startFail2ban, temporaryDirectory } from './fail2ban.ts';
import { type RunningHoneyport, startHoneyport } from './listener.ts';
import { cleanUpAfter, createNetwork, type Network } from './namespaces.ts';
import { waitFor } from './wait.ts';

/** On all addresses, on all addresses behind a proxy, on one address, and on all addresses with its connections open. */
export const [DECOY, PROXIED, OF_ONE_ADDRESS, HOLDING] = [2323, 2424, 2525, 2626];
export const MARK = 0x686f6e65;
export const DEADLINE_MS = 20_000;
/** Dropped packets bring no answer; those that pass are answered within some milliseconds. */
const SILENCE_MS = 400;
const ACTION = new URL('../../fail2ban/action.d/honeyport_nftables.py', import.meta.url);

export interface QuarantineStage {
  readonly network: Network;
  readonly honeyport: RunningHoneyport;
  readonly fail2ban: Fail2ban;
  readonly dir: string;
  readonly cleanUp: (step: () => unknown) => void;
  /** What fail2ban's action says of the quarantine. */
  state(): string;
  becomes(state: string): Promise<void>;
  quarantined(): string[];
  /** Waits for a text in fail2ban's log. */
  waitForLog(pattern: RegExp): Promise<void>;
  /** Writes the jail anew, for a reload. */
  configure(change: JailOptions): void;
  /** What the service and then the decoy answer to somebody who has just knocked, as `timeout open`. */
  knockAndTry(source: string, options?: KnockOptions): string;
  reach(from: string, port?: number, to?: string): Promise<string>;
  waitForOpen(from: string, port?: number): Promise<void>;
}

export interface JailOptions {
  /** Lines of the jail. */
  readonly settings?: string;
  /** Of the action, each after a comma; DIR in them stands for the stage's directory. */
  readonly options?: string;
  readonly logPath?: string;
}

export interface QuarantineStageOptions extends JailOptions {
  readonly release?: Release;
  /** Whether fail2ban bans; without it the quarantine is alone. */
  readonly bans?: boolean;
  /** Lines of the listener's configuration; DIR in them stands for its directory. */
  readonly config?: string;
  /** Further decoys, each as `{ ports: 23 }`. */
  readonly decoys?: readonly string[];
  /** Put before the listener; DIR as above. */
  readonly wrapper?: readonly string[];
  /** Values of the action's constants, in a copy of it. */
  readonly constants?: Readonly<Record<string, string>>;
  /** Done before fail2ban starts. */
  readonly prepare?: (stage: { network: Network; dir: string }) => unknown;
  /** What is waited for; default: on. */
  readonly state?: string;
  /** Further jails. */
  readonly jails?: (honeyport: RunningHoneyport) => string;
}

export interface KnockOptions {
  readonly manner?: 'fin' | 'rst' | 'data';
  readonly decoy?: number;
  /** Default: the service. */
  readonly service?: number;
  /** Of both; default: the sensor. */
  readonly to?: string;
}

/** A sensor with a listener, a service that is no decoy, and a fail2ban that reads the listener's log. */
export async function setQuarantineStage(
  context: TestContext,
  wanted: QuarantineStageOptions = {},
): Promise<QuarantineStage> {
  const { release = 'host', bans = false, config = '', decoys = [], wrapper = [], prepare } = wanted;
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  for (const prefix of ['198.18.0.0/16', '2001:db8:5::/48']) network.addSources(prefix);
  await prepare?.({ network, dir });
  const { namespace } = network.sensor;
  const honeyport = await startHoneyport({
    config: configuration(network, decoys, config.replaceAll('DIR', dir)),
    namespace,
    dir,
    wrapper: wrapper.map((part) => part.replaceAll('DIR', dir)),
  });
  cleanUp(() => honeyport.stop());
  await startService(network);
  const jail = jailText(honeyport.logFile, join(dir, 'bans.log'), bans, dir);
  const more = wanted.jails?.(honeyport) ?? '';
  const fail2ban = await startFail2ban({
    network,
    release,
    jails: jail(wanted) + more,
    files: { 'action.d/honeyport_nftables.py': action(bans, wanted.constants ?? {}) },
    binds: [dir],
  });
  cleanUp(fail2ban.dispose);

  const stage: QuarantineStage = {
    network,
    honeyport,
    fail2ban,
    dir,
    cleanUp,
    state: () => fail2ban.client('get', 'honeyport', 'action', 'honeyport_nftables', 'quarantine').trim(),
    async becomes(state) {
      await waitFor(() => stage.state() === state, {
        deadlineMs: DEADLINE_MS,
        everyMs: 50,
        what: () => `the quarantine to be ${state}:\n${fail2ban.log()}`,
      });
    },
    quarantined: () => [4, 6].flatMap((version) => members(fail2ban, `quarantine_ipv${version}`)),
    async waitForLog(pattern) {
      await waitFor(() => pattern.test(fail2ban.log()), {
        deadlineMs: DEADLINE_MS,
        what: () => `${pattern} in\n${fail2ban.log()}`,
      });
    },
    configure: (change) => fail2ban.configure(jail(change) + more),
    knockAndTry: (source, options) => knockAndTry(network, source, options),
    reach: (from, port = SERVICE, to = hostOf(network, from)) =>
      network.connect({ from, to, port, timeoutMs: SILENCE_MS }),
    async waitForOpen(from, port) {
      await waitFor(async () => (await stage.reach(from, port)) === 'open', {
        deadlineMs: DEADLINE_MS,
        what: () => `${from} to get through:\n${fail2ban.ruleset()}\n${fail2ban.log()}`,
      });
    },
  };
  await stage.becomes(wanted.state ?? 'on');
  return stage;
}

function configuration({ sensor }: Network, decoys: readonly string[], more: string): string {
  return `sensor: web-1
decoys:
  - { name: all, ports: ${DECOY} }
  - { name: behind, ports: ${PROXIED}, proxy_protocol: [198.18.9.0/24] }
  - { name: one, ports: ${OF_ONE_ADDRESS}, address: ${sensor.ipv4} }
  - { name: one6, ports: ${OF_ONE_ADDRESS}, address: "${sensor.ipv6}" }
  - { name: holding, ports: ${HOLDING}, capture: 100, hold: 1h }
${decoys.map((decoy) => `  - ${decoy}\n`).join('')}log: { file: { path: LOG }, console: off }
${more}
`;
}

function jailText(
  logFile: string,
  banLog: string,
  bans: boolean,
  dir: string,
): (options: JailOptions) => string {
  return ({ settings = '', options = '', logPath = logFile }) => `[honeyport]
enabled = true
logpath = ${logPath}
banaction = honeyport_nftables.py[log="${banLog}"${options.replaceAll('DIR', dir)}]
${bans ? '' : 'maxretry = 1000\n'}${settings}
`;
}

/** A copy of the action: nobody can wait for what takes minutes, and fail2ban's ban would end each quarantine at once. */
function action(bans: boolean, constants: Readonly<Record<string, string>>): string {
  let text = readFileSync(ACTION, 'utf8');
  const replace = (before: string | RegExp, after: string) => {
    const changed = text.replace(before, after);
    assert.notEqual(changed, text, `${before} in the action`);
    text = changed;
  };
  if (!bans) replace('getMaxRetry() > 1:', 'getMaxRetry() > 1000:');
  for (const [name, value] of Object.entries(constants))
    replace(new RegExp(`^${name} = .*$`, 'm'), `${name} = ${value}`);
  return text;
}

/** The elements of one of the jail's sets whose members end. */
export function members(fail2ban: Fail2ban, set: string, jail = 'honeyport'): string[] {
  const { nftables } = JSON.parse(fail2ban.nft('-j', 'list', 'set', 'inet', 'honeyport', `${set}.${jail}`));
  const elements = nftables.find((entry: object) => 'set' in entry).set.elem ?? [];
  return elements.map((element: { elem: { val: string } }) => element.elem.val);
}

/** Knocks, ends the connection in a way, and at once tries the service: what became of both. */
const KNOCK_AND_TRY = `
import socket, struct, sys, time
manner, source, host, decoy, service = sys.argv[1:]
family = socket.AF_INET6 if ':' in host else socket.AF_INET
def connect(port, seconds):
    peer = socket.socket(family)
    peer.settimeout(seconds)
    peer.bind((source, 0))
    peer.connect((host, int(port)))
    return peer
knocker = connect(decoy, 5)
if manner == 'rst':
    knocker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
elif manner == 'data':
    knocker.sendall(b'x')
knocker.close()
def attempt(port):
    try:
        connect(port, 0.4).close()
        return 'open'
    except socket.timeout:
        return 'timeout'
print(attempt(service), attempt(decoy))
`;

function knockAndTry(
  network: Network,
  source: string,
  { manner = 'fin', decoy = DECOY, service = SERVICE, to = hostOf(network, source) }: KnockOptions = {},
): string {
  const argv = ['/usr/bin/python3', '-c', KNOCK_AND_TRY, manner, source, to, `${decoy}`, `${service}`];
  const { code, stdout, stderr } = network.run(network.attacker, argv);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

function hostOf({ sensor }: Network, source: string): string {
  return source.includes(':') ? sensor.ipv6 : sensor.ipv4;
}
