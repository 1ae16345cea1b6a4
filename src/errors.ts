/** Something the user can mend: printed as `honeyport: error: ...` without a stack. */
export class UserError extends Error {
  /** What to do next, printed as `honeyport: hint: ...`. */
  readonly hint: string | undefined;
  /** 1 failed, 2 usage or configuration error. */
  readonly exitCode: 1 | 2;

  constructor(message: string, { hint, exitCode = 2 }: { hint?: string | undefined; exitCode?: 1 | 2 } = {}) {
    super(message);
    this.name = 'UserError';
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

/** All that is wrong with a configuration, each problem as one `FILE:LINE:COLUMN: path: expected ..., got ...`. */
export class ConfigurationError extends UserError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], hint?: string) {
    super(problems.join('\n'), { hint });
    this.name = 'ConfigurationError';
    this.problems = problems;
  }
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether an error is the system's and says so with a code, such as ENOENT. */
export function isErrnoException(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string';
}
