import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Event } from '../event.ts';
import { createLineFormatter } from '../format/line.ts';
import type { Host } from './host.ts';
import { finding, ok, type Result, skipped } from './result.ts';

export interface FilterSubject {
  readonly host: Host;
  readonly sensor: string;
}

/** Documentation addresses, RFC 5737 and RFC 3849. */
const BANNABLE = ['198.51.100.7', '2001:db8::7'];
const [ALLOWED, WITHHELD] = ['192.0.2.8', '192.0.2.9'];
/** A time zone is off by a quarter of an hour at least. */
const TOLERANCE_SECONDS = 60;
const PUT_BACK =
  'copy fail2ban/filter.d/honeyport.conf to /etc/fail2ban/filter.d/, and look into filter.d/honeyport.local';

/** Whether the installed filter finds in lines of now who is bannable, and nobody else, with the right time. */
export async function checkFilter({ host, sensor }: FilterSubject): Promise<Result[]> {
  const directory = mkdtempSync(join(tmpdir(), 'honeyport-doctor-'));
  try {
    const file = join(directory, 'log');
    writeFileSync(file, `${linesOf(sensor, host.now).join('\n')}\n`);
    // its exit code is 0 even when nothing matched: only what it prints counts
    const { end, stdout, stderr } = await host.run('fail2ban-regex', '-o', 'row', file, 'honeyport');
    if (end.kind === 'missing')
      return [skipped('fail2ban-regex is not installed', 'apt-get install fail2ban')];
    if (end.kind !== 'exit') return [skipped(`fail2ban-regex gave no answer: ${end.kind}`)];
    const rows = [...stdout.matchAll(/^\['([^']+)',\s+(\d+)/gm)];
    return judge(
      rows.map(([, address, time]) => ({ address: address!, time: Number(time) })),
      host.now,
      stderr + stdout,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function linesOf(sensor: string, time: number): string[] {
  const format = createLineFormatter({ sensor, pid: process.pid });
  const ends = { time, spt: 40_112, dst: '203.0.113.5', dpt: 23, decoy: 'doctor' };
  const events: Event[] = [
    ...BANNABLE.map(
      (src): Event => ({
        kind: 'connect',
        src,
        id: 'doctor.1',
        ttl: 52,
        win: 64_240,
        syn: 'mss:1460',
        ...ends,
      }),
    ),
    { kind: 'allowed', src: ALLOWED!, id: 'doctor.3', by: 'guard:own', ...ends },
    { kind: 'withheld', src: WITHHELD!, id: 'doctor.4', reason: 'nat', ...ends },
  ];
  return events.map(format);
}

interface Row {
  readonly address: string;
  /** Seconds since the epoch. */
  readonly time: number;
}

function judge(rows: readonly Row[], now: number, said: string): Result[] {
  const found = rows.map(({ address }) => address);
  const missed = BANNABLE.filter((address) => !found.includes(address));
  const wrong = found.filter((address) => !BANNABLE.includes(address));
  const late = rows.find(({ time }) => Math.abs(time - now / 1000) > TOLERANCE_SECONDS);
  if (missed.length > 0)
    return [finding(`the filter does not match a line of now: ${reasonIn(said, missed)}`, PUT_BACK)];
  if (wrong.length > 0)
    return [
      finding(`the filter takes lines that are not bannable: ${wrong.join(', ')} would be banned`, PUT_BACK),
    ];
  if (late !== undefined) return [wrongTime(late, now)];
  return [ok('the filter finds the peer of a connect line of now, and nobody in allowed and withheld lines')];
}

function reasonIn(said: string, missed: readonly string[]): string {
  const error = /^.*?(?:ERROR|Error)[:\s]+(.{1,200})/m.exec(said)?.[1];
  return error ?? `it found nobody for ${missed.join(' and ')}`;
}

function wrongTime({ time }: Row, now: number): Result {
  const hours = ((time - now / 1000) / 3600).toFixed(1);
  return finding(
    `the filter reads the time of a line wrong, by ${hours} hours: fail2ban takes it for another time zone's`,
    'take datepattern out of /etc/fail2ban/filter.d/honeyport.local, and logtimezone out of the jail',
  );
}
