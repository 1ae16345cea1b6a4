import { ConfigurationError, type UserError } from './errors.ts';

/** How the program speaks to the person who runs it: one line a message, on standard error. */
export interface Voice {
  say(message: string): void;
  warning(message: string): void;
  error(message: string): void;
  hint(message: string): void;
}

/** @param write takes whole lines, line feed included */
export function createVoice(write: (text: string) => void): Voice {
  const speak = (word: string) => (message: string) => write(`honeyport: ${word}${printable(message)}\n`);
  return { say: speak(''), warning: speak('warning: '), error: speak('error: '), hint: speak('hint: ') };
}

/** Reports what the user can mend, each problem on a line of its own. */
export function reportUserError(voice: Voice, error: UserError): void {
  const problems = error instanceof ConfigurationError ? error.problems : [error.message];
  for (const problem of problems) voice.error(problem);
  if (error.hint !== undefined) voice.hint(error.hint);
}

/** What is quoted from a file or the system must neither break the line nor steer the terminal. */
function printable(message: string): string {
  return message.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0)!.toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u{${code}}`;
  });
}
