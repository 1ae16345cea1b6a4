import { parseAddress } from '../address.ts';
import type { LoginSession } from '../native/native.ts';
import { readHead } from './read-head.ts';

/** Somebody who is there: no login screen, no service, nobody who still has to prove who he is. */
const PEOPLE = ['user', 'user-early', 'user-light', 'user-early-light'];

/**
 * The remote ends of sessions that somebody is logged in to, in canonical text: those that logind knows, and those in
 * utmp, which has sessions with a terminal also where there is no logind. A host name in the place of an address counts
 * for nothing: whoever connects may choose it.
 *
 * @param isLogin whether the process of a record in utmp is that of a login
 */
export function readLoginAddresses(
  logindSessions: (() => readonly LoginSession[]) | undefined,
  utmp = '/run/utmp',
  isLogin = isStartedByLogin,
): string[] {
  const logind = (logindSessions?.() ?? []).filter(isThere).map(({ remoteHost }) => remoteHost ?? '');
  return [...logind, ...utmpHosts(readHead(utmp), isLogin)].flatMap((host) => {
    const address = parseAddress(host.replace(/%.*$/, ''));
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

function utmpHosts(records: Buffer, isLogin: (pid: number) => boolean): string[] {
  const count = Math.floor(records.length / RECORD_BYTES);
  return Array.from({ length: count }, (_, index) => records.subarray(index * RECORD_BYTES)).flatMap(
    (record) => {
      const isOpen = readInt16(record) === USER_PROCESS && isLogin(readInt32(record, PID_AT));
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

/**
 * Whether a program of root's that logs people in has started a process. Everybody may have a record in utmp with any host
 * that he likes, through utempter of xterm and tmux; and a program that was killed leaves its record behind.
 */
function isStartedByLogin(pid: number): boolean {
  if (pid <= 0) return false;
  const [, parent = '0'] = /^PPid:\s+([0-9]+)$/m.exec(readStatus(pid)) ?? [];
  const status = readStatus(Number(parent));
  return /^Uid:\s+0\s+0\s/m.test(status) && LOGIN_PROGRAM.test(status);
}

const LOGIN_PROGRAM = /^Name:\s+(?:sshd|sshd-session|login|dropbear|in\.telnetd|telnetd)$/m;

/** A process may end while one looks at it, and those of others may be hidden. */
function readStatus(pid: number): string {
  try {
    return readHead(`/proc/${pid}/status`).toString('latin1');
  } catch {
    return '';
  }
}
