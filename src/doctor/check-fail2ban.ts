import type { Fail2banFacts } from './fail2ban-facts.ts';
import { plannedBackend } from './fail2ban-facts.ts';
import type { Host } from './host.ts';
import { finding, note, orOk, type Result, RUN_AS_ROOT, skipped } from './result.ts';

/** Whether a fail2ban that honeyport's files work with runs. */
export async function checkFail2ban(host: Host, facts: Fail2banFacts): Promise<Result[]> {
  const { version, problem, planProblem } = facts;
  if (version === undefined)
    return [finding('fail2ban is not installed', 'apt-get install fail2ban nftables python3-pyinotify')];
  if (problem !== undefined && !host.isRoot)
    return [...versionResults(version), skipped('only root may ask fail2ban whether it runs', RUN_AS_ROOT)];
  const results = [
    ...versionResults(version),
    ...(planProblem === undefined ? [] : [broken(planProblem)]),
    ...(problem === undefined ? [] : [finding(problem.message, problem.hint ?? 'see /var/log/fail2ban.log')]),
    ...(await pyinotifyResults(host, facts)),
  ];
  return orOk(results, `fail2ban ${version} runs`);
}

function versionResults(version: string): Result[] {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  const number = (major * 100 + minor) * 100 + patch;
  if (number < 1_00_02)
    return [
      finding(
        `fail2ban ${version} is older than 1.0.2, which honeyport's files need`,
        'apt-get install fail2ban',
      ),
    ];
  return number < 1_02_00
    ? []
    : [note(`fail2ban ${version} was not tried with honeyport, 1.0.2 to 1.1.x were`)];
}

function broken(problem: string): Result {
  return finding(
    `fail2ban's configuration cannot be read: ${problem}`,
    'correct it before the next restart: fail2ban-client -t',
  );
}

/** Without it fail2ban looks for new lines again and again. */
async function pyinotifyResults(host: Host, { plan = [] }: Fail2banFacts): Promise<Result[]> {
  const backend = plannedBackend(plan, 'honeyport');
  if (backend !== 'auto' && backend !== 'pyinotify') return [];
  const { end } = await host.run('/usr/bin/python3', '-c', 'import pyinotify');
  if (end.kind !== 'exit' || end.code !== 1) return [];
  return [
    note(
      'python3-pyinotify is not installed: fail2ban polls the log, which takes a moment longer',
      'apt-get install python3-pyinotify && systemctl restart fail2ban',
    ),
  ];
}
