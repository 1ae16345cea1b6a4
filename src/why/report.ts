import { printable } from '../configuration/printable.ts';
import type { CurrentBan, CurrentBans } from '../system/fail2ban-client.ts';
import type { BanHistory, History } from './history.ts';
import { quoteForShell } from './shell-quote.ts';

export interface Report {
  /** Canonical. */
  readonly address: string;
  readonly current: CurrentBans;
  readonly allowance: readonly string[];
  readonly events: History;
  readonly banHistory: BanHistory;
}

/** The report as text for a terminal: what is urgent first, verbatim lines last. */
export function formatReport({ address, current, allowance, events, banHistory }: Report): string {
  const reachOf = ({ jail, what }: CurrentBan) => {
    const net = banHistory.neighbours.netOf(jail, what);
    if (what === address) return '';
    return net === undefined ? `, as part of ${what}` : `, as part of ${net} around ${what}`;
  };
  const sections = [
    [address],
    [`banned now: ${verdict(current)}`, ...current.bans.flatMap((ban) => banLines(ban, reachOf(ban)))],
    ['allow list:', ...allowance.map((line) => `  ${line}`)],
    historyLines('its lines', events),
    historyLines('its bans so far', banHistory),
  ];
  return `${sections.map((lines) => lines.map((line) => printable(line)).join('\n')).join('\n\n')}\n`;
}

function verdict({ bans, problems }: CurrentBans): string {
  const known = problems.length === 0;
  if (bans.length === 0) return known ? 'no' : 'not known';
  return `yes${known ? '' : ', and perhaps by more jails'}`;
}

function banLines({ jail, what, since, until }: CurrentBan, reach: string): string[] {
  return [
    `  by jail ${jail}${reach}`,
    `    since ${formatTime(since)}`,
    `    until ${until === undefined ? 'for ever' : formatTime(until)}`,
    `    lift  fail2ban-client set ${quoteForShell(jail)} unbanip ${quoteForShell(what)}`,
  ];
}

function historyLines(title: string, { path, files, counts, total, first, last, lines }: History): string[] {
  const where = files > 1 ? `${path} and ${files - 1} rotated` : path;
  if (files === 0) return [`${title}: none, no file ${path} could be read`];
  if (total === 0) return [`${title}: none in ${where}`];
  const kinds = Array.from(counts, ([kind, count]) => `${kind} ${count}`).join(', ');
  return [
    `${title}: ${total} in ${where}`,
    `  ${kinds}`,
    `  first ${formatTime(first!)}`,
    `  last  ${formatTime(last!)}`,
    total > lines.length ? `  the last ${lines.length}:` : '  all of them:',
    ...lines.map(clip),
  ];
}

/** Captured bytes can fill many screens. */
const MOST_CHARACTERS = 1000;

function clip(line: string): string {
  if (line.length <= MOST_CHARACTERS) return line;
  return `${line.slice(0, MOST_CHARACTERS)}... (${line.length - MOST_CHARACTERS} more characters)`;
}

/** As in the log. */
function formatTime(time: number): string {
  return new Date(time).toISOString().replace('Z', '+00:00');
}
