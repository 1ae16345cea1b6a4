import type { Configuration } from '../configuration/configuration.ts';
import { messageOf, UserError } from '../errors.ts';
import type { User } from '../system/access-rights.ts';
import type { ProcessStatus } from '../system/process-status.ts';
import { checkAction } from './check-action.ts';
import { checkAllowList } from './check-allow-list.ts';
import { checkCapability } from './check-capability.ts';
import { checkClock } from './check-clock.ts';
import { brokenConfiguration, checkConfiguration } from './check-configuration.ts';
import { checkFail2ban } from './check-fail2ban.ts';
import { checkFilter } from './check-filter.ts';
import { checkFirewall } from './check-firewall.ts';
import { checkInstallation } from './check-installation.ts';
import { checkJail } from './check-jail.ts';
import { checkKernel } from './check-kernel.ts';
import { checkListener } from './check-listener.ts';
import { checkLog } from './check-log.ts';
import { checkLogrotate } from './check-logrotate.ts';
import { checkNat } from './check-nat.ts';
import { checkNftables, readRules } from './check-nftables.ts';
import { checkUnused } from './check-unused.ts';
import { gatherFail2ban } from './fail2ban-facts.ts';
import { type Host, readText, thisHost } from './host.ts';
import { knock } from './knock.ts';
import type { Diagnosis } from './report.ts';
import { type CheckName, type CheckResult, type Result, RUN_AS_ROOT, skipped } from './result.ts';
import { findListeners } from './running-listener.ts';

export interface DiagnoseOptions {
  readonly version: string;
  /** May throw a UserError: a configuration that does not load is a finding. */
  readonly load: () => Configuration;
  /** Whether to knock, which leaves lines in the logs. */
  readonly knocks: boolean;
  readonly cancel: AbortSignal;
  readonly host?: Host;
}

/** Looks at everything between a knock and a ban. Changes nothing, but for the lines of a knock. */
export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  const { version, knocks, cancel, host = thisHost() } = options;
  const results: CheckResult[] = [];
  const configuration = load(options, results);
  const run = (check: CheckName, look: () => Promise<Result[]> | Result[]) => runCheck(check, look, results);
  const withConfiguration = (
    check: CheckName,
    look: (configuration: Configuration) => Promise<Result[]> | Result[],
  ) => run(check, () => (configuration === undefined ? [NO_CONFIGURATION] : look(configuration)));

  const listeners = findListeners(host);
  const user = serviceUser(host, listeners);
  const [facts, rules] = await Promise.all([gatherFail2ban(host), readRules(host)]);
  const log = configuration?.log.file.path ?? '';

  if (configuration !== undefined)
    await run('configuration', () => checkConfiguration({ configuration, user, now: host.now }));
  await withConfiguration('listener', (configuration) => checkListener({ host, configuration, listeners }));
  await withConfiguration('capability', (configuration) =>
    checkCapability({ host, configuration, listeners }),
  );
  await withConfiguration('log', () => checkLog({ path: log, user, now: host.now }));
  await withConfiguration('logrotate', () => checkLogrotate(host, log));
  await run('fail2ban', () => checkFail2ban(host, facts));
  await withConfiguration('jail', () => checkJail(facts, log));
  await run('action', () => checkAction(facts));
  await run('filter', () => checkFilter({ host, sensor: configuration?.sensor ?? 'doctor' }));
  await run('nftables', () => checkNftables(host, rules, facts));
  await withConfiguration('unused', (configuration) =>
    checkUnused({ host, configuration, listeners, rules }),
  );
  await withConfiguration('firewall', (configuration) => checkFirewall(host, configuration, rules));
  await withConfiguration('nat', () => checkNat(host, log));
  await withConfiguration('allow-list', (configuration) => checkAllowList({ host, configuration, facts }));
  await run('clock', () => checkClock(host, log));
  await withConfiguration('kernel', (configuration) => checkKernel({ host, configuration, listeners }));
  await run('installation', () => checkInstallation(host, version));
  if (knocks)
    await withConfiguration('knock', (configuration) => knock({ host, configuration, facts, cancel }));
  return { version, sensor: configuration?.sensor, results };
}

const NO_CONFIGURATION = skipped('the configuration does not load', 'see the check configuration');

function load({ load }: DiagnoseOptions, results: CheckResult[]): Configuration | undefined {
  try {
    return load();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    results.push(
      ...brokenConfiguration(error).map((result) => ({ check: 'configuration' as const, ...result })),
    );
    return undefined;
  }
}

/** What a check trips over must not hide what the others find. */
async function runCheck(
  check: CheckName,
  look: () => Promise<Result[]> | Result[],
  results: CheckResult[],
): Promise<void> {
  const found = await attempt(look);
  results.push(...found.map((result) => ({ check, ...result })));
}

async function attempt(look: () => Promise<Result[]> | Result[]): Promise<Result[]> {
  try {
    return await look();
  } catch (error) {
    return [skipped(`this check failed: ${messageOf(error)}`, RUN_AS_ROOT)];
  }
}

/** Whom the listener runs as: as it does, or as the shipped unit has it. */
function serviceUser(host: Host, [listener]: readonly ProcessStatus[]): User | undefined {
  if (listener !== undefined) return listener;
  const entry = /^honeyport:[^:]*:(\d+):(\d+):/m.exec(readText(host, '/etc/passwd') ?? '');
  return entry === null ? undefined : { uid: Number(entry[1]), gids: [Number(entry[2])] };
}
