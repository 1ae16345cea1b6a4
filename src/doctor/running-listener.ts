import { readlinkSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { processIds } from '../system/listening-sockets.ts';
import { type ProcessStatus, readArguments, readProcessStatus } from '../system/process-status.ts';
import type { Host } from './host.ts';

/** The processes that are a `honeyport run` in the network that is looked at: not those of containers. */
export function findListeners({ root }: Host, program = process.argv[1]): ProcessStatus[] {
  const proc = `${root}/proc`;
  const own = program === undefined ? undefined : realPath(program);
  const ourNetwork = networkOf('self', proc);
  const pids = processIds(proc).filter((pid) => isListener(readArguments(pid, proc), own));
  return pids
    .filter((pid) => [undefined, ourNetwork].includes(networkOf(pid, proc)))
    .flatMap((pid) => readProcessStatus(pid, proc) ?? []);
}

/** `node .../honeyport run`: what the package manager's link is called, or the script that it leads to. */
function isListener(argv: readonly string[], own: string | undefined): boolean {
  const run = argv.indexOf('run');
  const script = run > 0 ? argv[run - 1]! : '';
  if (!/^(?:node|nodejs|honeyport)\b/.test(basename(argv[0] ?? ''))) return false;
  return (
    basename(script) === 'honeyport' ||
    /\/honeyport\/dist\/cli\.js$/.test(script) ||
    (own !== undefined && realPath(script) === own)
  );
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** Undefined where only root may see it. */
function networkOf(pid: number | 'self', proc: string): string | undefined {
  try {
    return readlinkSync(`${proc}/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
