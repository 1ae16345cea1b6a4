import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { planInstall } from '../../src/setup/plan-install.ts';
import { planUninstall } from '../../src/setup/plan-uninstall.ts';
import type { Recovery } from '../../src/setup/recover.ts';
import { type Outcome, setUp } from '../../src/setup/setup.ts';
import { temporaryDirectory } from '../support/directory.ts';

const FOLDERS = [
  'etc/fail2ban/jail.d',
  'etc/fail2ban/filter.d',
  'etc/fail2ban/action.d',
  'etc/logrotate.d',
  'etc/rsyslog.d',
  'usr/lib/systemd/system',
  'usr/local/lib',
  'var/lib',
  'var/log',
];

/** A directory that stands for a host with fail2ban, logrotate, rsyslog and systemd. */
export function makeRoot(context: TestContext, files: Readonly<Record<string, string>> = {}): string {
  const root = temporaryDirectory(context);
  for (const folder of FOLDERS) mkdirSync(join(root, folder), { recursive: true });
  for (const [path, text] of Object.entries(files)) writeBelow(root, path, text);
  return root;
}

export function writeBelow(root: string, path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** Waits as a guardian does, and does nothing: what the real one does is seen end to end. */
const IDLE_GUARDIAN: [string, ...string[]] = ['/bin/sh', '-c', 'echo ready; cat > /dev/null'];

export interface AttemptOptions {
  readonly version?: string;
  readonly observe?: boolean;
  readonly sockets?: boolean;
  readonly senders?: Parameters<typeof planInstall>[0]['senders'];
  readonly purge?: boolean;
  readonly onStep?: (text: string) => void;
  readonly onRecovery?: (recovery: Recovery) => void;
}

export function install(root: string, options: AttemptOptions = {}): Promise<Outcome> {
  const { version = '1.0.0', observe = false, sockets = false, senders = [] } = options;
  return attempt(root, () => planInstall({ root, version, observe, sockets, senders }), options);
}

export function uninstall(root: string, options: AttemptOptions = {}): Promise<Outcome> {
  return attempt(root, () => planUninstall({ root, purge: options.purge ?? false }), options);
}

function attempt(
  root: string,
  plan: Parameters<typeof setUp>[0]['plan'],
  { onStep = () => {}, onRecovery = () => {} }: AttemptOptions,
): Promise<Outcome> {
  return setUp({ root, plan, guardian: IDLE_GUARDIAN, onStep, onRecovery, confirm: async () => true });
}

/** Everything below a directory: kind, mode, contents and, for files, the time of the last change. */
export function snapshot(root: string): Record<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(names.map((name) => [name, describe(join(root, name))]));
}

function describe(path: string): string {
  const stats = lstatSync(path, { bigint: true });
  const mode = (stats.mode & 0o7777n).toString(8);
  if (stats.isSymbolicLink()) return `link to ${readlinkSync(path)}`;
  if (stats.isDirectory()) return `directory ${mode}`;
  const hash = createHash('sha256').update(readFileSync(path)).digest('hex');
  return `file ${mode} ${stats.uid} ${stats.mtimeNs} ${stats.nlink} ${hash.slice(0, 12)}`;
}
