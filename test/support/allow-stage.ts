import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Fail2ban, type Release, startFail2ban, temporaryDirectory } from './fail2ban.ts';
import { type RunningHoneyport, startHoneyport } from './listener.ts';
import { type NameServer, startNameServer } from './name-server.ts';
import { cleanUpAfter, createNetwork, type Network } from './namespaces.ts';
import { type SshServer, startSshServer } from './ssh-server.ts';
import { waitFor } from './wait.ts';

export const [TELNET, SSH] = [2323, 2222];
const DEADLINE_MS = 20_000;

export interface AllowStage {
  readonly dir: string;
  readonly list: string;
  readonly network: Network;
  readonly names: NameServer;
  /** With the option `ssh`. */
  readonly ssh: SshServer | undefined;
  readonly honeyport: RunningHoneyport;
  readonly cleanUp: (step: () => unknown) => void;
  /** Knocks, and returns the line that this made, from the event on. */
  knock(from: string, port?: number): Promise<string>;
  /** Changes the configuration while it is in force, and waits for that. */
  configure(settings: string): Promise<void>;
  /** Replaces the list file as editors do, and waits until it is in force. */
  writeList(text: string): Promise<void>;
  /** How often the listener has taken over a change. */
  reloads(): number;
}

const configuration = (settings: string) => `sensor: web-1
decoys:
  - { name: telnet, ports: ${TELNET} }
  - { name: ssh, ports: ${SSH} }
log: { file: { path: LOG }, console: off }
${settings}
`;

export interface StageOptions {
  /** The list file. */
  readonly list?: string;
  /** Addresses by host name. */
  readonly hosts?: Readonly<Record<string, readonly string[]>>;
  /** Addresses in the listener's resolv.conf, where they are not the test's name server alone. */
  readonly resolvers?: readonly string[];
  /** Whether the name server takes questions and never answers. */
  readonly deafNameServer?: boolean;
  /** Whether there is a real sshd, whose logins the listener sees. */
  readonly ssh?: boolean;
}

/** A listener on the sensor, with a name server of its own; `LIST` in the settings is a list file. */
export async function setStage(
  context: TestContext,
  settings: string,
  options: StageOptions = {},
): Promise<AllowStage> {
  const { list = '# nobody\n', hosts = {}, deafNameServer = false } = options;
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  for (const prefix of ['198.18.0.0/16', '2001:db8:5::/48', '2001:db8:6::/48']) network.addSources(prefix);
  const names = await startNameServer(network, network.sensor, {
    dir,
    hosts,
    ...options,
    isDeaf: deafNameServer,
  });
  const ssh = options.ssh ? await startSshServer(network, network.sensor, dir) : undefined;
  const listFile = join(dir, 'allow.list');
  writeFileSync(listFile, list);
  const { namespace } = network.sensor;
  const config = configuration(settings.replaceAll('LIST', listFile));
  const honeyport = await startHoneyport({
    config,
    namespace,
    dir,
    wrapper: [...names.wrapper, ...(ssh?.wrapper ?? [])],
  });
  cleanUp(() => honeyport.stop());
  const reloads = () => honeyport.lines().filter((line) => line.includes(': reload result=applied ')).length;
  const applied = async (before: number) => {
    await waitFor(() => reloads() > before, {
      deadlineMs: DEADLINE_MS,
      what: () => `a reload; the listener said:\n${honeyport.stderr()}`,
    });
  };
  return {
    dir,
    list: listFile,
    network,
    names,
    ssh,
    honeyport,
    cleanUp,
    knock: (from, port = TELNET) => knock(network, honeyport, from, port),
    reloads,
    async configure(changed) {
      const before = reloads();
      const text = configuration(changed.replaceAll('LIST', listFile)).replaceAll('LOG', honeyport.logFile);
      writeFileSync(honeyport.configFile, text);
      await applied(before);
    },
    async writeList(text) {
      const before = reloads();
      writeFileSync(`${listFile}.new`, text);
      renameSync(`${listFile}.new`, listFile);
      await applied(before);
    },
  };
}

export async function knock(
  network: Network,
  honeyport: RunningHoneyport,
  from: string,
  port: number,
): Promise<string> {
  const to = from.includes(':') ? network.sensor.ipv6 : network.sensor.ipv4;
  const known = honeyport.lines().length;
  assert.equal(await network.connect({ from, to, port }), 'open');
  const line = await waitFor(
    () =>
      honeyport
        .lines()
        .slice(known)
        .find((text) => text.includes(` src=${from} `)),
    { deadlineMs: DEADLINE_MS, what: `the line of ${from}` },
  );
  return line.replace(/^.*?\]: /, '');
}

/** `allowed by=...`, `withheld reason=...` or `connect`. */
export function verdictOf(line: string): string {
  const [event] = line.split(' ');
  return [event, ...(/ (?:by|reason)=\S+/.exec(line) ?? [])].join('');
}

/** The sensor's fail2ban with the shipped jail, reading the listener's log. */
export async function watch(stage: AllowStage, release: Release): Promise<Fail2ban> {
  const jails = `[honeyport]\nenabled = true\nlogpath = ${stage.honeyport.logFile}\n`;
  const fail2ban = await startFail2ban({ network: stage.network, release, jails, binds: [stage.dir] });
  stage.cleanUp(fail2ban.dispose);
  return fail2ban;
}

/** Waits until the addresses of a host name are in force. */
export async function resolved(stage: AllowStage, name: string): Promise<void> {
  const file = join(stage.dir, 'honeyport.allow.json');
  await waitFor(() => existsSync(file) && readFileSync(file, 'utf8').includes(name), {
    deadlineMs: DEADLINE_MS,
    what: () => `${name} in the exported list; the listener said:\n${stage.honeyport.stderr()}`,
  });
}
