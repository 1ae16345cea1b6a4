/** A way to a receiver, open or opening. After `onBroken` it is done with, and says nothing more. */
export interface Wire {
  /** Hands messages to the kernel, in order; the next ones only after `onTaken`. */
  send(batch: Batch): void;
  /** Lets go of the receiver after what was taken. @returns when that is done */
  end(): Promise<void>;
  /** Lets go at once. */
  destroy(): void;
}

export interface WireListener {
  /** Messages can be sent. */
  readonly onOpen: () => void;
  /** What was sent last is with the kernel. */
  readonly onTaken: () => void;
  readonly onBroken: (error: Error) => void;
}

/** Messages as the wire bears them. */
export interface Batch {
  readonly bytes: Buffer;
  /** Where each message ends. */
  readonly ends: readonly number[];
}

/** How messages are told apart: RFC 6587 and RFC 5425 on a stream; a datagram is a message. */
export type Framing = 'octet-counting' | 'lf' | 'datagram';

/** @param messages printable ASCII, so that characters are bytes */
export function pack(messages: readonly string[], framing: Framing): Batch {
  let text = '';
  const ends: number[] = [];
  for (const message of messages) {
    text += framing === 'octet-counting' ? `${message.length} ${message}` : message;
    if (framing === 'lf') text += '\n';
    ends.push(text.length);
  }
  return { bytes: Buffer.from(text, 'latin1'), ends };
}

/** Passes on what a wire says until it breaks or is let go of, whichever comes first, and no more than once that it broke. */
export function listenUntilBroken(listener: WireListener): WireListener & { readonly stop: () => void } {
  let done = false;
  return {
    onOpen: () => {
      if (!done) listener.onOpen();
    },
    onTaken: () => {
      if (!done) listener.onTaken();
    },
    onBroken: (error) => {
      if (done) return;
      done = true;
      listener.onBroken(error);
    },
    stop: () => {
      done = true;
    },
  };
}
