import { expiredEntries, expiryWarnings } from '../allow/expiry.ts';
import type { Configuration } from '../configuration/configuration.ts';
import { portCount } from '../configuration/decoy-ports.ts';
import { ConfigurationError, messageOf, UserError } from '../errors.ts';
import { openTlsContext } from '../sinks/tls-files.ts';
import { deniedAt, type User } from '../system/access-rights.ts';
import { programProblem } from '../system/program-problem.ts';
import { finding, note, ok, type Result } from './result.ts';

export interface ConfigurationSubject {
  readonly configuration: Configuration;
  /** Whom the listener runs as; undefined where that is not known. */
  readonly user: User | undefined;
  readonly now: number;
}

const MOST_PROBLEMS = 20;

/** A configuration that loads, and all that it names. */
export function checkConfiguration({ configuration, user, now }: ConfigurationSubject): Result[] {
  const { file, decoys, allow } = configuration;
  const counts = `decoys: ${decoys.length}, ports: ${portCount(configuration)}, allow entries: ${allow.length}`;
  return [
    ok(`${file ?? 'the built-in default'} is valid: ${counts}`),
    ...(file === undefined ? [noFile()] : []),
    ...expiryWarnings(expiredEntries(allow, now)).map((text) =>
      note(text, 'remove the entry, or set `until`'),
    ),
    ...programFindings(configuration),
    ...tlsFindings(configuration),
    ...(user === undefined ? [] : rightFindings(configuration, user)),
  ];
}

/** A configuration that does not load: the doctor goes on with what does not need it. */
export function brokenConfiguration(error: UserError): Result[] {
  const problems = error instanceof ConfigurationError ? error.problems : [error.message];
  const advice =
    error.hint ?? 'correct it; the listener runs on with what it read before, but does not start again';
  const left = problems.length - MOST_PROBLEMS;
  const results = problems.slice(0, MOST_PROBLEMS).map((problem) => finding(problem, advice));
  return left > 0 ? [...results, finding(`${left} more problems`, 'see honeyport check')] : results;
}

function noFile(): Result {
  return note(
    'there is no configuration file: this looks at the built-in default, with its log in the working directory',
    'name the file with -c, or write /etc/honeyport/honeyport.yaml from docs/honeyport.yaml',
  );
}

function programFindings({ decoys }: Configuration): Result[] {
  return decoys.flatMap(({ name, behaviour }) => {
    if (behaviour?.kind !== 'response') return [];
    const [program] = behaviour.command;
    const problem = programProblem(program);
    const text = `decoy ${name} cannot answer with ${program}: ${problem}`;
    return problem === undefined ? [] : [finding(text, `make it a program: chmod 0755 ${program}`)];
  });
}

function tlsFindings({ log }: Configuration): Result[] {
  return log.syslog.flatMap(({ address, target, tls }) => {
    if (target.wire !== 'tls') return [];
    try {
      openTlsContext(tls);
      return [];
    } catch (error) {
      const advice = (error instanceof UserError ? error.hint : undefined) ?? 'correct the files under tls';
      return [finding(`${address}: ${messageOf(error)}`, advice)];
    }
  });
}

/** What root reads and the listener cannot. */
function rightFindings({ file, partFiles, log }: Configuration, user: User): Result[] {
  const tls = log.syslog.flatMap((receiver) => Object.entries(receiver.tls));
  const tlsFiles = tls.flatMap(([key, path]) => (key === 'name' || path === undefined ? [] : [path]));
  return [...(file === undefined ? [] : [file]), ...partFiles, ...tlsFiles].flatMap((path) => {
    const denied = deniedAt(path, 'read', user);
    if (denied === undefined) return [];
    const advice = denied === path ? `chgrp honeyport ${path} && chmod g+r ${path}` : `chmod o+x ${denied}`;
    return [
      finding(
        `${path} cannot be read by the listener's user (uid ${user.uid}): ${denied} keeps it out`,
        advice,
      ),
    ];
  });
}
