import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const JAIL_DIRECTORY = '/etc/fail2ban/jail.d';

/** Files in which fail2ban's jails are set up that name honeyport, but in comments; paths without the root. */
export function filesNamingUs(root: string): string[] {
  const files = listOrEmpty(join(root, JAIL_DIRECTORY)).map((name) => join(JAIL_DIRECTORY, name));
  return ['/etc/fail2ban/jail.local', ...files.sort()].filter(
    (path) => /\.(conf|local)$/.test(path) && namesUs(join(root, path)),
  );
}

function namesUs(path: string): boolean {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  return /^[^#;\n]*honeyport/m.test(readFileSync(path, 'latin1'));
}

function listOrEmpty(directory: string): string[] {
  if (!lstatSync(directory, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(directory);
}
