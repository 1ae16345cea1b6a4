import { messageOf } from '../errors.ts';
import { type ComparedFile, compareInstalled, isCutOff } from '../installation/compare-installed.ts';
import type { Host } from './host.ts';
import { finding, note, orOk, type Result, RUN_AS_ROOT, skipped } from './result.ts';

const INSTALL = 'honeyport install; --dry-run shows what it would change';

/** Whether the installed files are those of this version, and all of them. */
export function checkInstallation({ root }: Host, version: string): Result[] {
  try {
    const cutOff = isCutOff(root || '/');
    return [...(cutOff ? [wasCutOff()] : []), ...fileResults(compareInstalled(root || '/'), version)];
  } catch (error) {
    return [skipped(`the installed files cannot be compared: ${messageOf(error)}`, RUN_AS_ROOT)];
  }
}

function wasCutOff(): Result {
  return finding('an installation was cut off', 'honeyport install rolls it back and begins again');
}

function fileResults(files: readonly ComparedFile[], version: string): Result[] {
  const of = (state: ComparedFile['state']) =>
    files.filter((file) => file.state === state).map(({ path }) => path);
  const breaks = (path: string) => path.startsWith('/etc/fail2ban/');
  const [missing, foreign] = [of('missing'), of('foreign')];
  const results = [
    ...some(missing.filter(breaks), (paths) => finding(`not installed: ${paths}`, INSTALL)),
    ...some(of('other version'), (paths) => finding(`of another version than ${version}: ${paths}`, INSTALL)),
    ...some(foreign.filter(breaks), (paths) => finding(`${FOREIGN}: ${paths}`, MOVE_AWAY)),
    ...some(of('edited'), (paths) => note(`not as version ${version} has it: ${paths}`, EDITED)),
    ...some(
      missing.filter((path) => !breaks(path)),
      (paths) => note(`not installed: ${paths}`, INSTALL),
    ),
    ...some(
      foreign.filter((path) => !breaks(path)),
      (paths) => note(`${FOREIGN}: ${paths}`, MOVE_AWAY),
    ),
  ];
  return orOk(results, `the installed files are those of version ${version}`);
}

const FOREIGN = "not honeyport's, but in the place of its file";
const MOVE_AWAY = 'move it away, then honeyport install';
const EDITED = 'edits belong into .local files, which stay; honeyport install puts the file back';

function some(paths: readonly string[], result: (paths: string) => Result): Result[] {
  return paths.length === 0 ? [] : [result(paths.join(', '))];
}
