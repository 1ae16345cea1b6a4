import { printable } from '../configuration/printable.ts';
import type { Part } from '../installation/package-files.ts';

/** Something that is made, replaced or removed, and can be taken back. Paths are absolute, without the root. */
export type Change =
  /** A whole file; `was` is what must be there still, undefined for nothing. */
  | {
      readonly kind: 'put';
      readonly path: string;
      readonly bytes: Uint8Array;
      readonly mode: number;
      readonly was: string | undefined;
    }
  /** `was` as above; undefined: whatever is in it. */
  | {
      readonly kind: 'remove';
      readonly path: string;
      readonly was: string | undefined;
      readonly ifEmpty: boolean;
    }
  | {
      readonly kind: 'directory';
      readonly path: string;
      readonly mode: number;
      /** Undefined: root. */
      readonly user: string | undefined;
      /** Undefined: that of the user. */
      readonly group?: string;
    }
  /** An empty log, which the user that honeyport runs as goes on with. */
  | { readonly kind: 'log'; readonly path: string; readonly mode: number; readonly user: string }
  | { readonly kind: 'user'; readonly name: string; readonly sysusers: string };

/** Something that programs of the host are told, or asked. */
export type Effect =
  | { readonly kind: 'check'; readonly check: Check }
  | { readonly kind: 'read units' | 'take jails' | 'end jails' | 'restart rsyslog' | 'remove rules' }
  | { readonly kind: 'start' | 'restart' | 'stop'; readonly unit: string };

/** A configuration that must be sound. */
export type Check = 'fail2ban' | 'no use of ours in fail2ban' | 'nftables' | 'rsyslog' | 'configuration';

export type Step =
  | { readonly text: string; readonly change: Change }
  | { readonly text: string; readonly effect: Effect };

/** What is done once there is no way back, and may be done again. */
export interface Leftovers {
  /** Files that are ours whatever is in them: `directory` and the names in it that go. */
  readonly files: readonly { readonly directory: string; readonly names: RegExpText }[];
  /** Directories that go if they are empty, innermost first. */
  readonly directories: readonly string[];
  /** Users that go with their groups, unless the directories that may be theirs remain. */
  readonly users: readonly { readonly name: string; readonly unlessThere: readonly string[] }[];
}

/** The text of a regular expression that a whole name matches. */
export type RegExpText = string;

export const NO_LEFTOVERS: Leftovers = { files: [], directories: [], users: [] };

/** What would be done to a host, and what the administrator should know of it. */
export interface Plan {
  readonly verb: 'install' | 'uninstall';
  /** `/`, or the directory that stands for it. */
  readonly root: string;
  /** One line for each file, directory and user. */
  readonly lines: readonly string[];
  /** Why nothing is done. */
  readonly refusals: readonly string[];
  /** What to know, or to do oneself. */
  readonly notes: readonly string[];
  /** What must be sound before anything is changed. */
  readonly checks: readonly Check[];
  readonly steps: readonly Step[];
  readonly leftovers: Leftovers;
}

/** Whether carrying it out would do anything. */
export function isEmpty({ steps, leftovers }: Plan): boolean {
  return steps.length === 0 && leftovers === NO_LEFTOVERS;
}

/** The plan as text: files, then what is run, then notes. */
export function planText(plan: Plan): string {
  const run = plan.steps.flatMap((step) => ('effect' in step ? [`> ${step.text}`] : []));
  const notes = plan.notes.map((note) => `  ${note}`);
  // names of files of an image are whoever made it to choose
  return [...plan.lines, ...run, ...notes].map((line) => `${printable(line)}\n`).join('');
}

/** One line of a plan: `+` new, `~` replaced, `=` unchanged, `-` removed, `!` kept. */
export function line(sign: '+' | '~' | '=' | '-' | '!', what: string, remark = ''): string {
  return remark === '' ? `${sign} ${what}` : `${sign} ${what} (${remark})`;
}

const FOLDERS: Readonly<Record<Part, RegExp>> = {
  fail2ban: /^\/etc\/fail2ban\//,
  logrotate: /^\/etc\/logrotate\.d\//,
  rsyslog: /^\/etc\/rsyslog\.d\//,
  systemd: /^\/(usr\/local\/lib|etc)\/systemd\//,
};

/** Whether changes concern what a program reads. */
export function touches(changes: readonly Change[], part: Part): boolean {
  return changes.some((change) => 'path' in change && FOLDERS[part].test(change.path));
}
