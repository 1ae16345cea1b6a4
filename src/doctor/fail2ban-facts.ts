import type { UserError } from '../errors.ts';
import { fail2banProblem, parseJails } from '../system/fail2ban-client.ts';
import { type Host, printed } from './host.ts';

/** What fail2ban says of itself. */
export interface Fail2banFacts {
  /** As in `1.0.2`; undefined where it is not installed. */
  readonly version: string | undefined;
  /** What its configuration would start, a command of the server's in each line; undefined where it cannot be read. */
  readonly plan: readonly string[] | undefined;
  /** Why there is no plan. */
  readonly planProblem: string | undefined;
  /** The jails that run; undefined where the server gave no answer. */
  readonly running: readonly string[] | undefined;
  /** Why it gave none. */
  readonly problem: UserError | undefined;
  /** Of honeyport's jails, those that run. */
  readonly jails: readonly JailFacts[];
}

/** What the server says of a running jail; what it did not answer is undefined. */
export interface JailFacts {
  readonly name: string;
  readonly logs: readonly string[] | undefined;
  readonly failregex: string | undefined;
  readonly usedns: string | undefined;
  readonly maxretry: number | undefined;
  /** Seconds; negative: for ever. */
  readonly bantime: number | undefined;
  readonly ignored: readonly string[] | undefined;
  readonly actions: readonly string[] | undefined;
  /** `block` or `observe`. */
  readonly mode: string | undefined;
  /** Addresses that are not in the kernel yet. */
  readonly waiting: number | undefined;
}

const OURS = /^honeyport(?:[._-]|$)/;
/** More than anybody writes; each is asked for with a program per fact. */
const MOST_JAILS = 10;

export async function gatherFail2ban(host: Host): Promise<Fail2banFacts> {
  const version = await readVersion(host);
  if (version === undefined) return ABSENT;
  const [plan, status] = await Promise.all([readPlan(host), askStatus(host)]);
  const names = (status.running ?? []).filter((name) => OURS.test(name)).slice(0, MOST_JAILS);
  const jails: JailFacts[] = [];
  for (const name of names) jails.push(await gatherJail(host, name));
  return { version, ...plan, ...status, jails };
}

const ABSENT: Fail2banFacts = {
  version: undefined,
  plan: undefined,
  planProblem: undefined,
  running: undefined,
  problem: undefined,
  jails: [],
};

async function readVersion(host: Host): Promise<string | undefined> {
  const { end, stdout } = await host.run('fail2ban-client', '--version');
  if (end.kind === 'missing') return undefined;
  return /v(\d+(?:\.\d+)*)/.exec(stdout)?.[1] ?? 'unknown';
}

async function readPlan(host: Host): Promise<Pick<Fail2banFacts, 'plan' | 'planProblem'>> {
  const { end, stdout, stderr } = await host.run('fail2ban-client', '-d');
  if (end.kind === 'exit' && end.code === 0) return { plan: stdout.split('\n'), planProblem: undefined };
  return { plan: undefined, planProblem: firstError(`${stderr}\n${stdout}`) };
}

/** Without the time and the module's name before it. */
function firstError(text: string): string {
  const line = text.split('\n').find((line) => /ERROR|Errors/.test(line)) ?? text.trim().split('\n')[0] ?? '';
  const said = line.replace(/^.*?\bERROR\s+/, '').slice(0, 300);
  return said === '' ? 'it gave no reason' : said;
}

async function askStatus(host: Host): Promise<Pick<Fail2banFacts, 'running' | 'problem'>> {
  const result = await host.run('fail2ban-client', 'status');
  if (result.end.kind !== 'exit' || result.end.code !== 0)
    return { running: undefined, problem: fail2banProblem(['status'], result) };
  try {
    return { running: parseJails(result.stdout), problem: undefined };
  } catch {
    return { running: [], problem: undefined };
  }
}

async function gatherJail(host: Host, name: string): Promise<JailFacts> {
  const get = (...what: string[]) => printed(host, 'fail2ban-client', 'get', name, ...what);
  const [logs, failregex, usedns, maxretry] = await Promise.all(
    ['logpath', 'failregex', 'usedns', 'maxretry'].map((what) => get(what)),
  );
  const [bantime, ignored, actions, mode, waiting] = await Promise.all([
    ...['bantime', 'ignoreip', 'actions'].map((what) => get(what)),
    get('action', 'honeyport_nftables', 'mode'),
    get('action', 'honeyport_nftables', 'waiting'),
  ]);
  return {
    name,
    logs: listed(logs),
    failregex,
    usedns: usedns?.trim(),
    maxretry: numberOf(maxretry),
    bantime: numberOf(bantime),
    ignored: listed(ignored),
    actions: actions === undefined ? undefined : namesIn(actions),
    mode: mode?.trim(),
    waiting: numberOf(waiting),
  };
}

/** The items of a list with branches before them. */
function listed(text: string | undefined): string[] | undefined {
  return text === undefined ? undefined : [...text.matchAll(/^[|`]- (.+)$/gm)].map(([, item]) => item!);
}

function namesIn(text: string): string[] {
  const [, ...lines] = text.trim().split('\n');
  return lines
    .join(' ')
    .split(/[\s,]+/)
    .filter((name) => name !== '');
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\s*-?\d+\s*$/.test(text) ? Number(text) : undefined;
}

/** The backend that a jail's configuration names; undefined where the jail is not enabled. */
export function plannedBackend(plan: readonly string[], jail: string): string | undefined {
  const heads = plan.map((line) => /^\['add', '([^']+)', '([^']+)'\]$/.exec(line));
  return heads.find((head) => head?.[1] === jail)?.[2];
}

/** Honeyport's jails that the configuration enables. */
export function plannedJails(plan: readonly string[]): string[] {
  return plan.flatMap((line) => {
    const name = /^\['add', '([^']+)', /.exec(line)?.[1];
    return name !== undefined && OURS.test(name) ? [name] : [];
  });
}

/** An option of a jail's nftables action. */
export function plannedOption(plan: readonly string[], jail: string, option: string): string | undefined {
  const start = `['set', '${jail}', 'addaction', 'honeyport_nftables', `;
  const text = plan.find((line) => line.startsWith(start));
  return text === undefined ? undefined : new RegExp(`"${option}": "([^"]*)"`).exec(text)?.[1];
}
