import { parseLine } from '../format/parse-line.ts';
import { readLogTail } from '../system/log-tail.ts';
import { ageText } from './check-log.ts';
import { type Host, printed, readText } from './host.ts';
import { finding, note, orOk, type Result, skipped } from './result.ts';

/** When this was written; a clock before it has lost its battery. */
const LEAST_YEAR = 2026;
const TOLERANCE_MS = 5000;
const SYNCHRONIZE = 'timedatectl set-ntp true, or apt-get install systemd-timesyncd';

/** Whether the times of lines can be true: fail2ban counts ban times from them. */
export async function checkClock(host: Host, log: string): Promise<Result[]> {
  const year = new Date(host.now).getUTCFullYear();
  const ahead = lastTime(log) - host.now;
  const results = [
    ...(year < LEAST_YEAR ? [finding(`the clock says it is ${year}`, SYNCHRONIZE)] : []),
    ...(ahead > TOLERANCE_MS ? [inTheFuture(log, ahead)] : []),
    ...(await synchronization(host)),
  ];
  return orOk(
    results,
    `it is ${new Date(host.now).toISOString().replace('Z', '+00:00')}, and no line of the log is later`,
  );
}

function lastTime(log: string): number {
  try {
    const lines = readLogTail(log).lines;
    return lines.reduce((last, line) => Math.max(last, parseLine(line)?.event.time ?? 0), 0);
  } catch {
    return 0;
  }
}

function inTheFuture(log: string, aheadMs: number): Result {
  return finding(
    `${log} has a line that is ${ageText(aheadMs)} in the future: the clock was set back, and fail2ban bans for longer`,
    SYNCHRONIZE,
  );
}

async function synchronization(host: Host): Promise<Result[]> {
  if (readText(host, '/run/systemd/timesync/synchronized') !== undefined) return [];
  const said = await printed(host, 'timedatectl', 'show', '--property=NTPSynchronized', '--value');
  if (said?.trim() === 'yes') return [];
  if (said?.trim() === 'no')
    return [
      note(
        'the clock is not synchronized: lines of this host and of others do not fit together',
        SYNCHRONIZE,
      ),
    ];
  return [
    skipped(
      'whether the clock is synchronized is not known: neither systemd-timesyncd nor timedatectl tells',
    ),
  ];
}
