import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.ts';

/** Where Debian's package has it. */
const STOCK_DIRECTORY = '/etc/fail2ban';
/** jail.d and fail2ban.d are left out: what is there is the distribution's and the administrator's own. */
const STOCK_PARTS = ['.', 'filter.d', 'action.d'];

/** Its own log, in the directory that it is given. */
export const FAIL2BAN_LOG = 'fail2ban.log';

export interface Fail2banFiles {
  /** Its /etc/fail2ban. */
  readonly configuration: string;
  readonly log: string;
  readonly socket: string;
  readonly pid: string;
  /** The shipped jail's lines of bans. */
  readonly bans: string;
}

export interface Fail2banPlan {
  /** Where everything of it is made. */
  readonly directory: string;
  /** The host's /etc/fail2ban. */
  readonly stock?: string;
  /** The package's fail2ban/. */
  readonly shipped: string;
  /** What the jail reads. */
  readonly listenerLog: string;
  readonly banSeconds: number;
}

/**
 * Writes a configuration for a fail2ban that has nothing in common with the host's but its stock files.
 * @throws UserError where the host has no stock files
 */
export function writeFail2banConfiguration(plan: Fail2banPlan): Fail2banFiles {
  const { directory, shipped, stock = STOCK_DIRECTORY } = plan;
  const configuration = join(directory, 'fail2ban');
  requireStock(stock);
  for (const part of STOCK_PARTS) copyFiles(join(stock, part), join(configuration, part), isStock);
  for (const part of readdirSync(shipped)) copyFiles(join(shipped, part), join(configuration, part));
  const files: Fail2banFiles = {
    configuration,
    log: join(directory, FAIL2BAN_LOG),
    socket: join(directory, 'fail2ban.sock'),
    pid: join(directory, 'fail2ban.pid'),
    bans: join(directory, 'bans.log'),
  };
  writeFileSync(join(configuration, 'fail2ban.local'), serverSettings(files, directory));
  const stockJails = readFileSync(join(configuration, 'jail.conf'), 'utf8');
  writeFileSync(join(configuration, 'jail.local'), jailSettings(stockJails, files, plan));
  return files;
}

/** A `.local` is the administrator's, and an installed honeyport may be of another version. */
function isStock(name: string): boolean {
  return /\.(?:conf|py)$/.test(name) && !name.startsWith('honeyport');
}

function copyFiles(from: string, to: string, isWanted: (name: string) => boolean = () => true): void {
  mkdirSync(to, { recursive: true });
  const files = readdirSync(from, { withFileTypes: true }).filter((entry) => !entry.isDirectory());
  for (const { name } of files) if (isWanted(name)) copyFileSync(join(from, name), join(to, name));
}

function requireStock(stock: string): void {
  for (const name of ['fail2ban.conf', 'jail.conf', 'filter.d', 'action.d']) {
    if (existsSync(join(stock, name))) continue;
    const hint = 'apt-get install --reinstall fail2ban';
    throw new UserError(`expected fail2ban's stock configuration in ${stock}, got no ${name}`, {
      hint,
      exitCode: 1,
    });
  }
}

function serverSettings({ log, socket, pid }: Fail2banFiles, directory: string): string {
  return `[Definition]
loglevel = INFO
logtarget = ${log}
syslogsocket = auto
socket = ${socket}
pidfile = ${pid}
dbfile = ${join(directory, 'fail2ban.sqlite3')}
`;
}

/** The action is said anew, so that none of a changed jail.conf sends mail, for example. */
function jailSettings(stockJails: string, { bans }: Fail2banFiles, plan: Fail2banPlan): string {
  const { listenerLog, banSeconds } = plan;
  return `${disableJails(stockJails)}
[honeyport]
enabled = true
logpath = ${listenerLog}
bantime = ${banSeconds}
bantime.increment = false
banaction = honeyport_nftables.py[log="${bans}"]
action = %(banaction)s
         honeyport_rotation.py
ignoreip =
ignorecommand =
`;
}

/** Of jails that the host's jail.conf has, none is wanted, even where it is changed to enable some. */
function disableJails(stockJails: string): string {
  const names = [...stockJails.matchAll(/^\[([^\]\n]+)\]/gm)].map(([, name]) => name!);
  const jails = new Set(names.filter((name) => !['DEFAULT', 'INCLUDES', 'honeyport'].includes(name)));
  return [...jails].map((name) => `[${name}]\nenabled = false\n`).join('');
}
