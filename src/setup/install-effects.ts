import { DEFAULT_CONFIGURATION_FILE } from '../configuration/load.ts';
import type { Manifest } from '../installation/manifest.ts';
import type { Part } from '../installation/package-files.ts';
import { isFail2banRunning, isSystemdRunning } from './host-programs.ts';
import type { NoteContext } from './install-notes.ts';
import { filesNamingUs } from './jail-references.ts';
import { isThere } from './piece.ts';
import { type Change, type Check, type Effect, touches } from './plan.ts';
import { serviceEffects } from './service.ts';
import { findServiceProgram } from './service-programs.ts';

/** What effects follow from. */
export interface EffectContext extends NoteContext {
  readonly manifest: Manifest | undefined;
  readonly version: string;
}

/** What must be sound before anything is changed. */
export function baselineChecks(parts: readonly Part[], changes: readonly Change[]): Check[] {
  const checks: Check[] = [];
  if (touches(changes, 'fail2ban')) checks.push(...(isAwaited() ? [] : ['fail2ban' as const]), ...nftCheck());
  if (parts.includes('rsyslog') && touches(changes, 'rsyslog')) checks.push('rsyslog');
  return checks;
}

/** A jail of the administrator's that waits for our filter is not sound before, and no fault. */
function isAwaited(): boolean {
  return !isThere('/', FILTER_FILE) && filesNamingUs('/').length > 0;
}

const FILTER_FILE = '/etc/fail2ban/filter.d/honeyport.conf';

function nftCheck(): Check[] {
  return findServiceProgram('nft') === undefined ? [] : ['nftables'];
}

/** What programs are asked, and then told, once the files are in their places. */
export async function hostEffects(context: EffectContext): Promise<Effect[]> {
  const { changes, parts } = context;
  const effects: Effect[] = [];
  if (isTouched(changes, DEFAULT_CONFIGURATION_FILE)) effects.push({ kind: 'check', check: 'configuration' });
  if (touches(changes, 'fail2ban')) effects.push({ kind: 'check', check: 'fail2ban' });
  if (touches(changes, 'rsyslog')) effects.push({ kind: 'check', check: 'rsyslog' });
  if (parts.includes('systemd') && isSystemdRunning()) effects.push(...(await serviceEffects(context)));
  if (touches(changes, 'fail2ban') && (await isFail2banRunning())) effects.push({ kind: 'take jails' });
  if (touches(changes, 'rsyslog') && isSystemdRunning()) effects.push({ kind: 'restart rsyslog' });
  return effects;
}

function isTouched(changes: readonly Change[], path: string): boolean {
  return changes.some((change) => 'path' in change && change.path === path);
}
