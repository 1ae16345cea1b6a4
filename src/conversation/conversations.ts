import type { Behaviour, Response } from '../configuration/configuration.ts';
import type { CloseEvent, DataEvent, Endpoints, Unrecorded } from '../event.ts';
import type { Native } from '../native/native.ts';
import { createEndings } from './endings.ts';
import { guessProtocol } from './guess-protocol.ts';
import type { Readiness } from './readiness.ts';
import { type StartProgram, startResponse } from './respond.ts';
import { createShares } from './shares.ts';
import { type EndedBy, NOTHING_CAPTURED, type Ongoing, type Outcome, startTalk } from './talk.ts';
import { readTraffic } from './traffic.ts';

export interface ConversationLimits {
  /** At a time, those that only wait for their end among them. */
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
  /** Whether there is room for one more of this source, which then waits for its `begin`. */
  reserve(source: string, behaviour: Behaviour): boolean;
  /**
   * Takes over a connection and its descriptor, for which there is room.
   * @param lineId the id of its line
   */
  begin(connection: Beginning, behaviour: Behaviour, lineId: string): void;
  /** Records that a connection has no conversation after all; it is the caller's to end. */
  decline(connection: Endpoints): void;
  changeLimits(limits: ConversationLimits): void;
  /** Ends all that are under way, and all that still begin, within a bounded time. */
  close(): Promise<void>;
}

/** How long a killed program may take to be gone when the listener ends. */
const KILL_DEADLINE_MS = 2000;
/** At the limit, a source that has more than this part of it gives up its oldest for others. */
const SHARE_OF_ONE_SOURCE = 1 / 16;

interface Conversation {
  readonly connection: Beginning;
  readonly lineId: string;
  readonly behaviour: Behaviour;
  /** By the monotonic clock. */
  readonly since: number;
  /** Undefined while its program waits for its turn to start. */
  ongoing: Ongoing | undefined;
}

export function createConversations(options: ConversationsOptions): Conversations {
  const { native, readiness, record, flush, startProgram, onFailure } = options;
  let { limits } = options;
  const talking = new Set<Conversation>();
  const shares = createShares<Conversation>(shareOf(limits));
  /** Programs start one in a turn of the event loop: each fork holds up everything else for a millisecond or more. */
  const starting: Conversation[] = [];
  const endings = createEndings({ native, readiness, flush });
  /** Those that begin as soon as their lines are written. */
  let reserved = 0;
  let programs = 0;
  let closing = false;
  let onProgramsEnded: (() => void) | undefined;

  return { reserve, begin, decline, changeLimits, close };

  function reserve(source: string, behaviour: Behaviour): boolean {
    if (closing || (behaviour.kind === 'response' && programs >= limits.responses)) return false;
    if (used() >= limits.conversations && !makeRoom(source)) return false;
    reserved += 1;
    if (behaviour.kind === 'response') programs += 1;
    return true;
  }

  function used(): number {
    return talking.size + endings.size + reserved;
  }

  /** Who only waits for his peer's end goes first; then the oldest of a source that has more than its share. */
  function makeRoom(source: string): boolean {
    endings.letOneGo();
    if (used() < limits.conversations) return true;
    const oldest = shares.oldestBeyondShare(source)?.ongoing;
    // its place is free now, and its descriptor once its last lines are written
    oldest?.end('limit');
    return oldest !== undefined;
  }

  function begin(connection: Beginning, behaviour: Behaviour, lineId: string): void {
    reserved -= 1;
    const since = performance.now();
    const conversation: Conversation = { connection, lineId, behaviour, since, ongoing: undefined };
    talking.add(conversation);
    shares.add(connection.src, conversation);
    if (behaviour.kind === 'response') {
      starting.push(conversation);
      if (starting.length === 1) setImmediate(startNext);
    } else {
      const { fd } = connection;
      const onEnd = (outcome: Outcome) => finish(conversation, outcome);
      conversation.ongoing = startTalk({ native, readiness, fd, behaviour, onEnd });
    }
  }

  function decline(connection: Endpoints): void {
    const by = closing ? 'honeyport' : 'limit';
    record(closeEvent(connection, 0, { by, rx: 0, tx: 0 }));
  }

  function changeLimits(wanted: ConversationLimits): void {
    limits = wanted;
    shares.changeShare(shareOf(limits));
  }

  function startNext(): void {
    const conversation = starting.shift();
    if (starting.length > 0) setImmediate(startNext);
    if (conversation === undefined) return;
    const { behaviour, connection } = conversation;
    // a fork costs more than a look at whether anybody is still there
    if (readTraffic(native, connection.fd).isReset) {
      programEnded();
      finish(conversation, { by: 'peer', rx: 0, tx: 0, captured: NOTHING_CAPTURED });
    } else if (behaviour.kind === 'response') {
      respond(conversation, behaviour);
    }
  }

  function respond(conversation: Conversation, behaviour: Response): void {
    const { connection, lineId } = conversation;
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
    if (!talking.delete(conversation)) return;
    const { connection, since } = conversation;
    shares.remove(connection.src, conversation);
    const { captured } = outcome;
    const durationMs = performance.now() - since;
    const recordLast = () => {
      if (captured.length > 0) record(dataEvent(connection, captured));
      record(closeEvent(connection, durationMs, outcome));
    };
    endings.add({ fd: connection.fd, bytes: captured.length, record: recordLast });
  }

  async function close(): Promise<void> {
    closing = true;
    for (const { ongoing } of [...talking]) ongoing?.end('honeyport');
    programs -= starting.length;
    for (const conversation of starting.splice(0)) finish(conversation, ENDED_BY_US);
    endings.close();
    if (programs > 0) await programsEnd();
    for (const conversation of [...talking]) finish(conversation, ENDED_BY_US);
    endings.close();
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

const ENDED_BY_US: Outcome = { by: 'honeyport', rx: 0, tx: 0, captured: NOTHING_CAPTURED };

function shareOf({ conversations }: ConversationLimits): number {
  return Math.max(1, Math.floor(conversations * SHARE_OF_ONE_SOURCE));
}

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
