import type { Response } from '../configuration/configuration.ts';
import type { Endpoints } from '../event.ts';
import type { Native } from '../native/native.ts';
import { NOTHING_CAPTURED, type Ongoing, type Outcome } from './talk.ts';
import { readTraffic } from './traffic.ts';

/** Starts a program that talks over a descriptor; see `startProgram` in system/response-program.ts. */
export type StartProgram = (options: {
  readonly program: string;
  readonly args: readonly string[];
  readonly fd: number;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}) => { readonly ended: Promise<ProgramEnded>; kill(): void };

/** How it ended, and the beginning of what it wrote to standard error. */
export interface ProgramEnded {
  readonly end:
    | { readonly kind: 'exit'; readonly code: number }
    | { readonly kind: 'signal'; readonly signal: string }
    | { readonly kind: 'failure'; readonly message: string }
    | { readonly kind: 'missing' | 'timeout' | 'too much output' };
  readonly stderr: string;
}

export interface RespondOptions {
  readonly native: Native;
  readonly startProgram: StartProgram;
  /** The connection; it stays open and is the caller's again once `onEnd` is called. */
  readonly fd: number;
  readonly behaviour: Response;
  readonly connection: Endpoints;
  /** The id of the connection's line. */
  readonly lineId: string;
  /** Says in words what went wrong with the program. */
  readonly onFailure: (message: string) => void;
  readonly onEnd: (outcome: Outcome) => void;
}

/** Lets a program talk to the peer until it ends or its time is over. */
export function startResponse(options: RespondOptions): Ongoing {
  const { native, startProgram, fd, behaviour, onFailure, onEnd } = options;
  const [program, ...args] = behaviour.command;
  const env = environmentOf(options);
  let ended: Outcome['by'] | undefined;
  const running = startProgram({ program, args, fd, env, timeoutMs: behaviour.timeoutMs });
  void running.ended.then(finish);

  return {
    end(by) {
      ended ??= by;
      running.kill();
    },
  };

  function finish({ end, stderr }: ProgramEnded): void {
    const { rx, tx, isReset } = readTraffic(native, fd);
    const failure = ended === undefined ? failureOf(end, behaviour.timeoutMs, isReset) : undefined;
    if (failure !== undefined) onFailure(`${program}: ${failure}${said(stderr)}`);
    onEnd({ by: ended ?? endedBy(end, isReset), rx, tx, captured: NOTHING_CAPTURED });
  }
}

function endedBy(end: ProgramEnded['end'], isReset: boolean): Outcome['by'] {
  if (end.kind === 'timeout') return 'limit';
  return isReset ? 'peer' : 'honeyport';
}

/** 128 and the number of SIGPIPE: what a shell says of a command that wrote to a peer that is gone. */
const SHELL_SIGPIPE = 141;

function failureOf(end: ProgramEnded['end'], timeoutMs: number, isReset: boolean): string | undefined {
  switch (end.kind) {
    case 'exit':
      return end.code === 0 || isReset || end.code === SHELL_SIGPIPE
        ? undefined
        : `it ended with exit code ${end.code}`;
    case 'signal':
      return end.signal === 'SIGPIPE' ? undefined : `it was ended by ${end.signal}`;
    case 'timeout':
      return `it was ended, with all it had started, as it took longer than ${timeoutMs} ms`;
    case 'missing':
      return 'it cannot be started: there is no such file, or none of the interpreter that its first line names';
    case 'failure':
      return `it cannot be started: ${/\b(E[A-Z0-9]+)$/.exec(end.message)?.[1] ?? end.message}`;
    case 'too much output':
      return 'it wrote too much';
  }
}

/** The first line, which the voice makes fit for a terminal. */
function said(stderr: string): string {
  const [line = ''] = stderr.trim().split('\n');
  return line === '' ? '' : `; it said: ${line}`;
}

/** What a program may need of ours; the rest, as NOTIFY_SOCKET or a credential, is not its business. */
const PASSED_ON = /^(?:PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR)$/;

/** ncat's names for the ends of the connection (https://nmap.org/book/ncat-man-command-options.html), and our own. */
function environmentOf({ connection, lineId }: RespondOptions): Record<string, string> {
  const { src, spt, dst, dpt, decoy } = connection;
  const passedOn = Object.entries(process.env).filter(
    (entry): entry is [string, string] => PASSED_ON.test(entry[0]) && entry[1] !== undefined,
  );
  return {
    ...Object.fromEntries(passedOn),
    NCAT_REMOTE_ADDR: src,
    NCAT_REMOTE_PORT: `${spt}`,
    NCAT_LOCAL_ADDR: dst,
    NCAT_LOCAL_PORT: `${dpt}`,
    NCAT_PROTO: 'TCP',
    HONEYPORT_ID: lineId,
    HONEYPORT_DECOY: decoy,
  };
}
