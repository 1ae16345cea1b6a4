import { accessSync, constants, realpathSync } from 'node:fs';
import { join } from 'node:path';

/** What systemd gives its services as PATH, systemd.exec(5). */
const SERVICE_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin'];

/** The service is started by another user, and with another PATH, than who installs it. */
export function serviceProgramProblems(): string[] {
  return ['honeyport', 'node'].flatMap((name) => {
    const path = findServiceProgram(name);
    if (path === undefined)
      return [
        `expected ${name} in ${SERVICE_PATH.join(', ')}, where the service looks for it, got none there: npm install --global`,
      ];
    const real = realpathSync(path);
    // ProtectHome= hides them, and their modes as a rule, too
    return /^\/(root|home)\//.test(real)
      ? [
          `${path} leads to ${real}, where the service may not go: npm install --global --install-links, as root`,
        ]
      : [];
  });
}

/** A program where services find it. */
export function findServiceProgram(name: string): string | undefined {
  return SERVICE_PATH.map((directory) => join(directory, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
