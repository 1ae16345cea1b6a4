import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ConnectEvent, Event } from '../../src/event.ts';
import { LINE_KEYS } from '../../src/format/line-keys.ts';
import { createSyslogFormatter, SYSLOG_FORMATS, type SyslogFormat } from '../../src/format/syslog.ts';
import { anyEvent } from '../support/events.ts';

const ORIGIN = {
  sensor: 'web-1',
  pid: 812,
  version: '0.1.0',
  facility: 'local0',
  enterprise: 32473,
} as const;
const TIME = Date.UTC(2026, 10, 22, 3, 4, 58, 123);
const HEAD_5424 = '1 2026-11-22T03:04:58.123+00:00 web-1 honeyport 812';
const EVERY_BYTE = Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte)).toString('latin1');

const CONNECT: ConnectEvent = {
  kind: 'connect',
  time: TIME,
  src: '198.51.100.7',
  spt: 40112,
  dst: '203.0.113.5',
  dpt: 23,
  decoy: 'telnet',
  id: '7f3k9q2x.42',
  ttl: 52,
  win: 64240,
  syn: 'mss:1460,sok,ts,nop,ws:7',
};
const { ttl: _ttl, win: _win, syn: _syn, ...ENDS } = CONNECT;

/** One event of each kind, with every key it can have. */
const EVENTS: readonly Event[] = [
  CONNECT,
  { ...CONNECT, src: '2001:db8::7', dst: '2001:db8::5' },
  { ...ENDS, kind: 'allowed', by: 'guard:gateway' },
  { ...ENDS, kind: 'withheld', reason: 'cookie' },
  { ...ENDS, kind: 'data', bytes: 256, guess: 'http', text: EVERY_BYTE },
  { ...ENDS, kind: 'close', duration_ms: 1200, rx: 3, tx: 4, by: 'peer' },
  { kind: 'suppressed', time: TIME, src: '192.0.2.9', count: 3, dpt: '22,80-90', reason: 'rate', id: 'x.5' },
  { kind: 'suppressed', time: TIME, count: 3, reason: 'queue', id: 'x.5', receiver: 'tcp://[::1]:514' },
  { kind: 'start', time: TIME, version: '0.1.0', schema: 1, decoys: 2, ports: 3, id: 'x.1' },
  { kind: 'reload', time: TIME, result: 'refused', decoys: 2, ports: 3, id: 'x.2' },
  { kind: 'stop', time: TIME, signal: 'SIGTERM', id: 'x.3' },
];

function formatAs(format: SyslogFormat, event: Event): string {
  return createSyslogFormatter(format, ORIGIN)(event);
}

test('rfc5424 is header, structured data and the text of the log line', () => {
  const data =
    '[conn@32473 src="198.51.100.7" spt="40112" dst="203.0.113.5" dpt="23" proto="tcp" decoy="telnet" id="7f3k9q2x.42" ttl="52" win="64240" syn="mss:1460,sok,ts,nop,ws:7"]' +
    '[origin software="honeyport" swVersion="0.1.0"][meta sequenceId="42"]';
  const text =
    'connect src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42 ttl=52 win=64240 syn=mss:1460,sok,ts,nop,ws:7';
  assert.equal(formatAs('rfc5424', CONNECT), `<132>${HEAD_5424} CONNECT ${data} ${text}`);
});

test('rfc3164 is the local time, the sensor, the tag and the text of the log line', (context) => {
  inZone(context, 'America/St_Johns', () => {
    assert.equal(
      formatAs('rfc3164', { ...ENDS, kind: 'allowed', by: '198.51.100.0/24' }),
      '<134>Nov 21 23:34:58 web-1 honeyport[812]: allowed src=198.51.100.7 spt=40112 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42 by=198.51.100.0/24',
    );
    const ninth = { kind: 'stop', time: Date.UTC(2026, 2, 9, 12), signal: 'SIGINT', id: 'x.1' } as const;
    assert.match(formatAs('rfc3164', ninth), /^<133>Mar {2}9 09:30:00 web-1 /);
  });
});

test('cef stands behind host name and time of an RFC 3164 header', (context) => {
  inZone(context, 'UTC', () => {
    const head =
      '<132>Nov 22 03:04:58 web-1 CEF:0|Honeyport|honeyport|0.1.0|100|Decoy port connection|5|rt=1795316698123 act=connect cat=decoy proto=TCP ';
    const rest =
      'dpt=23 cs1=telnet cs1Label=decoy externalId=7f3k9q2x.42 cn1=52 cn1Label=ttl cn2=64240 cn2Label=win cs2=mss:1460,sok,ts,nop,ws:7 cs2Label=syn deviceDirection=0 dvchost=web-1 dvcpid=812 msg=';
    assert.equal(
      formatAs('cef', CONNECT),
      `${head}src=198.51.100.7 spt=40112 dst=203.0.113.5 ${rest}198.51.100.7 connected to decoy telnet, port 23`,
    );
    assert.equal(
      formatAs('cef', { ...CONNECT, src: '2001:db8::7', dst: '2001:db8::5' }),
      `${head}c6a2=2001:db8::7 c6a2Label=Source IPv6 Address spt=40112 c6a3=2001:db8::5 c6a3Label=Destination IPv6 Address ${rest}2001:db8::7 connected to decoy telnet, port 23`,
    );
  });
});

test('leef stands behind host name and time of an RFC 3164 header', (context) => {
  inZone(context, 'UTC', () => {
    assert.equal(
      formatAs('leef', CONNECT),
      "<132>Nov 22 03:04:58 web-1 LEEF:2.0|Honeyport|honeyport|0.1.0|CONNECT|^|devTime=2026-11-22T03:04:58.123+0000^devTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ^cat=connect^sev=5^identHostName=web-1^proto=TCP^src=198.51.100.7^srcPort=40112^dst=203.0.113.5^dstPort=23^decoy=telnet^id=7f3k9q2x.42^ttl=52^win=64240^syn=mss:1460,sok,ts,nop,ws:7^msg=198.51.100.7 connected to decoy telnet, port 23",
    );
  });
});

test('ecs is one JSON object behind an RFC 5424 header', () => {
  const [header, document] = splitJson(formatAs('ecs', CONNECT));
  assert.equal(header, `<132>${HEAD_5424} CONNECT - `);
  assert.deepEqual(document, {
    '@timestamp': '2026-11-22T03:04:58.123Z',
    message: '198.51.100.7 connected to decoy telnet, port 23',
    ecs: { version: '8.17.0' },
    event: {
      id: '7f3k9q2x.42',
      kind: 'event',
      category: ['network', 'intrusion_detection'],
      type: ['connection', 'start'],
      action: 'connect',
      outcome: 'success',
      module: 'honeyport',
      dataset: 'honeyport.events',
      sequence: 42,
      severity: 4,
    },
    source: { address: '198.51.100.7', ip: '198.51.100.7', port: 40112 },
    destination: { address: '203.0.113.5', ip: '203.0.113.5', port: 23 },
    network: { transport: 'tcp', type: 'ipv4', direction: 'inbound' },
    related: { ip: ['198.51.100.7', '203.0.113.5'] },
    observer: {
      hostname: 'web-1',
      vendor: 'honeyport',
      product: 'honeyport',
      type: 'honeypot',
      version: '0.1.0',
    },
    process: { name: 'honeyport', pid: 812 },
    honeyport: { decoy: 'telnet', ttl: 52, win: 64240, syn: 'mss:1460,sok,ts,nop,ws:7' },
  });
});

test('ocsf is one JSON object behind an RFC 5424 header', () => {
  const [header, document] = splitJson(
    formatAs('ocsf', {
      ...ENDS,
      kind: 'close',
      src: '2001:db8::7',
      duration_ms: 12,
      rx: 3,
      tx: 4,
      by: 'peer',
    }),
  );
  assert.equal(header, `<134>${HEAD_5424} CLOSE - `);
  assert.deepEqual(document, {
    category_uid: 4,
    category_name: 'Network Activity',
    class_uid: 4001,
    class_name: 'Network Activity',
    activity_id: 2,
    activity_name: 'Close',
    type_uid: 400102,
    severity_id: 1,
    severity: 'Informational',
    status_id: 1,
    status: 'Success',
    time: TIME,
    message: 'conversation of 2001:db8::7 with decoy telnet, port 23, ended by peer',
    metadata: {
      version: '1.3.0',
      product: { name: 'honeyport', vendor_name: 'Honeyport', version: '0.1.0' },
      uid: '7f3k9q2x.42',
      sequence: 42,
      event_code: 'close',
      log_name: 'honeyport',
    },
    device: { hostname: 'web-1', type_id: 0, type: 'Unknown' },
    src_endpoint: { ip: '2001:db8::7', port: 40112 },
    dst_endpoint: { ip: '203.0.113.5', port: 23 },
    connection_info: {
      direction_id: 1,
      direction: 'Inbound',
      protocol_num: 6,
      protocol_name: 'tcp',
      protocol_ver_id: 6,
    },
    duration: 12,
    traffic: { bytes_in: 3, bytes_out: 4 },
    unmapped: { decoy: 'telnet', by: 'peer', pid: 812 },
  });
});

for (const format of SYSLOG_FORMATS) {
  test(`every value of every event stands in ${format}`, () => {
    for (const event of EVENTS) {
      const found = valuesIn(format, formatAs(format, event));
      for (const { name } of LINE_KEYS[event.kind]) {
        // the version is in the product's, where there is one
        const value = (event as unknown as Record<string, string | number | undefined>)[name];
        if (value === undefined || (name === 'version' && format !== 'rfc3164')) continue;
        const wanted = typeof value === 'number' ? String(scaled(format, name, value)) : escaped(value);
        assert.ok(
          found.includes(wanted),
          `${event.kind} ${name}: expected ${wanted} among ${found.join(' | ')}`,
        );
      }
    }
  });

  test(`whatever an event holds, ${format} is one line of printable ASCII`, () => {
    fc.assert(
      fc.property(anyEvent, (event) => {
        assert.match(formatAs(format, event), /^[\x20-\x7e]+$/);
      }),
    );
  });

  test(`a message in ${format} stays below 8 KiB, whatever a peer sends`, () => {
    for (const byte of ['\0', '"', '\\', ']', '^', '=', '\xff']) {
      const text = byte.repeat(65_536);
      const data: Event = {
        ...ENDS,
        kind: 'data',
        bytes: 65_536,
        guess: 'http',
        text,
        decoy: 'd'.repeat(32),
      };
      const message = createSyslogFormatter(format, { ...ORIGIN, sensor: 's'.repeat(255) })(data);
      assert.ok(message.length < 8192, `${message.length} bytes`);
      assert.ok(valuesIn(format, message).includes(escaped(byte.repeat(512))), byte);
    }
  });
}

test('facility, severity and enterprise number are where they belong', () => {
  const format = createSyslogFormatter('rfc5424', { ...ORIGIN, facility: 'authpriv', enterprise: 64512 });
  assert.match(format(CONNECT), /^<84>1 .* CONNECT \[conn@64512 /);
  assert.match(
    format({ kind: 'stop', time: TIME, signal: 'SIGTERM', id: 'x.9' }),
    /^<85>1 .*\[honeyport@64512 /,
  );
});

test('the sequence id of RFC 5424 wraps to 1', () => {
  const sequenceId = (n: number) =>
    /sequenceId="(\d+)"/.exec(formatAs('rfc5424', { ...CONNECT, id: `x.${n}` }))?.[1];
  assert.equal(sequenceId(2_147_483_647), '2147483647');
  assert.equal(sequenceId(2_147_483_648), '1');
});

/** As our texts escape bytes, before the format does. */
function escaped(value: string): string {
  const hex = (character: string) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  return value.replaceAll('\\', '\\\\').replace(/[^\x20-\x7e]/g, hex);
}

/** ECS has durations in nanoseconds. */
function scaled(format: SyslogFormat, name: string, value: number): number {
  return format === 'ecs' && name === 'duration_ms' ? value * 1_000_000 : value;
}

/** All values of a message, as a reader of the format would take them out. */
function valuesIn(format: SyslogFormat, message: string): string[] {
  switch (format) {
    case 'rfc5424':
      return [...message.matchAll(/ [\w]+="((?:[^"\\\]]|\\["\\\]])*)"/g)].map(([, value]) =>
        value!.replace(/\\(["\\\]])/g, '$1'),
      );
    case 'rfc3164':
      return [...message.matchAll(/ \w+=(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))/g)].map(([, quoted, bare]) =>
        quoted === undefined ? bare! : quoted.replaceAll('\\"', '"'),
      );
    case 'cef': {
      const extension = /^.*?CEF:0(?:\|(?:[^|\\]|\\.)*){6}\|(.*)$/.exec(message)![1]!;
      return [...extension.matchAll(/(?:^| )\w+=((?:[^=\\]|\\.)*?)(?= \w+=|$)/g)].map(([, value]) =>
        value!.replace(/\\([\\=])/g, '$1'),
      );
    }
    case 'leef':
      return message
        .replace(/^.*?LEEF:2\.0\|[^|]*\|[^|]*\|[^|]*\|[^|]*\|\^\|/, '')
        .split('^')
        .map((attribute) => attribute.slice(attribute.indexOf('=') + 1).replaceAll('\\x5e', '^'));
    default:
      return leaves(splitJson(message)[1]);
  }
}

function splitJson(message: string): [header: string, document: unknown] {
  const at = message.indexOf('{');
  return [message.slice(0, at), JSON.parse(message.slice(at))];
}

function leaves(value: unknown): string[] {
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(leaves) : [String(value)];
}

function inZone(context: { after: (step: () => void) => void }, zone: string, action: () => void): void {
  const before = process.env.TZ;
  const restore = () => {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  };
  context.after(restore);
  process.env.TZ = zone;
  action();
  restore();
}
