import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from './directory.ts';
import { CLI, type RunningHoneyport, startHoneyport } from './listener.ts';
import { cleanUpAfter, createNetwork, type Host, type Network } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

const DEADLINE_MS = 15_000;

export interface UnusedStageOptions {
  /** `except` of the decoy; default: nothing is excepted. */
  readonly except?: string;
  /** Further lines of the configuration. */
  readonly config?: string;
  /** Further decoys, as `{ ports: 23 }`. */
  readonly decoys?: readonly string[];
  /** Whether the rules are loaded at once; services of a test may have to be there before. */
  readonly loads?: boolean;
  readonly sysctls?: readonly string[];
}

/** A sensor whose unused ports are a decoy. */
export interface UnusedStage {
  readonly network: Network;
  readonly honeyport: RunningHoneyport;
  readonly dir: string;
  /** The script that `honeyport rules` prints on the sensor. */
  script(...args: string[]): string;
  nft(input: string): void;
  /** `honeyport rules | nft -f -` on the sensor. */
  load(...args: string[]): void;
  ruleset(): string;
  /** A service that answers each connection with a line; resolves when it listens. */
  serve(port: number, options?: ServeOptions): Promise<Service>;
  /** What a peer meets at a port: `served`, `open` (nothing was said), `refused` or `timeout`. */
  meet(port: number, options?: MeetOptions): string;
  /** Lines of connections, of whatever kind, to a port; of all ports without one. */
  events(port?: number): string[];
  /** Knocks on the decoy and waits for the line, so that everything that came before has its line, too. */
  settle(): Promise<void>;
}

export interface ServeOptions {
  readonly at?: Host;
  readonly address?: string;
  /** As proxies have it that take what rules of the kernel hand over. */
  readonly isTransparent?: boolean;
}

export interface MeetOptions {
  readonly from?: Host;
  readonly to?: string;
}

export interface Service {
  /** Kills it, and waits until its port is closed. */
  kill(): Promise<void>;
}

/** Resolves when it listens. */
export async function startTcpService(
  network: Network,
  at: Host,
  port: number,
  address: string,
  isTransparent = false,
): Promise<Service> {
  const argv = [requireProgram('python3'), '-c', SERVICE, address, `${port}`, isTransparent ? '1' : '0'];
  const child = network.spawn(at, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout!.setEncoding('utf8').on('data', (part: string) => {
    said += part;
  });
  await waitFor(() => said === 'listening\n', { deadlineMs: DEADLINE_MS, what: `a service at ${port}` });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Where `settle` knocks. */
const SETTLING_PORT = 61_999;

export async function setUnusedStage(
  context: TestContext,
  options: UnusedStageOptions = {},
): Promise<UnusedStage> {
  const { except = '[]', config = '', decoys = [], loads = true, sysctls = [] } = options;
  const dir = temporaryDirectory(context);
  const cleanUp = cleanUpAfter(context);
  const network = createNetwork();
  cleanUp(network.dispose);
  const { sensor, attacker } = network;
  for (const setting of sysctls) inOrder(network.run(sensor, ['sysctl', '-qw', setting]));
  const text = `sensor: web-1
decoys:
${decoys.map((decoy) => `  - ${decoy}\n`).join('')}  - { ports: unused, except: ${except} }
limits: { lines_per_source: off, lines: off }
log: { file: { path: LOG }, console: off }
${config}`;
  const honeyport = await startHoneyport({ config: text, namespace: sensor.namespace, dir });
  cleanUp(() => honeyport.stop());
  const stage: UnusedStage = {
    network,
    honeyport,
    dir,
    script: (...args) =>
      inOrder(network.run(sensor, [process.execPath, CLI, 'rules', '-c', honeyport.configFile, ...args])),
    nft: (input) => void inOrder(network.run(sensor, [requireProgram('nft'), '-f', '-'], { input })),
    load: (...args) => stage.nft(stage.script(...args)),
    ruleset: () => inOrder(network.run(sensor, [requireProgram('nft'), 'list', 'ruleset'])),
    serve: (port, { at = sensor, address = '::', isTransparent } = {}) =>
      startTcpService(network, at, port, address, isTransparent),
    meet(port, { from = attacker, to = sensor.ipv4 } = {}) {
      return inOrder(network.run(from, [requireProgram('python3'), '-c', MEET, to, `${port}`])).trim();
    },
    events: (port) =>
      honeyport.lines().filter((line) => line.includes(port === undefined ? ' dpt=' : ` dpt=${port} `)),
    async settle() {
      const before = stage.events(SETTLING_PORT).length;
      assert.equal(stage.meet(SETTLING_PORT), 'open');
      await waitFor(() => stage.events(SETTLING_PORT).length > before, {
        deadlineMs: DEADLINE_MS,
        what: 'the line of a knock',
      });
    },
  };
  if (loads) stage.load();
  return stage;
}

export function memoryFile({ dir }: UnusedStage): string {
  return join(dir, 'ports.json');
}

function inOrder({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }): string {
  assert.equal(code, 0, stderr);
  return stdout;
}

const SERVICE = `
import socket, sys
address, port, transparent = sys.argv[1:]
listener = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if transparent == '1':
    # IP_TRANSPARENT, IPV6_TRANSPARENT
    listener.setsockopt(socket.SOL_IP, 19, 1)
    if ':' in address:
        listener.setsockopt(socket.IPPROTO_IPV6, 75, 1)
listener.bind((address, int(port)))
listener.listen(1024)
print('listening', flush=True)
while True:
    connection, _ = listener.accept()
    try:
        connection.sendall(b'served\\n')
    except OSError:
        pass
    connection.close()
`;

const MEET = `
import socket, sys
host, port = sys.argv[1:]
peer = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
peer.settimeout(3)
try:
    peer.connect((host, int(port)))
    print((peer.recv(64) or b'open').decode().strip())
except ConnectionRefusedError:
    print('refused')
except socket.timeout:
    print('timeout')
`;
