import { basename, dirname } from 'node:path';
import { DEFAULT_CONFIGURATION_FILE } from '../configuration/load.ts';
import type { Part } from '../installation/package-files.ts';
import { findOtherLogs } from '../system/log-readers.ts';
import { DEFAULT_LOG, type Sender, SOCKET_DIRECTORY } from './generated-files.ts';
import { isFail2banRunning, isSystemdRunning, RULES_TIMER } from './host-programs.ts';
import { isThere } from './piece.ts';
import { type Change, touches } from './plan.ts';
import { OWN_UNIT, SERVICE } from './service.ts';
import { findServiceProgram } from './service-programs.ts';

/** What notes are about. */
export interface NoteContext {
  readonly parts: readonly Part[];
  readonly changes: readonly Change[];
  readonly senders: readonly Sender[];
  /** The configured log. */
  readonly log: string;
  /** Whether a decoy has `ports: unused`. */
  readonly needsRules: boolean;
}

/** Programs that are not there, and what they would do. */
export function partNotes(parts: readonly Part[]): string[] {
  const notes: string[] = [];
  if (!parts.includes('fail2ban'))
    notes.push(
      'fail2ban is not installed: nobody will be blocked. apt-get install fail2ban nftables python3-pyinotify',
    );
  if (!parts.includes('logrotate'))
    notes.push('logrotate is not installed: the logs will grow without a bound. apt-get install logrotate');
  if (!parts.includes('systemd'))
    notes.push('systemd is not installed: start `honeyport run` by other means');
  return notes;
}

export async function hostNotes(context: NoteContext): Promise<string[]> {
  const { parts, log, changes, needsRules } = context;
  const notes: string[] = [];
  if (parts.includes('fail2ban') && findServiceProgram('nft') === undefined)
    notes.push('nft is not installed: nobody will be blocked. apt-get install nftables');
  if (touches(changes, 'fail2ban') && parts.includes('fail2ban') && !(await isFail2banRunning()))
    notes.push(
      'fail2ban does not run: nobody will be blocked until it does: systemctl enable --now fail2ban',
    );
  if (parts.includes('systemd') && !isSystemdRunning())
    notes.push('systemd does not run here: no service is started');
  if (needsRules && !(parts.includes('systemd') && isSystemdRunning()))
    notes.push(
      'a decoy has `ports: unused`: load its rules a minute after boot, and each minute: honeyport rules | nft -f -',
    );
  if (isThere('/', OWN_UNIT)) notes.push(`${OWN_UNIT} comes before the unit that is installed: it is yours`);
  return [...notes, ...logNotes(context, log), ...senderNotes(context)];
}

/** The log is named by its readers, too, and what is the administrator's is not changed for him. */
function logNotes({ parts }: NoteContext, log: string): string[] {
  const readers = findOtherLogs(log).filter(({ reader }) => reader.endsWith('.local'));
  const notes = readers.map(
    ({ reader, logs }) => `${reader} names ${logs.join(', ')}, but the log is ${log}`,
  );
  const isRotated = dirname(log) === dirname(DEFAULT_LOG) && basename(log).endsWith('.log');
  if (parts.includes('logrotate') && !isRotated)
    notes.push(
      `logrotate.d/honeyport rotates ${dirname(DEFAULT_LOG)}/*.log: write a file for ${log} yourself`,
    );
  return notes;
}

function senderNotes({ senders, log }: NoteContext): string[] {
  const notes: string[] = [];
  if (senders.some(({ kind }) => kind !== 'socket') && log !== DEFAULT_LOG)
    notes.push(`rsyslog.d/honeyport.conf reads ${DEFAULT_LOG}, but the log is ${log}`);
  if (senders.some(({ kind }) => kind === 'siem-tls') && !isThere('/', SIEM_CA))
    notes.push(
      `${SIEM_CA} is missing: put the certificate of the receiver's CA there; nothing is sent before`,
    );
  if (senders.some(({ kind }) => kind === 'socket'))
    notes.push(
      `write unix://${SOCKET_DIRECTORY}/rsyslog.sock under log: syslog: in ${DEFAULT_CONFIGURATION_FILE}`,
    );
  return notes;
}

const SIEM_CA = '/etc/honeyport/siem-ca.pem';

export function rootNotes({ parts, needsRules }: NoteContext, root: string): string[] {
  const notes = [`files only: no user is made, and nothing is checked, started or reloaded below ${root}`];
  if (parts.includes('systemd'))
    notes.push(
      `users, ${dirname(DEFAULT_LOG)} and the log are made at its boot, by systemd-sysusers and systemd-tmpfiles`,
      `to have the service started at its boot: systemctl --root ${root} enable ${SERVICE}${needsRules ? ` ${RULES_TIMER}` : ''}`,
    );
  return notes;
}
