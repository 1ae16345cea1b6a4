import type { Event } from '../event.ts';
import { createCefFormatter } from './cef.ts';
import { createEcsFormatter } from './ecs.ts';
import { formatEventText } from './event-text.ts';
import { createLeefFormatter } from './leef.ts';
import type { LineFormatter, Origin } from './line.ts';
import { MEANINGS } from './meaning.ts';
import { createOcsfFormatter } from './ocsf.ts';
import { createRfc5424Formatter } from './rfc5424.ts';
import { createTimeFormatter, createTraditionalTimeFormatter } from './time.ts';

/** RFC 5424's codes of the facilities that a program may choose. */
export const FACILITIES = {
  user: 1,
  daemon: 3,
  auth: 4,
  authpriv: 10,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const;

export type Facility = keyof typeof FACILITIES;

/** The shapes that events are sent in. */
export const SYSLOG_FORMATS = ['rfc5424', 'rfc3164', 'cef', 'leef', 'ecs', 'ocsf'] as const;

export type SyslogFormat = (typeof SYSLOG_FORMATS)[number];

export interface SyslogOrigin extends Origin {
  /** Of honeyport. */
  readonly version: string;
  readonly facility: Facility;
  /** The private enterprise number in the names of structured data. */
  readonly enterprise: number;
}

/** Of a peer's bytes; the log has them all, but a receiver cuts off a message that is too long, and what it says with it. */
const MOST_TEXT = 512;

/**
 * An event as a syslog message of printable ASCII below 8 KiB, without framing. CEF and LEEF stand right after the host
 * name of an RFC 3164 header, where their receivers look for them; JSON is the message of an RFC 5424 one, whose time
 * has a year and a zone.
 */
export function createSyslogFormatter(format: SyslogFormat, origin: SyslogOrigin): LineFormatter {
  const { sensor, pid, version, enterprise } = origin;
  switch (format) {
    case 'rfc5424':
      return modern(origin, createRfc5424Formatter(version, enterprise));
    case 'rfc3164':
      return traditional(origin, (event) => `honeyport[${pid}]: ${formatEventText(event)}`);
    case 'cef':
      return traditional(origin, createCefFormatter({ sensor, pid, version }));
    case 'leef':
      return traditional(origin, createLeefFormatter({ sensor, pid, version }));
    case 'ecs':
      return modern(origin, withoutStructuredData(createEcsFormatter({ sensor, pid, version })));
    case 'ocsf':
      return modern(origin, withoutStructuredData(createOcsfFormatter({ sensor, pid, version })));
  }
}

function withoutStructuredData(formatBody: LineFormatter): LineFormatter {
  return (event) => `- ${formatBody(event)}`;
}

/** Behind RFC 5424's header. */
function modern({ sensor, pid, facility }: SyslogOrigin, formatBody: LineFormatter): LineFormatter {
  const formatTime = createTimeFormatter();
  return (event) => {
    const header = `<${priority(facility, event)}>1 ${formatTime(event.time)} ${sensor} honeyport ${pid}`;
    return `${header} ${event.kind.toUpperCase()} ${formatBody(clip(event))}`;
  };
}

/** Behind RFC 3164's header. */
function traditional({ sensor, facility }: SyslogOrigin, formatBody: LineFormatter): LineFormatter {
  const formatTime = createTraditionalTimeFormatter();
  return (event) =>
    `<${priority(facility, event)}>${formatTime(event.time)} ${sensor} ${formatBody(clip(event))}`;
}

function priority(facility: Facility, { kind }: Event): number {
  return FACILITIES[facility] * 8 + MEANINGS[kind].severity;
}

function clip(event: Event): Event {
  if (event.kind !== 'data' || event.text.length <= MOST_TEXT) return event;
  return { ...event, text: event.text.slice(0, MOST_TEXT) };
}
