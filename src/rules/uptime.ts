import { readRegularFile } from '../configuration/read.ts';
import { UserError } from '../errors.ts';

/** By then services have taken their ports, or their clients would meet a decoy. */
const BOOT_SECONDS = 60;

/** @throws UserError within the first minute after this host was booted */
export function requireSettledHost(proc = '/proc'): void {
  const seconds = uptimeSeconds(proc);
  if (seconds >= BOOT_SECONDS) return;
  throw new UserError(
    `expected a minute since boot, in which services take their ports, got ${Math.floor(seconds)} s`,
    { hint: 'honeyport-rules.timer loads the rules when it is over', exitCode: 1 },
  );
}

function uptimeSeconds(proc: string): number {
  const path = `${proc}/uptime`;
  const text = Buffer.from(readRegularFile(path, 256)).toString('latin1');
  const seconds = Number.parseFloat(text);
  if (Number.isFinite(seconds)) return seconds;
  throw new UserError(`${path}: expected a number of seconds`, { exitCode: 1 });
}
