/** The checks, in the order in which a connection meets what they look at. */
export const CHECK_NAMES = [
  'configuration',
  'listener',
  'capability',
  'log',
  'logrotate',
  'fail2ban',
  'jail',
  'action',
  'filter',
  'nftables',
  'unused',
  'firewall',
  'nat',
  'allow-list',
  'clock',
  'kernel',
  'installation',
  'knock',
] as const;

export type CheckName = (typeof CHECK_NAMES)[number];

/**
 * What a look at something came to. A `finding` breaks the chain from a knock to a ban, or harms somebody else; a `note`
 * is worth knowing and does neither; what is `skipped` could not be looked at.
 */
export interface Result {
  readonly result: 'ok' | 'finding' | 'note' | 'skipped';
  /** What was proven, what is wrong, or why nobody looked. */
  readonly message: string;
  /** The command or the line that mends it. */
  readonly advice?: string;
}

export interface CheckResult extends Result {
  readonly check: CheckName;
}

export function ok(message: string): Result {
  return { result: 'ok', message };
}

export function finding(message: string, advice: string): Result {
  return { result: 'finding', message, advice };
}

export function note(message: string, advice?: string): Result {
  return advice === undefined ? { result: 'note', message } : { result: 'note', message, advice };
}

export function skipped(message: string, advice?: string): Result {
  return advice === undefined ? { result: 'skipped', message } : { result: 'skipped', message, advice };
}

/** The results, or where nothing was found, the word that all is well. */
export function orOk(results: readonly Result[], message: string): Result[] {
  return results.some(({ result }) => result === 'finding') ? [...results] : [ok(message), ...results];
}

export const RUN_AS_ROOT = 'run it as root';
