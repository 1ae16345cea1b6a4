import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_CONFIGURATION_FILE, loadConfiguration } from '../configuration/load.ts';
import { check } from './host-programs.ts';
import type { Check } from './plan.ts';

/** @throws UserError with all that is wrong */
export async function checkHost(what: Check, root: string): Promise<void> {
  if (what !== 'configuration') return check(what);
  const file = join(root, DEFAULT_CONFIGURATION_FILE);
  if (existsSync(file)) loadConfiguration(file);
}
