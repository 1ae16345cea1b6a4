import { readRegularFile } from '../configuration/read.ts';

/** Whether the kernel knows a connection of this network, which it does as soon as any rule asks it to. */
export function areConnectionsTracked(proc = '/proc'): boolean {
  try {
    const count = readRegularFile(`${proc}/sys/net/netfilter/nf_conntrack_count`, 64);
    return Number(Buffer.from(count).toString('latin1')) > 0;
  } catch {
    return false;
  }
}
