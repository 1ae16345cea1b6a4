import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host, Network } from './namespaces.ts';
import { seeing } from './private-files.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** A real name server on a host, at 127.0.0.1, for names that the test makes up. */
export interface NameServer {
  /** Put before a command on that host, so that it asks this server. */
  readonly wrapper: readonly string[];
  /** Changes what names stand for: `address name` lines, as in /etc/hosts. */
  answer(hosts: Readonly<Record<string, readonly string[]>>): void;
}

export interface NameServerOptions {
  readonly dir: string;
  readonly hosts: Readonly<Record<string, readonly string[]>>;
  /** Name servers of resolv.conf; default: this one. */
  readonly resolvers?: readonly string[];
  /** Takes questions and never answers. */
  readonly isDeaf?: boolean;
}

export async function startNameServer(
  network: Network,
  host: Host,
  { dir, hosts, resolvers = ['127.0.0.1'], isDeaf = false }: NameServerOptions,
): Promise<NameServer> {
  const file = join(dir, 'names');
  const resolvConf = join(dir, 'resolv.conf');
  writeFileSync(resolvConf, resolvers.map((address) => `nameserver ${address}\n`).join(''));
  writeFileSync(file, textOf(hosts));
  const argv = isDeaf
    ? [process.execPath, '-e', DEAF]
    : [requireProgram('dnsmasq'), ...DNSMASQ, `--addn-hosts=${file}`];
  const server = network.spawn(host, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  server.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const isReady = () => said.includes(isDeaf ? 'deaf' : file);
  await waitFor(isReady, { deadlineMs: 10_000, what: () => `the name server; it said:\n${said}` });
  return {
    wrapper: seeing({ '/etc/resolv.conf': resolvConf }),
    answer(changed) {
      writeFileSync(file, textOf(changed));
      server.kill('SIGHUP');
    },
  };
}

const DNSMASQ = [
  ...['--keep-in-foreground', '--log-facility=-', '--conf-file=/dev/null', '--pid-file', '--user=root'],
  ...['--no-resolv', '--no-hosts', '--local=/test/', '--listen-address=127.0.0.1', '--bind-interfaces'],
];

const DEAF = `
require('node:dgram').createSocket('udp4').bind(53, '127.0.0.1', () => process.stderr.write('deaf'));
setTimeout(() => {}, 120_000);`;

function textOf(hosts: Readonly<Record<string, readonly string[]>>): string {
  const lines = Object.entries(hosts).flatMap(([name, addresses]) =>
    addresses.map((address) => `${address} ${name}\n`),
  );
  return lines.join('');
}
