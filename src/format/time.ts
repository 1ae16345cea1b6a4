const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/**
 * RFC 3339 in UTC with milliseconds and numeric offset: the shape of rsyslog's RSYSLOG_FileFormat. Everything down to
 * the second is kept, since a busy second has thousands of lines.
 */
export function createTimeFormatter(): (time: number) => string {
  let second = Number.NaN;
  let prefix = '';
  return (time) => {
    const milliseconds = ((time % 1000) + 1000) % 1000;
    if (time - milliseconds !== second) {
      second = time - milliseconds;
      prefix = new Date(second).toISOString().slice(0, -4);
    }
    const digits = milliseconds < 10 ? '00' : milliseconds < 100 ? '0' : '';
    return `${prefix}${digits}${milliseconds}+00:00`;
  };
}

/** RFC 3164's time, `Nov  2 03:04:58`: that of the host's clock on the wall, since it bears no zone. */
export function createTraditionalTimeFormatter(): (time: number) => string {
  let second = Number.NaN;
  let text = '';
  return (time) => {
    if (Math.floor(time / 1000) !== second) {
      second = Math.floor(time / 1000);
      text = traditionalTime(new Date(time));
    }
    return text;
  };
}

function traditionalTime(date: Date): string {
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) =>
    String(part).padStart(2, '0'),
  );
  return `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${clock.join(':')}`;
}
