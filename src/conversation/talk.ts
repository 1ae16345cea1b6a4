import type { Talk, Tarpit } from '../configuration/configuration.ts';
import * as c from '../native/constants.ts';
import { discard } from '../native/end-connection.ts';
import type { Native } from '../native/native.ts';
import { type CapturedBytes, createCapturedBytes } from './captured-bytes.ts';
import type { Readiness } from './readiness.ts';
import { tarpitLine } from './tarpit-line.ts';

export type EndedBy = 'peer' | 'honeyport' | 'limit';

/** What a conversation came to. */
export interface Outcome {
  readonly by: EndedBy;
  readonly rx: number;
  readonly tx: number;
  /** What the peer sent first, as far as it was captured. */
  readonly captured: Uint8Array;
}

/** A conversation under way. */
export interface Ongoing {
  /** Ends it; `onEnd` is called, unless it has been. */
  end(by: EndedBy): void;
}

export interface TalkOptions {
  readonly native: Native;
  readonly readiness: Readiness;
  /** The connection; it stays open and is the caller's again once `onEnd` is called. */
  readonly fd: number;
  readonly behaviour: Talk | Tarpit;
  readonly onEnd: (outcome: Outcome) => void;
}

/** endlessh's own pause between two lines: short enough that no client gives up. */
const TARPIT_PAUSE_MS = 10_000;
const MOST_READ_BYTES = 65_536;
const SEND_FLAGS = c.MSG_DONTWAIT | c.MSG_NOSIGNAL;

/** Where every conversation reads to: what is kept is copied. */
const readBuffer = Buffer.alloc(MOST_READ_BYTES);

/** Talks as the behaviour says, until the peer ends it, it is over, or it lasts too long. */
export function startTalk(options: TalkOptions): Ongoing {
  const { native, readiness, fd, behaviour, onEnd } = options;
  const captured: CapturedBytes = createCapturedBytes(behaviour.capturedBytes);
  const isTarpit = behaviour.kind === 'tarpit';
  const waitsForPeer = isTarpit || behaviour.staysOpen || behaviour.capturedBytes > 0;
  let unsent: Uint8Array = isTarpit ? NOTHING_CAPTURED : behaviour.banner;
  let rx = 0;
  let tx = 0;
  let ended = false;
  let waitsToSend = false;
  const holdTimer = setTimeout(() => end('limit'), behaviour.holdMs);
  const tarpitTimer = isTarpit ? setInterval(sendTarpitLine, TARPIT_PAUSE_MS) : undefined;
  readiness.watch(fd, onReady);
  if (unsent.length > 0) sendRest();
  // what the peer has sent already is there to be read, also when there is nothing to be sent
  if (!ended && !waitsForPeer && unsent.length === 0) end('honeyport');

  return { end };

  function onReady(): void {
    if (unsent.length > 0) sendRest();
    if (!ended) read();
  }

  function sendTarpitLine(): void {
    // a peer that does not read is kept waiting all the same
    if (unsent.length === 0) unsent = tarpitLine(Math.random);
    sendRest();
  }

  function sendRest(): void {
    const sent = native.send(fd, unsent, unsent.length, SEND_FLAGS);
    if (sent < 0 && native.errno() !== c.ERRNO.EAGAIN) {
      end('peer');
      return;
    }
    tx += Math.max(0, sent);
    unsent = unsent.subarray(Math.max(0, sent));
    waitToSend(unsent.length > 0);
    if (unsent.length === 0 && !waitsForPeer) end('honeyport');
  }

  function waitToSend(wanted: boolean): void {
    if (wanted !== waitsToSend) readiness.change(fd, wanted ? 'read and write' : 'read');
    waitsToSend = wanted;
  }

  function read(): void {
    const count = captured.room > 0 ? capture() : discard(native, fd);
    if (count <= 0) {
      if (count === 0 || native.errno() !== c.ERRNO.EAGAIN) end('peer');
      return;
    }
    rx += count;
    if (behaviour.capturedBytes > 0 && captured.room === 0 && !isTarpit) end('honeyport');
  }

  function capture(): number {
    const count = native.recv(fd, readBuffer, Math.min(captured.room, MOST_READ_BYTES), c.MSG_DONTWAIT);
    if (count > 0) captured.add(readBuffer.subarray(0, count));
    return count;
  }

  function end(by: EndedBy): void {
    if (ended) return;
    ended = true;
    clearTimeout(holdTimer);
    clearInterval(tarpitTimer);
    readiness.unwatch(fd);
    onEnd({ by, rx, tx, captured: captured.bytes });
  }
}

/** What an outcome has where nothing was captured. */
export const NOTHING_CAPTURED = new Uint8Array(0);
