/** A way to a receiver, open or opening. After `onBroken` it is done with, and says nothing more. */
export interface Wire {
  /** Hands messages to the kernel, in order; the next ones only after `onTaken`. */
  send(messages: readonly string[]): void;
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

/** How messages are told apart on a stream. */
export type Framing = 'octet-counting' | 'lf';

/** Messages of printable ASCII as a stream bears them: RFC 6587 and RFC 5425. */
export function frame(messages: readonly string[], framing: Framing): string {
  if (framing === 'lf') return `${messages.join('\n')}\n`;
  return messages.map((message) => `${message.length} ${message}`).join('');
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
