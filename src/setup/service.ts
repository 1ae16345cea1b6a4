import { basename } from 'node:path';
import type { Manifest } from '../installation/manifest.ts';
import { SOCKET_UNIT_FILE } from '../installation/socket-unit.ts';
import { RULES_TIMER, unitState } from './host-programs.ts';
import { isThere } from './piece.ts';
import { type Change, type Effect, touches } from './plan.ts';

export const SERVICE = 'honeyport.service';
export const SERVICE_USER = 'honeyport';

interface ServiceContext {
  readonly changes: readonly Change[];
  /** What is installed before. */
  readonly manifest: Manifest | undefined;
  /** What is installed afterwards. */
  readonly version: string;
  /** Whether a decoy has `ports: unused`. */
  readonly needsRules: boolean;
}

/** A service that is new is started; one that runs is restarted if its unit or its program changed, and no other. */
export async function serviceEffects(context: ServiceContext): Promise<Effect[]> {
  const reading: Effect[] = touches(context.changes, 'systemd') ? [{ kind: 'read units' }] : [];
  return [...reading, ...(await listenerEffects(context)), ...(await timerEffects(context))];
}

async function listenerEffects({ manifest, changes, version }: ServiceContext): Promise<Effect[]> {
  const { active } = await unitState(SERVICE);
  if (active) {
    const isOther = touches(changes, 'systemd') || manifest?.version !== version;
    return isOther ? [...(await socketEffects(changes)), { kind: 'restart', unit: SERVICE }] : [];
  }
  // after an uninstall that left logs, the manifest knows of no file
  const isFirst = (manifest?.files.length ?? 0) === 0 && !isThere('/', OWN_UNIT);
  return isFirst ? [{ kind: 'start', unit: SERVICE }] : [];
}

/** After the listener, which says itself what it lacks until then. */
async function timerEffects({ changes, needsRules }: ServiceContext): Promise<Effect[]> {
  const { active, enabled } = await unitState(RULES_TIMER);
  const isChanged = changes.some((change) => 'path' in change && basename(change.path) === RULES_TIMER);
  if (active) return isChanged ? [{ kind: 'restart', unit: RULES_TIMER }] : [];
  return needsRules && !enabled ? [{ kind: 'start', unit: RULES_TIMER }] : [];
}

/** The administrator's own unit, or a mask, comes before ours. */
export const OWN_UNIT = `/etc/systemd/system/${SERVICE}`;

/** Sockets that are open keep their ports until they are restarted. */
async function socketEffects(changes: readonly Change[]): Promise<Effect[]> {
  const isChanged = changes.some((change) => 'path' in change && change.path === SOCKET_UNIT_FILE);
  const unit = basename(SOCKET_UNIT_FILE);
  return isChanged && (await unitState(unit)).active ? [{ kind: 'restart', unit }] : [];
}
