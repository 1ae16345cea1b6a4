import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Configuration } from '../../src/configuration/configuration.ts';
import { parseConfiguration } from '../../src/configuration/load.ts';
import type { Fail2banFacts, JailFacts } from '../../src/doctor/fail2ban-facts.ts';
import type { Host } from '../../src/doctor/host.ts';
import type { Result } from '../../src/doctor/result.ts';
import type { ProcessStatus } from '../../src/system/process-status.ts';

export const NOW = Date.parse('2026-11-28T03:00:00Z');

/** What programs print, by their command line; a number is an exit code, and what has no entry is not installed. */
export type Outputs = Readonly<Record<string, string | number>>;

/** A host whose files are below `root`, and whose programs say what the test says. */
export function hostOf(root: string, outputs: Outputs = {}, more: Partial<Host> = {}): Host {
  const addresses = ['127.0.0.1', '203.0.113.5', '::1', '2001:db8:5::5'];
  return {
    root,
    isRoot: true,
    now: NOW,
    addresses,
    async run(program, ...args) {
      const said = Object.entries(outputs).find(([line]) =>
        [program, ...args].join(' ').startsWith(line),
      )?.[1];
      if (said === undefined) return { end: { kind: 'missing' }, stdout: '', stderr: '' };
      if (typeof said === 'number')
        return { end: { kind: 'exit', code: said }, stdout: '', stderr: 'it failed' };
      return { end: { kind: 'exit', code: 0 }, stdout: said, stderr: '' };
    },
    ...more,
  };
}

export function writeTree(root: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
}

export function configurationOf(text = 'decoys: [{ name: telnet, ports: [23, 2323] }]'): Configuration {
  return parseConfiguration(Buffer.from(text), '/etc/honeyport/honeyport.yaml');
}

/** A listener as the shipped unit has it. */
export function listenerOf(more: Partial<ProcessStatus> = {}): ProcessStatus {
  const argv = ['node', '/usr/bin/honeyport', 'run'];
  const capabilities = 1n << 10n;
  return {
    pid: 812,
    name: 'node',
    argv,
    uid: 990,
    gids: [990],
    capabilities,
    mostOpenFiles: 65_536,
    ...more,
  };
}

export const LOG = '/var/log/honeyport/honeyport.log';

/** As `fail2ban-client -d` of 1.0.2 and 1.1.0 prints it. */
export const PLAN = [
  "['set', 'syslogsocket', 'auto']",
  "['add', 'sshd', 'systemd']",
  "['add', 'honeyport', 'auto']",
  `['set', 'honeyport', 'addlogpath', '${LOG}', 'head']`,
  `['set', 'honeyport', 'addaction', 'honeyport_nftables', '/etc/fail2ban/action.d/honeyport_nftables.py', '{"log": "/var/log/honeyport/bans.log", "port": "0:65535", "protocol": "tcp", "chain": "<known/chain>"}']`,
  "['start', 'honeyport']",
];

export function jailOf(more: Partial<JailFacts> = {}): JailFacts {
  return {
    name: 'honeyport',
    logs: [LOG],
    failregex: String.raw`|- [0]: ^\s?\S+ honeyport\[\d{1,10}\]:? {1,2}connect src=`,
    usedns: 'no',
    maxretry: 1,
    bantime: 86_400,
    ignored: ['127.0.0.0/8', '::1'],
    actions: ['honeyport_nftables', 'honeyport_rotation'],
    mode: 'block',
    waiting: 0,
    ...more,
  };
}

export function factsOf(more: Partial<Fail2banFacts> = {}): Fail2banFacts {
  return {
    version: '1.0.2',
    plan: PLAN,
    planProblem: undefined,
    running: ['sshd', 'honeyport'],
    problem: undefined,
    jails: [jailOf()],
    ...more,
  };
}

/** `finding: message | advice`, a line each. */
export function told(results: readonly Result[]): string[] {
  return results.map(({ result, message, advice }) =>
    advice === undefined ? `${result}: ${message}` : `${result}: ${message} | ${advice}`,
  );
}

/** A line of the log, of so long ago. */
export function lineOf(text: string, ageMs = 1000): string {
  const time = new Date(NOW - ageMs).toISOString().replace('Z', '+00:00');
  return `${time} web-1 honeyport[812]: ${text}\n`;
}

export function connectLine(src: string, n: number, kind = 'connect', more = ''): string {
  const ends = `src=${src} spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=a.${n}`;
  return lineOf(`${kind} ${ends}${more}`);
}
