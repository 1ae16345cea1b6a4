import type { Want } from './want.ts';

/** The documented API takes no more. A sensor's name is at most 255, all else below 200. */
export const LONGEST_COMMENT = 500;

/** What stands beside an address in the account: whose it is, and why it is there. */
export function commentOf(want: Want, sensor: string): string {
  const { decoyPort, since, until, eventId, jail } = want;
  const parts = [
    ...(decoyPort === undefined ? [] : [`port=${decoyPort}`]),
    `time=${timeText(since)}`,
    `until=${until === null ? 'never' : timeText(until)}`,
    ...(eventId === undefined ? [] : [`id=${eventId}`]),
    `jail=${jail.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 64)}`,
  ];
  return `${ownerMark(sensor)}${parts.join(' ')}`;
}

/** Whether an item was put into a list by the honeyport of this sensor; all others are foreign. */
export function isOwnComment(comment: unknown, sensor: string): boolean {
  return typeof comment === 'string' && comment.startsWith(ownerMark(sensor));
}

/** The blank ends the name: web-1 is not the owner of what web-10 put there. */
function ownerMark(sensor: string): string {
  return `honeyport/${sensor} `;
}

/** Whether an item was put there by another sensor that should have taken it out by now, and the sensor's name. */
export function overdueSensor(comment: unknown, sensor: string, nowMs: number): string | undefined {
  if (typeof comment !== 'string' || isOwnComment(comment, sensor)) return undefined;
  const [, other, until] =
    /^honeyport\/([A-Za-z0-9._-]{1,255}) .*?\buntil=([0-9TZ:-]{20})(?: |$)/.exec(comment) ?? [];
  return until !== undefined && Date.parse(until) + OVERDUE_MS < nowMs ? other : undefined;
}

/** Its host may be down for as long as an update takes. */
const OVERDUE_MS = 60 * 60_000;

function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(/\.[0-9]{3}Z$/, 'Z');
}
