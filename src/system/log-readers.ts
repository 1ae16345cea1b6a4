import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A file that makes a program read another log than the configured one. */
export interface OtherLog {
  readonly reader: string;
  readonly logs: readonly string[];
}

/**
 * The jails of fail2ban that use the filter `honeyport`, and the logrotate file, where they name other logs than
 * `log`. What is not installed, or may not be read, is no finding.
 * @param etc where the configuration of the host is
 */
export function findOtherLogs(log: string, etc = '/etc'): OtherLog[] {
  return [...jailLogs(etc), ...logrotateLogs(etc)].filter(
    ({ logs }) => logs.length > 0 && !logs.some((pattern) => matchesShellPattern(log, pattern)),
  );
}

/** The last file that sets `logpath` wins, in the order in which fail2ban reads them. */
function jailLogs(etc: string): OtherLog[] {
  const jails = new Map<string, { reader: string; logs: string[]; filter: string }>();
  for (const file of jailFiles(etc)) {
    for (const [jail, settings] of readSections(file)) {
      const before = jails.get(jail) ?? { reader: '', logs: [], filter: jail };
      const logs = settings.get('logpath');
      jails.set(jail, {
        reader: logs === undefined ? before.reader : `jail ${jail} in ${file}`,
        logs: logs === undefined ? before.logs : logs.split(/\s+/).filter((path) => path.startsWith('/')),
        filter: settings.get('filter') ?? before.filter,
      });
    }
  }
  return [...jails.values()].filter(({ filter }) => /^honeyport(\[|$)/.test(filter));
}

function jailFiles(etc: string): string[] {
  const directory = join(etc, 'fail2ban');
  const inDirectory = (suffix: string) =>
    listOrEmpty(join(directory, 'jail.d'))
      .filter((name) => name.endsWith(suffix))
      .sort()
      .map((name) => join(directory, 'jail.d', name));
  return [
    join(directory, 'jail.conf'),
    ...inDirectory('.conf'),
    join(directory, 'jail.local'),
    ...inDirectory('.local'),
  ];
}

/** Sections of an ini file as fail2ban reads it: `key = value`, continued by lines that are indented. */
function readSections(file: string): Map<string, Map<string, string>> {
  const sections = new Map<string, Map<string, string>>();
  let settings: Map<string, string> | undefined;
  let key = '';
  for (const line of readOrEmpty(file).split('\n')) {
    const section = /^\[([^\]]+)\]/.exec(line);
    const setting = /^([a-z][a-z0-9_.]*)\s*[=:]\s*(.*?)\s*$/i.exec(line);
    if (section !== null) {
      settings = sections.get(section[1]!) ?? new Map();
      sections.set(section[1]!, settings);
      key = '';
    } else if (setting !== null) {
      key = setting[1]!.toLowerCase();
      settings?.set(key, setting[2]!);
    } else if (/^\s+[^\s#;]/.test(line) && key !== '') {
      settings?.set(key, `${settings.get(key)} ${line.trim()}`);
    }
  }
  return sections;
}

function logrotateLogs(etc: string): OtherLog[] {
  const file = join(etc, 'logrotate.d', 'honeyport');
  const text = readOrEmpty(file).replace(LOGROTATE_SCRIPT, '');
  const heads = text.match(/^\s*[/"].*$/gm) ?? [];
  const words = heads.flatMap((head) => [...head.matchAll(/"([^"]*)"|[^\s"{]+/g)]);
  const logs = words.map(([word, quoted]) => quoted ?? word).filter((path) => path.startsWith('/'));
  return [{ reader: file, logs }];
}

/** Commands for the shell, which begin with a path often enough. */
const LOGROTATE_SCRIPT =
  /^\s*(?:prerotate|postrotate|firstaction|lastaction|preremove)\b[\s\S]*?^\s*endscript\b/gm;

/** glob(7) as fail2ban and logrotate use it: neither `*` nor `?` stands for a slash. */
export function matchesShellPattern(path: string, pattern: string): boolean {
  const expression = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replace(/\*+/g, '[^/]*')
    .replace(/\?/g, '[^/]')
    .replace(/\[!/g, '[^');
  try {
    return path === pattern || new RegExp(`^${expression}$`).test(path);
  } catch {
    // brackets that do not pair stand for themselves
    return false;
  }
}

function listOrEmpty(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
