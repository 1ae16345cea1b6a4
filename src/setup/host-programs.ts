import { existsSync } from 'node:fs';
import { UserError } from '../errors.ts';
import { UNUSED_TABLE, UNUSED_TABLE_REMOVAL } from '../nftables/unused-table.ts';
import { parseJails } from '../system/fail2ban-client.ts';
import { type ProgramEnd, type ProgramResult, runProgram } from '../system/run-program.ts';
import type { Check, Effect } from './plan.ts';

/** Loads the rules of a decoy with `ports: unused` when its timer says so. */
export const RULES_SERVICE = 'honeyport-rules.service';
export const RULES_TIMER = 'honeyport-rules.timer';

/** A unit with Type=notify is waited for, and systemd itself gives up after 90 s. */
const TIMEOUT_MS = 120_000;
const MOST_BYTES = 4 * 1024 * 1024;

/** Programs that an installation has to do with, and where they come from. */
const PACKAGES: Readonly<Record<string, string>> = {
  'fail2ban-client': 'fail2ban',
  nft: 'nftables',
  rsyslogd: 'rsyslog',
  systemctl: 'systemd',
};

/** Whether this host was started by systemd, sd_booted(3). */
export function isSystemdRunning(): boolean {
  return existsSync('/run/systemd/system');
}

export async function isFail2banRunning(): Promise<boolean> {
  return succeeded(await run('fail2ban-client', 'ping'));
}

/** The state of a unit: no error when systemd does not know it. */
export async function unitState(name: string): Promise<{ enabled: boolean; active: boolean }> {
  if (!isSystemdRunning()) return { enabled: false, active: false };
  const enabled = await run('systemctl', 'is-enabled', '--quiet', name);
  const active = await run('systemctl', 'is-active', '--quiet', name);
  return { enabled: succeeded(enabled), active: succeeded(active) };
}

/** Running jails that use an action of ours, or are called `honeyport`. */
export async function listOurJails(): Promise<string[]> {
  const { end, stdout } = await run('fail2ban-client', 'status');
  if (!isDone(end)) return [];
  const ours: string[] = [];
  for (const jail of parseJails(stdout))
    if (jail === 'honeyport' || (await usesOurActions(jail))) ours.push(jail);
  return ours;
}

async function usesOurActions(jail: string): Promise<boolean> {
  const { stdout } = await run('fail2ban-client', 'get', jail, 'actions');
  return /\bhoneyport[_-]/.test(stdout.split('\n').slice(1).join('\n'));
}

/** @throws UserError with what the program said */
export async function check(what: Exclude<Check, 'configuration'>): Promise<void> {
  switch (what) {
    case 'fail2ban':
      return must('fail2ban-client', '-t');
    case 'no use of ours in fail2ban':
      return mustNotUseOurs();
    case 'nftables':
      return must('nft', '-c', NFT_CONSTRUCTS);
    case 'rsyslog':
      return must('rsyslogd', '-N1');
  }
}

/** What action.d/honeyport_nftables.py asks of the kernel and of nft, of each kind one. */
const NFT_CONSTRUCTS = [
  'add table inet honeyport_check',
  'add chain inet honeyport_check c { type filter hook prerouting priority -310 ; policy accept ; }',
  'add set inet honeyport_check bans { type ipv4_addr ; flags timeout ; }',
  'add set inet honeyport_check networks { type ipv6_addr ; flags interval ; }',
  'add set inet honeyport_check ports { type ipv4_addr . inet_service ; flags interval ; }',
  'add rule inet honeyport_check c ip frag-off & 0x3fff == 0 meta l4proto { tcp, udp } ip saddr . th dport @ports return',
  'add rule inet honeyport_check c exthdr frag missing ip6 saddr @networks return',
  'add rule inet honeyport_check c ip saddr @bans counter drop',
].join(' ; ');

/** `-t` does not look whether an action in Python is there; the server would, and would not start. */
async function mustNotUseOurs(): Promise<void> {
  const { end, stdout } = await run('fail2ban-client', '-d');
  if (!isDone(end) || !/\/honeyport[_-][a-z0-9]+\.py\b/.test(stdout)) return;
  throw new UserError("a jail's `action` or `banaction` still names an action of honeyport's", {
    hint: 'grep -r honeyport /etc/fail2ban shows where',
    exitCode: 1,
  });
}

/** @throws UserError with what the program said */
export async function tell(effect: Exclude<Effect, { kind: 'check' }>): Promise<void> {
  switch (effect.kind) {
    case 'read units':
      return must('systemctl', 'daemon-reload');
    case 'start':
      return withJournal(effect.unit, must('systemctl', 'enable', '--now', effect.unit));
    case 'restart':
      return withJournal(effect.unit, must('systemctl', 'restart', effect.unit));
    case 'stop':
      return must('systemctl', 'disable', '--now', effect.unit);
    case 'take jails':
      return takeJails();
    case 'end jails':
      return endJails();
    case 'remove rules':
      return removeRules();
    case 'restart rsyslog':
      return must('systemctl', 'try-restart', 'rsyslog.service');
  }
}

/** Whether the kernel hands connections to unused ports over to the listener. */
export async function areRulesLoaded(): Promise<boolean> {
  return succeeded(await run('nft', 'list', 'table', ...UNUSED_TABLE.split(' ')));
}

/** The timer has ended before; what it has started just now must not load them again. */
async function removeRules(): Promise<void> {
  if (isSystemdRunning()) await must('systemctl', 'stop', RULES_SERVICE);
  await must('nft', UNUSED_TABLE_REMOVAL);
}

async function withJournal(unit: string, done: Promise<void>): Promise<void> {
  try {
    await done;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.message, { hint: `journalctl -u ${unit} says why`, exitCode: 1 });
  }
}

/**
 * Has fail2ban take new files. A jail that runs goes on with the code of its action until it is restarted, by name;
 * one that is new needs a reload of all, which interrupts no other.
 */
async function takeJails(): Promise<void> {
  const jails = await listOurJails();
  for (const jail of jails) await must('fail2ban-client', 'reload', '--restart', jail);
  if (!jails.includes('honeyport')) await must('fail2ban-client', 'reload');
}

/** Ends jails whose files are gone, which takes their blocks back. Other jails are left alone. */
async function endJails(): Promise<void> {
  for (const jail of await listOurJails()) await must('fail2ban-client', 'stop', jail);
}

/** Brings jails back to what ran before; `before` are those of ours. */
export async function restoreJails(before: readonly string[]): Promise<void> {
  if (!(await isFail2banRunning())) return;
  const now = await listOurJails();
  for (const jail of now.filter((name) => !before.includes(name)))
    await must('fail2ban-client', 'stop', jail);
  for (const jail of now.filter((name) => before.includes(name)))
    await must('fail2ban-client', 'reload', '--restart', jail);
  if (before.some((jail) => !now.includes(jail))) await must('fail2ban-client', 'reload');
}

/** Ends what did not run before, while its files are there still. */
export async function quietUnit(name: string, before: { enabled: boolean; active: boolean }): Promise<void> {
  if (!before.active) await run('systemctl', 'stop', name);
  if (!before.enabled) await run('systemctl', 'disable', name);
}

/** Starts what ran before, as it was installed before. */
export async function reviveUnit(name: string, before: { enabled: boolean; active: boolean }): Promise<void> {
  if (before.enabled) await must('systemctl', 'enable', name);
  if (before.active) await must('systemctl', 'restart', name);
}

async function must(program: string, ...args: readonly string[]): Promise<void> {
  const result = await run(program, ...args);
  if (!succeeded(result)) throw failure(`${program} ${briefly(args)}`, program, result);
}

function run(program: string, ...args: readonly string[]): Promise<ProgramResult> {
  return runProgram({ program, args, timeoutMs: TIMEOUT_MS, mostBytes: MOST_BYTES });
}

function succeeded({ end }: ProgramResult): boolean {
  return isDone(end);
}

function isDone(end: ProgramEnd): boolean {
  return end.kind === 'exit' && end.code === 0;
}

function briefly(args: readonly string[]): string {
  const text = args.join(' ');
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

const MOST_LINES = 12;

function failure(what: string, program: string, { end, stdout, stderr }: ProgramResult): UserError {
  if (end.kind === 'missing')
    return new UserError(`${program} is not installed, or not in PATH`, {
      hint: `apt-get install ${PACKAGES[program]}`,
      exitCode: 1,
    });
  const said = `${stdout}\n${stderr}`.split('\n').filter((text) => text.trim() !== '');
  const ending = end.kind === 'exit' ? `exit code ${end.code}` : end.kind;
  return new UserError([`${what}: ${ending}`, ...said.slice(-MOST_LINES)].join('\n'), { exitCode: 1 });
}
