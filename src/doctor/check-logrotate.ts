import { readdirSync } from 'node:fs';
import { findOtherLogs, matchesShellPattern } from '../system/log-readers.ts';
import { type Host, readText } from './host.ts';
import { finding, note, ok, type Result, skipped } from './result.ts';

const DIRECTORY = '/etc/logrotate.d';
const OURS = `${DIRECTORY}/honeyport`;

/** Whether logrotate rotates this log, once, and without a loss. */
export function checkLogrotate(host: Host, log: string): Result[] {
  const names = listDirectory(host);
  if (names === undefined)
    return [skipped(`${DIRECTORY} cannot be read: whether the log is rotated is not known`)];
  const all = names.map((name) => ({
    path: `${DIRECTORY}/${name}`,
    text: readText(host, `${DIRECTORY}/${name}`),
  }));
  const files = all.filter((file) => file.text !== undefined && rotates(file.text, log)) as {
    path: string;
    text: string;
  }[];
  const other = findOtherLogs(log, `${host.root}/etc`).find(({ reader }) => reader.endsWith(OURS));
  if (files.length === 0) return [other === undefined ? notRotated(log) : otherLog(log, other.logs)];
  const lossy = files.filter(({ text }) => /^\s*copytruncate\b/m.test(text));
  const results = [
    ...lossy.map(({ path }) => loses(path)),
    ...(files.length > 1
      ? [
          twice(
            log,
            files.map(({ path }) => path),
          ),
        ]
      : []),
  ];
  return results.length > 0 ? results : [ok(`${files[0]!.path} rotates ${log}, and loses no line of it`)];
}

function listDirectory({ root }: Host): string[] | undefined {
  try {
    // what logrotate itself passes over, by its default tabooext
    return readdirSync(root + DIRECTORY).filter(
      (name) => !/(?:~|\.(?:dpkg-\w+|bak|disabled|ucf-\w+|swp))$/.test(name),
    );
  } catch {
    return undefined;
  }
}

/** Whether the head of a block names the log. */
function rotates(text: string, log: string): boolean {
  const heads = text.match(/^\s*[/"][^\n{]*/gm) ?? [];
  const paths = heads.flatMap((head) =>
    [...head.matchAll(/"([^"]*)"|[^\s"{]+/g)].map(([word, quoted]) => quoted ?? word),
  );
  return paths.some((path) => matchesShellPattern(log, path));
}

function notRotated(log: string): Result {
  return note(`nobody rotates ${log}, it grows without end`, 'cp logrotate.d/honeyport /etc/logrotate.d/');
}

function otherLog(log: string, logs: readonly string[]): Result {
  return finding(`${OURS} names ${logs.join(', ')}, but the log is ${log}`, `name ${log} in ${OURS}`);
}

function loses(path: string): Result {
  return finding(
    `${path} says copytruncate, which loses lines`,
    `write nocopytruncate for it, as in logrotate.d/honeyport`,
  );
}

function twice(log: string, paths: readonly string[]): Result {
  return finding(
    `${log} is rotated by ${paths.join(' and ')}: logrotate reports a duplicate entry and does not rotate`,
    'take it out of all of them but one',
  );
}
