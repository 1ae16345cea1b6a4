import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type BanStage, startBans } from './bans.ts';
import type { Release } from './fail2ban.ts';
import { waitFor } from './wait.ts';

const DEADLINE_MS = 30_000;

/** What the action has recorded of a jail. */
export interface Recorded {
  readonly version: number;
  readonly jail: string;
  readonly leftOut: number;
  readonly bans: readonly Readonly<Record<string, unknown>>[];
}

/** The action of a jail: beside what the shipped jail has; of another jail, beside what blocks. */
export function recording(
  options = 'state="DIR/dome9"',
  { before = '%(known/action)s', more = '' } = {},
): string {
  return `action = ${before}\n         honeyport-dome9.py[${options}]\n${more}`;
}

/** A sensor with a jail that records; `state` is where. */
export async function startRecording(
  context: TestContext,
  release: Release = 'host',
  settings = recording(),
): Promise<BanStage & { readonly state: string }> {
  const stage = await startBans(context, { release, jails: { honeyport: { settings } } });
  return { ...stage, state: join(stage.dir, 'dome9') };
}

export function recorded(state: string, jail = 'honeyport'): Recorded {
  return JSON.parse(readFileSync(join(state, `wanted/${jail}.json`), 'utf8'));
}

export function recordedAddresses(state: string, jail?: string): string[] {
  return recorded(state, jail)
    .bans.map(({ ip }) => String(ip))
    .sort();
}

/** Waits until a jail's record has exactly these addresses, in any order. */
export async function untilRecorded(state: string, wanted: readonly string[], jail?: string): Promise<void> {
  const sorted = JSON.stringify([...wanted].sort());
  await waitFor(() => JSON.stringify(recordedAddresses(state, jail)) === sorted, {
    deadlineMs: DEADLINE_MS,
    what: () =>
      `${sorted.slice(0, 200)} in the record, which has ${readdirSync(join(state, '..')).join(' ')}`,
  });
}
