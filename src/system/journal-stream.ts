import { fstatSync } from 'node:fs';

/**
 * Whether a descriptor leads to the journal.
 * @param stream what systemd has put into JOURNAL_STREAM: device and inode of the stream that it gave, systemd.exec(5)
 */
export function isJournalStream(fd: number, stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    // it is closed
    return false;
  }
}
