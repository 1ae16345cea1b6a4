import { UserError } from '../errors.ts';
import type { NetworkNamespace } from '../system/network-namespace.ts';
import { type ProgramResult, runProgram } from '../system/run-program.ts';

export interface Attempt {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  /** What is sent once connected; empty: nothing. */
  readonly request: string;
  /** What is still going on then is ended. */
  readonly timeoutMs: number;
}

/** What became of a connection, as the one who made it saw it. */
export interface Outcome {
  readonly end: 'silence' | 'ended by the other side' | 'left open' | `E${string}`;
  readonly received: string;
  /** Milliseconds since the epoch. */
  readonly endedAt: number;
}

/** Starting Node takes a while on a slow machine. */
const START_TIMEOUT_MS = 10_000;
const MOST_BYTES = 64 * 1024;

/** A program of its own, since a process cannot change the network that it is in. */
const PROGRAM = `
const [host, port, localAddress, request, timeoutMs] = process.argv.slice(1);
let received = '';
let connected = false;
const tell = (end) => {
  console.log(JSON.stringify({ end, received, endedAt: Date.now() }));
  process.exit();
};
const socket = require('node:net').connect({ host, port: Number(port), localAddress });
socket.setEncoding('latin1');
socket.on('connect', () => { connected = true; if (request) socket.write(request); });
socket.on('data', (text) => { received = (received + text).slice(0, 1024); });
socket.on('end', () => tell('ended by the other side'));
socket.on('error', ({ code }) => tell(code));
setTimeout(() => tell(connected ? 'left open' : 'silence'), Number(timeoutMs));
`;

/**
 * Connects from one of a network's addresses.
 * @throws UserError when there is no outcome
 */
export async function tryPort(
  network: NetworkNamespace,
  attempt: Attempt,
  interruption: AbortSignal,
): Promise<Outcome> {
  const { from, to, port, request, timeoutMs } = attempt;
  const argv = [process.execPath, '-e', PROGRAM, '--', to, String(port), from, request, String(timeoutMs)];
  const [program, ...args] = network.command(argv);
  const limits = { timeoutMs: timeoutMs + START_TIMEOUT_MS, mostBytes: MOST_BYTES };
  const result = await runProgram({
    program: program!,
    args,
    ...limits,
    ownGroup: true,
    cancel: interruption,
  });
  interruption.throwIfAborted();
  return parseOutcome(attempt, result);
}

function parseOutcome({ to, port }: Attempt, { stdout, stderr, end }: ProgramResult): Outcome {
  try {
    return JSON.parse(stdout) as Outcome;
  } catch {
    const got = [end.kind, stderr.trim()].filter(Boolean).join(': ');
    throw new UserError(`expected an outcome of connecting to ${to} port ${port}, got ${got}`, {
      exitCode: 1,
    });
  }
}
