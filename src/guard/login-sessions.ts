import { parseAddress } from '../address.ts';
import { isErrnoException } from '../errors.ts';
import type { LoginSession } from '../native.ts';
import { readHead } from './read-head.ts';

/** Somebody who is there: no login screen, no service, nobody who still has to prove who he is. */
const PEOPLE = ['user', 'user-early', 'user-light', 'user-early-light'];

/**
 * The remote ends of sessions that somebody is logged in to, in canonical text: those that logind knows, and those in
 * utmp, which has sessions with a terminal also where there is no logind. A host name in the place of an address counts
 * for nothing: whoever connects may choose it.
 */
export function readLoginAddresses(
  logindSessions: (() => readonly LoginSession[]) | undefined,
  utmp = '/run/utmp',
): string[] {
  const logind = (logindSessions?.() ?? []).filter(isThere).map(({ remoteHost }) => remoteHost ?? '');
  return [...logind, ...utmpHosts(readHead(utmp))].flatMap((host) => {
    // mosh writes `192.0.2.7 via mosh [812]`
    const address = parseAddress(host.replace(/[ %].*$/, ''));
    return address === undefined ? [] : [address.text];
  });
}

function isThere(session: LoginSession): boolean {
  return session.state !== 'closing' && PEOPLE.includes(session.class ?? '');
}

// utmp(5): records of 384 bytes, of 400 where the time in them has 64 bits
const RECORD_BYTES = ['arm64', 'riscv64', 'loong64'].includes(process.arch) ? 400 : 384;
const USER_PROCESS = 7;
const PID_AT = 4;
const HOST_AT = 76;
const HOST_BYTES = 256;

function utmpHosts(records: Buffer): string[] {
  const count = Math.floor(records.length / RECORD_BYTES);
  return Array.from({ length: count }, (_, index) => records.subarray(index * RECORD_BYTES)).flatMap(
    (record) => {
      const isOpen = readInt16(record) === USER_PROCESS && isRunning(readInt32(record, PID_AT));
      const host = record.toString('latin1', HOST_AT, HOST_AT + HOST_BYTES);
      return isOpen ? [host.replace(/\0.*$/s, '')] : [];
    },
  );
}

function readInt16(record: Buffer): number {
  return new Int16Array(record.buffer.slice(record.byteOffset, record.byteOffset + 2))[0]!;
}

function readInt32(record: Buffer, at: number): number {
  return new Int32Array(record.buffer.slice(record.byteOffset + at, record.byteOffset + at + 4))[0]!;
}

/** A program that was killed leaves its record behind. */
function isRunning(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrnoException(error) && error.code === 'EPERM';
  }
}
