import { readFileSync } from 'node:fs';

/** How many descriptors this process may have (ulimit -n); undefined where it cannot be told, or has no limit. */
export function mostOpenFiles(): number | undefined {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
