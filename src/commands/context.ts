import type { Voice } from '../voice.ts';

/** What every command is given. */
export interface CommandContext {
  readonly version: string;
  /** Messages, on standard error. */
  readonly voice: Voice;
  /** The command's result, on standard output. */
  readonly print: (text: string) => void;
}
