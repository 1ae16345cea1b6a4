import type { Behaviour } from '../configuration/configuration.ts';
import type { CloseEvent, DataEvent, Endpoints, Unrecorded } from '../event.ts';
import * as c from '../native/constants.ts';
import { discard } from '../native/end-connection.ts';
import type { Native } from '../native/native.ts';
import { guessProtocol } from './guess-protocol.ts';
import type { Readiness } from './readiness.ts';
import { type StartProgram, startResponse } from './respond.ts';
import { type EndedBy, type Ongoing, type Outcome, startTalk } from './talk.ts';

export interface ConversationLimits {
  /** At a time, those that only wait for the peer to end among them. */
  readonly conversations: number;
  /** Programs at a time. */
  readonly responses: number;
}

export interface ConversationsOptions {
  readonly native: Native;
  readonly readiness: Readiness;
  readonly limits: ConversationLimits;
  readonly record: (event: Unrecorded<DataEvent | CloseEvent>) => void;
  /** Writes what was recorded; a conversation's connection ends afterwards. */
  readonly flush: () => void;
  readonly startProgram: StartProgram;
  /** Says in words what went wrong with a decoy's program. */
  readonly onFailure: (decoy: string, message: string) => void;
}

/** A connection that is logged, and open. */
export interface Beginning extends Endpoints {
  readonly fd: number;
}

/** The conversations that are under way. */
export interface Conversations {
  /**
   * Takes over the connection and its descriptor. Beyond the limits it is closed with a `close` event that says so.
   * @param lineId the id of its line
   */
  begin(connection: Beginning, behaviour: Behaviour, lineId: string): void;
  /** A connection that has no conversation after all, and no descriptor to keep. */
  decline(connection: Endpoints): void;
  changeLimits(limits: ConversationLimits): void;
  /** Ends all that are under way, and all that still begin, within a bounded time. */
  close(): Promise<void>;
}

/** How long a peer may take to end its side after we have ended ours: what it still sends must not become a reset. */
const LINGER_MS = 2000;
/** How long a killed program may take to be gone when the listener ends. */
const KILL_DEADLINE_MS = 2000;

interface Conversation {
  readonly connection: Beginning;
  readonly lineId: string;
  readonly behaviour: Behaviour;
  /** By the monotonic clock. */
  readonly since: number;
  /** Undefined while its program waits for its turn to start. */
  ongoing: Ongoing | undefined;
}

/** A connection whose side of ours has ended. */
interface Lingering {
  readonly fd: number;
  readonly timer: NodeJS.Timeout;
}

export function createConversations(options: ConversationsOptions): Conversations {
  const { native, readiness, record, flush, startProgram, onFailure } = options;
  let { limits } = options;
  const talking = new Set<Conversation>();
  /** In the order in which they began to wait. */
  const lingering = new Set<Lingering>();
  /** Programs start one in a turn of the event loop: each fork holds up everything else for a millisecond or more. */
  const starting: Conversation[] = [];
  /** Descriptors whose last event is recorded and not yet written. */
  let ending: number[] = [];
  let endScheduled = false;
  let programs = 0;
  let closing = false;
  let onProgramsEnded: (() => void) | undefined;

  return {
    begin,
    decline: (connection) => {
      record(closeEvent(connection, 0, { by: 'limit', rx: 0, tx: 0 }));
    },
    changeLimits: (wanted) => {
      limits = wanted;
    },
    close,
  };

  function begin(connection: Beginning, behaviour: Behaviour, lineId: string): void {
    const conversation: Conversation = {
      connection,
      lineId,
      behaviour,
      since: performance.now(),
      ongoing: undefined,
    };
    const refusedBy = closing ? 'honeyport' : isFull(behaviour) ? 'limit' : undefined;
    if (refusedBy !== undefined) conclude(conversation, { ...UNTOUCHED, by: refusedBy });
    else start(conversation, behaviour);
  }

  function isFull(behaviour: Behaviour): boolean {
    if (talking.size + lingering.size >= limits.conversations) stopLingering();
    if (talking.size >= limits.conversations) return true;
    return behaviour.kind === 'response' && programs >= limits.responses;
  }

  function start(conversation: Conversation, behaviour: Behaviour): void {
    talking.add(conversation);
    if (behaviour.kind !== 'response') {
      talk(conversation, behaviour);
      return;
    }
    programs += 1;
    starting.push(conversation);
    if (starting.length === 1) setImmediate(startNext);
  }

  function talk(conversation: Conversation, behaviour: Exclude<Behaviour, { kind: 'response' }>): void {
    const { fd } = conversation.connection;
    const onEnd = (outcome: Outcome) => finish(conversation, outcome);
    conversation.ongoing = startTalk({ native, readiness, fd, behaviour, onEnd });
  }

  function startNext(): void {
    const conversation = starting.shift();
    if (starting.length > 0) setImmediate(startNext);
    if (conversation === undefined) return;
    const { behaviour, connection, lineId } = conversation;
    if (behaviour.kind !== 'response') return;
    conversation.ongoing = startResponse({
      native,
      startProgram,
      fd: connection.fd,
      behaviour,
      connection,
      lineId,
      onFailure: (message) => onFailure(connection.decoy, message),
      onEnd: (outcome) => {
        programEnded();
        finish(conversation, outcome);
      },
    });
  }

  function programEnded(): void {
    programs -= 1;
    if (programs === 0) onProgramsEnded?.();
  }

  function finish(conversation: Conversation, outcome: Outcome): void {
    // a program that could not be killed in time may end after its conversation
    if (talking.delete(conversation)) conclude(conversation, outcome);
  }

  /** Its events first, its end in a later turn, so that many ends share one write. */
  function conclude({ connection, since }: Conversation, outcome: Outcome): void {
    if (outcome.captured.length > 0) record(dataEvent(connection, outcome.captured));
    record(closeEvent(connection, performance.now() - since, outcome));
    ending.push(connection.fd);
    if (!endScheduled) setImmediate(endAll);
    endScheduled = true;
  }

  function endAll(): void {
    endScheduled = false;
    const fds = ending;
    ending = [];
    if (fds.length === 0) return;
    flush();
    for (const fd of fds) linger(fd);
  }

  /** Ends our side, and waits for the peer to end its own. */
  function linger(fd: number): void {
    const hasEnded = native.shutdown(fd, c.SHUT_WR) < 0;
    if (closing || hasEnded || isOver(discard(native, fd))) {
      native.close(fd);
      return;
    }
    const one: Lingering = { fd, timer: setTimeout(() => letGo(one), LINGER_MS) };
    lingering.add(one);
    readiness.watch(fd, () => {
      if (isOver(discard(native, fd))) letGo(one);
    });
  }

  function letGo(one: Lingering): void {
    if (!lingering.delete(one)) return;
    clearTimeout(one.timer);
    readiness.unwatch(one.fd);
    discard(native, one.fd);
    native.close(one.fd);
  }

  /** The one that has waited longest gives way to somebody with whom there is something to talk about. */
  function stopLingering(): void {
    const [oldest] = lingering;
    if (oldest !== undefined) letGo(oldest);
  }

  function isOver(discarded: number): boolean {
    return discarded === 0 || (discarded < 0 && native.errno() !== c.ERRNO.EAGAIN);
  }

  async function close(): Promise<void> {
    closing = true;
    for (const one of [...lingering]) letGo(one);
    for (const { ongoing } of [...talking]) ongoing?.end('honeyport');
    programs -= starting.length;
    for (const conversation of starting.splice(0)) finish(conversation, { ...UNTOUCHED, by: 'honeyport' });
    endAll();
    if (programs > 0) await programsEnd();
    for (const conversation of [...talking]) finish(conversation, { ...UNTOUCHED, by: 'honeyport' });
    endAll();
  }

  /** Or one hangs in the kernel, where no signal reaches it. */
  function programsEnd(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, KILL_DEADLINE_MS);
      onProgramsEnded = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

const UNTOUCHED = { rx: 0, tx: 0, captured: new Uint8Array(0) };

function dataEvent(connection: Endpoints, captured: Uint8Array): Unrecorded<DataEvent> {
  const text = Buffer.from(captured.buffer, captured.byteOffset, captured.length).toString('latin1');
  const guess = guessProtocol(captured);
  return { kind: 'data', ...head(connection), bytes: captured.length, guess, text };
}

function closeEvent(
  connection: Endpoints,
  durationMs: number,
  { rx, tx, by }: { readonly rx: number; readonly tx: number; readonly by: EndedBy },
): Unrecorded<CloseEvent> {
  return { kind: 'close', ...head(connection), duration_ms: Math.round(durationMs), rx, tx, by };
}

function head({ src, spt, dst, dpt, decoy }: Endpoints) {
  return { time: Date.now(), src, spt, dst, dpt, decoy };
}
