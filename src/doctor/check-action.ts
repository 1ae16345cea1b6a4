import type { Fail2banFacts, JailFacts } from './fail2ban-facts.ts';
import { finding, note, orOk, type Result, skipped } from './result.ts';

const RESTART = 'fail2ban-client restart';

/** Whether what a jail finds is blocked. */
export function checkAction({ jails, problem }: Fail2banFacts): Result[] {
  if (jails.length === 0) return [skipped('no jail of honeyport runs', problem?.hint)];
  const results = jails.flatMap(actionResults);
  return orOk(
    results,
    jails.map(({ name, actions }) => `jail ${name} has ${actions?.join(', ')}`).join('; '),
  );
}

function actionResults({ name, actions, mode, waiting }: JailFacts): Result[] {
  if (actions === undefined) return [skipped(`fail2ban did not tell the actions of jail ${name}`)];
  if (actions.length === 0)
    return [finding(`jail ${name} has no action: whoever it bans is not blocked`, `${RESTART} ${name}`)];
  return [
    ...(actions.includes('honeyport_nftables')
      ? nftablesResults(name, mode, waiting)
      : [stockAction(name, actions)]),
    ...(actions.includes('honeyport_rotation') ? [] : [noRotation(name)]),
  ];
}

function nftablesResults(name: string, mode: string | undefined, waiting = 0): Result[] {
  return [
    ...(mode === 'observe' ? [observes(name)] : []),
    ...(waiting > 0 ? [notInKernel(name, waiting)] : []),
  ];
}

function observes(name: string): Result {
  return note(
    `jail ${name} only observes: whoever it bans is counted and let through`,
    'when you have seen enough, take mode=observe out of banaction and run fail2ban-client reload',
  );
}

function notInKernel(name: string, waiting: number): Result {
  return finding(
    `jail ${name}: addresses that are banned and not in the kernel: ${waiting}`,
    'fail2ban says why: grep honeyport_nftables /var/log/fail2ban.log',
  );
}

function stockAction(name: string, actions: readonly string[]): Result {
  return note(
    `jail ${name} blocks with ${actions.join(', ')}, not with honeyport_nftables: what is only forwarded, as to containers, passes`,
    `take banaction out of /etc/fail2ban/jail.d/honeyport.local and run ${RESTART} ${name}`,
  );
}

function noRotation(name: string): Result {
  return finding(
    `jail ${name} has no honeyport_rotation: lines that are unread when the log is rotated are lost`,
    `add honeyport_rotation.py to its action, as in jail.d/honeyport.conf, and run ${RESTART} ${name}`,
  );
}
