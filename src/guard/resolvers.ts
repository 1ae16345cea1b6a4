import { parseAddress } from '../address.ts';
import { readHead } from './read-head.ts';

/** systemd-resolved names itself in the first, and the name servers that it asks in the second. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** The name servers that this host is configured to ask, in canonical text. */
export function readResolvers(files: readonly string[] = FILES): string[] {
  return files.flatMap((file) => resolversOf(readHead(file).toString('latin1')));
}

function resolversOf(text: string): string[] {
  return [...text.matchAll(/^[ \t]*nameserver[ \t]+([0-9A-Fa-f:.]+)/gm)].flatMap(([, address]) => {
    const parsed = parseAddress(address!);
    return parsed === undefined ? [] : [parsed.text];
  });
}
