import { parseNetwork } from '../network.ts';
import { type Fail2banFacts, type JailFacts, plannedBackend, plannedJails } from './fail2ban-facts.ts';
import { finding, note, orOk, type Result, skipped } from './result.ts';

const ENABLE = String.raw`printf '[honeyport]\nenabled = true\n' > /etc/fail2ban/jail.d/honeyport.local && fail2ban-client reload`;
const LOCAL = '/etc/fail2ban/jail.d/honeyport.local';

/** Whether a jail reads this log with our filter, and bans for what it finds. */
export function checkJail({ plan, running, problem, jails }: Fail2banFacts, log: string): Result[] {
  const enabled = plan === undefined ? undefined : plannedJails(plan);
  if (enabled?.length === 0 && jails.length === 0)
    return [finding('no jail of honeyport is enabled in fail2ban', ENABLE)];
  if (running === undefined)
    return [skipped(`fail2ban gave no answer: ${problem?.message ?? 'it is not installed'}`, problem?.hint)];
  const stopped = (enabled ?? []).filter((name) => !running.includes(name));
  const readers = jails.filter(({ logs }) => logs?.includes(log));
  const results = [
    ...stopped.map(notRunning),
    ...(jails.length > 0 && readers.length === 0 ? [otherLog(jails, log)] : []),
    ...jails.flatMap((jail) => jailResults(jail, enabled, plan)),
  ];
  const names = readers.map(({ name }) => name).join(', ');
  return orOk(results, `jail ${names} runs and reads ${log}`);
}

function notRunning(name: string): Result {
  return finding(
    `jail ${name} is enabled and does not run`,
    'fail2ban-client reload; why it does not: tail /var/log/fail2ban.log',
  );
}

function otherLog(jails: readonly JailFacts[], log: string): Result {
  const read = jails.flatMap(({ logs }) => logs ?? []);
  const what = read.length > 0 ? read.join(', ') : 'no file';
  return finding(
    `jail ${jails.map(({ name }) => name).join(', ')} reads ${what}, but the log is ${log}`,
    `write \`backend = auto\` and \`logpath = ${log}\` into ${LOCAL} and run fail2ban-client reload`,
  );
}

function jailResults(
  jail: JailFacts,
  enabled: readonly string[] | undefined,
  plan: readonly string[] | undefined,
): Result[] {
  const { name, failregex, usedns, maxretry, bantime } = jail;
  const results: (Result | undefined)[] = [
    enabled !== undefined && !enabled.includes(name)
      ? finding(`jail ${name} runs, but is not enabled any more: it ends with the next restart`, ENABLE)
      : undefined,
    plan !== undefined && plannedBackend(plan, name) === 'systemd'
      ? finding(
          `jail ${name} has the backend systemd, which reads no file`,
          `write \`backend = auto\` into ${LOCAL}`,
        )
      : undefined,
    failregex !== undefined && !/connect src=/.test(failregex)
      ? finding(
          `jail ${name} has another filter than honeyport's`,
          `write \`filter = honeyport\` into ${LOCAL}`,
        )
      : undefined,
    usedns !== undefined && usedns !== 'no'
      ? note(
          `jail ${name} has usedns = ${usedns}: the log has addresses only`,
          `write \`usedns = no\` into ${LOCAL}`,
        )
      : undefined,
    maxretry !== undefined && maxretry > 1
      ? note(
          `jail ${name} bans at the ${ordinal(maxretry)} connection only (maxretry ${maxretry})`,
          `write \`maxretry = 1\` into ${LOCAL}`,
        )
      : undefined,
    bantime !== undefined && bantime >= 0 && bantime < 60
      ? note(`jail ${name} bans for ${bantime} s only`, `write \`bantime = 1d\` into ${LOCAL}`)
      : undefined,
  ];
  return [...results.filter((result) => result !== undefined), ...ignoreResults(jail)];
}

function ordinal(count: number): string {
  return count === 2 ? 'second' : count === 3 ? 'third' : `${count}th`;
}

/** fail2ban tells 0.0.0.0/0 without its length. */
function withLength(text: string): string {
  return /^(?:0\.0\.0\.0|::)$/.test(text) ? `${text}/0` : text;
}

/** Networks so wide that a peer may well be in one. */
function ignoreResults({ name, ignored = [] }: JailFacts): Result[] {
  return ignored.map(withLength).flatMap((text) => {
    const network = parseNetwork(text);
    if ('expected' in network || network.length >= 8) return [];
    // a reload does not take back what is ignored
    const restart = `fail2ban-client restart ${name}`;
    const what = `jail ${name} ignores ${text} (ignoreip)`;
    return network.length === 0
      ? [
          finding(
            `${what}: nobody is ever banned`,
            `take it out of ignoreip in /etc/fail2ban/jail.local and run ${restart}`,
          ),
        ]
      : [
          note(
            `${what}, a great part of the Internet`,
            `narrow ignoreip in /etc/fail2ban/jail.local and run ${restart}`,
          ),
        ];
  });
}
