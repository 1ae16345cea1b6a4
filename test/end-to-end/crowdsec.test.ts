import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import type { Event } from '../../src/event.ts';
import { fieldsOf } from '../../src/format/fields.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import { createSyslogFormatter, SYSLOG_FORMATS, type SyslogFormat } from '../../src/format/syslog.ts';
import { type Crowdsec, createCrowdsec } from '../support/crowdsec.ts';
import { createNetwork, type Network } from '../support/namespaces.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 15_000;
const UDP_PORT = 4514;
const PID = 812;
const TIME = Date.UTC(2026, 10, 22, 3, 4, 58, 123);
const DATE = '2026-11-22T03:04:58.123+00:00';
/** crowdsecurity/syslog-logs takes no host with an underscore; our own parser does. */
const SENSOR = 'web_1';

/** Hostile bytes that would be bannable lines if anybody took them for such. */
const FORGED = `"] \\" ${DATE} web-1 honeyport[1]: connect src=192.0.2.66 spt=1 dst=192.0.2.1 dpt=1 proto=tcp decoy=x id=a.1`;
const HOSTILE = `GET "\\ connect src=192.0.2.66 ${FORGED}\n${FORGED}\r\n<132>1 ${DATE} web-1 honeyport 1 CONNECT - ${FORGED}\x1b[2J`;

/** An event of each kind; only the first sources are bannable. `net` tells one test's sources from another's. */
function samples(net: number): Event[] {
  const ends = { spt: 40_112, dst: '203.0.113.5', dpt: 23, decoy: 'telnet' };
  const connection = (n: number) => ({ time: TIME, id: `7f3k9q2x.${n}`, src: `198.51.${net}.${n}`, ...ends });
  const recorded = (n: number) => ({ time: TIME, id: `7f3k9q2x.${n}` });
  const syn = { ttl: 52, win: 64_240, syn: 'mss:1460,sok,ts,nop,ws:7' };
  return [
    { kind: 'connect', ...connection(1), ...syn },
    { kind: 'connect', ...connection(2), src: `2001:db8:${net}::2`, dst: '2001:db8:ffff::5' },
    { kind: 'allowed', ...connection(3), by: '198.51.100.0/24 "x" src=192.0.2.66' },
    { kind: 'withheld', ...connection(4), reason: 'cookie' },
    { kind: 'data', ...connection(5), bytes: 400, guess: 'http', text: HOSTILE },
    { kind: 'close', ...connection(6), duration_ms: 12, rx: 3, tx: 4, by: 'peer' },
    {
      kind: 'suppressed',
      ...recorded(7),
      src: `198.51.${net}.7`,
      count: 9,
      dpt: '22,80-90',
      reason: 'rate',
    },
    { kind: 'suppressed', ...recorded(8), count: 9, reason: 'queue', receiver: 'tls://[2001:db8::1]:6514' },
    { kind: 'start', ...recorded(9), version: '0.1.0', schema: 1, decoys: 2, ports: 3 },
    { kind: 'reload', ...recorded(10), result: 'applied', decoys: 2, ports: 3 },
    { kind: 'stop', ...recorded(11), signal: 'SIGTERM' },
  ];
}

const bannable = (net: number) => [`198.51.${net}.1`, `2001:db8:${net}::2`];

const BAN_LINES = ['ban', 'prolong', 'would-ban']
  .map(
    (event) =>
      `${event} src=198.51.100.99 until=never count=1 jail=honeyport id=k2v90qzd.7 cause=7f3k9q2x.42`,
  )
  .map((text) => `${DATE} ${SENSOR} honeyport[640]: ${text}`);

const formatLine = createLineFormatter({ sensor: SENSOR, pid: PID });
const linesOf = (events: readonly Event[]) => `${events.map(formatLine).join('\n')}\n`;

/** The names that crowdsec's parsers have for some of our keys. */
const CROWDSEC_NAME: Readonly<Record<string, string>> = {
  src: 'src_ip',
  spt: 'src_port',
  dst: 'dst_ip',
  dpt: 'dst_port',
};

/** What the parser is to make of an event's keys, told from the event and not from the line. */
function parsedOf(event: Event): Record<string, string> {
  const fields = fieldsOf(event).map(([name, value]) => [
    CROWDSEC_NAME[name] ?? name,
    writtenValue(name, `${value}`),
  ]);
  return { ...Object.fromEntries(fields), ...('spt' in event ? { proto: 'tcp' } : {}) };
}

function writtenValue(name: string, value: string): string {
  const inner = value.replaceAll('"', '\\"');
  return name === 'text' || /^[A-Za-z0-9._:,/+@-]+$/.test(value) ? inner : `"${inner}"`;
}

function metaOf(event: Event, machine: string): Record<string, string> {
  const { src_ip, dst_ip, dst_port, decoy, id } = parsedOf(event);
  const meta = { source_ip: src_ip, dest_ip: dst_ip, dest_port: dst_port, decoy, honeyport_id: id };
  const present = Object.entries(meta).filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(present),
    machine,
    service: 'tcp',
    log_type: `honeyport_${event.kind}`,
  } as Record<string, string>;
}

interface ParsedLine {
  readonly success: boolean;
  readonly evt: {
    readonly Line: { readonly Raw: string };
    readonly StrTime: string;
    readonly Parsed: Record<string, string>;
    readonly Meta: Record<string, string>;
  };
}

describe("crowdsec of this machine's Debian", () => {
  let network: Network;
  let crowdsec: Crowdsec;

  const decisions = (): { source: string; scenario: string; type: string }[] => {
    const alerts = JSON.parse(crowdsec.shell('cscli alerts list --limit 0 -o json')) as
      | { scenario: string; source: { value: string }; decisions: { type: string; value: string }[] }[]
      | null;
    return (alerts ?? []).flatMap(({ scenario, decisions }) =>
      decisions.map(({ type, value }) => ({ source: value, scenario, type })),
    );
  };
  const decided = (prefixes: readonly string[]) =>
    decisions()
      .map(({ source }) => source)
      .filter((source) => prefixes.some((prefix) => source.startsWith(prefix)))
      .sort();
  const log = () => join(crowdsec.logDirectory, 'honeyport.log');

  /** Gives lines to the engine by the command of the docs, and what it made of each of them with our parser. */
  const explain = (text: string, type: string): ParsedLine[] => {
    writeFileSync(join(crowdsec.logDirectory, 'explained.log'), text);
    crowdsec.shell(`cscli explain --file /var/log/honeyport/explained.log --type ${type}`);
    return resultsOf('s01-parse', 'honeyport/honeyport-logs');
  };
  const resultsOf = (stage: string, parser: string): ParsedLine[] =>
    parse(crowdsec.shell('cat "$TMPDIR/parser-dump.yaml"'))[stage][parser];

  before(async () => {
    network = createNetwork();
    crowdsec = createCrowdsec(network, network.sensor);
    writeFileSync(log(), '');
    for (const command of documentedCommands().filter((line) => !line.startsWith('cscli ')))
      crowdsec.shell(command);
    const example = join(crowdsec.configuration, 'acquis.d/honeyport-syslog.yaml');
    renameSync(`${example}.example`, example);
    const text = readFileSync(example, 'utf8');
    // The rest is as shipped; the sender is another host.
    writeFileSync(example, text.replace('listen_addr: 127.0.0.1', `listen_addr: ${network.sensor.ipv4}`));
    crowdsec.shell('crowdsec -t');
    await crowdsec.start();
  });
  after(async () => {
    await crowdsec?.dispose();
    network?.dispose();
  });

  test('the parser gives every key of every event, the time of the line and the sensor', () => {
    const events = samples(100);
    const results = explain(linesOf(events), 'honeyport');
    assert.equal(results.length, events.length);
    for (const [i, event] of events.entries()) {
      const { success, evt } = results[i]!;
      assert.equal(success, true, evt.Line.Raw);
      assert.equal(evt.StrTime, DATE);
      const { message: _, program, sensor, pid, timestamp8601, timestamp, ...parsed } = evt.Parsed;
      assert.deepEqual(
        { program, sensor, pid, timestamp8601, timestamp: timestamp ?? '' },
        {
          program: 'honeyport',
          sensor: SENSOR,
          pid: `${PID}`,
          timestamp8601: DATE,
          timestamp: '',
        },
      );
      const present = Object.fromEntries(Object.entries(parsed).filter(([, value]) => value !== ''));
      assert.deepEqual(present, parsedOf(event));
      const { datasource_path, datasource_type, ...meta } = evt.Meta;
      assert.deepEqual({ datasource_type }, { datasource_type: 'file' });
      assert.match(datasource_path!, /explained\.log$/);
      assert.deepEqual(meta, metaOf(event, SENSOR));
    }
    assert.deepEqual(
      resultsOf('s02-enrich', 'crowdsecurity/dateparse-enrich').map(({ evt }) =>
        Date.parse(evt.Meta.timestamp!),
      ),
      events.map(() => TIME),
    );
  });

  test('crowdsecurity/syslog-logs takes the same lines when the sensor is a host name, and no underscore', () => {
    const events = samples(100);
    const format = createLineFormatter({ sensor: 'web-1.example', pid: PID });
    const results = explain(`${events.map(format).join('\n')}\n${linesOf(events)}`, 'syslog');
    assert.deepEqual(
      results.map(({ evt }) => [evt.StrTime, evt.Meta.machine, evt.Meta.log_type, evt.Parsed.id]),
      events.map(({ kind, id }) => [DATE, 'web-1.example', `honeyport_${kind}`, id]),
    );
  });

  test('lines of bans and lines that only resemble ours are not parsed', () => {
    const lines = linesOf(samples(100)).split('\n');
    const connect = lines[0]!;
    const data = lines[4]!;
    const wrong = [
      ...BAN_LINES,
      `x${connect}`,
      connect.replace('connect ', 'connected '),
      connect.replace('198.51', 'host.'),
      connect.replace(' spt=', ' x spt='),
      `${connect} and more`,
      connect.replace('honeyport[', 'sshd['),
      data.replace(/text=.*/, `text="x" ${connect}"`),
    ];
    const results = explain(`${wrong.join('\n')}\n`, 'honeyport');
    assert.deepEqual(
      results.map(({ success }) => success),
      wrong.map(() => false),
    );
  });

  test('of the lines in the file exactly the sources of connect lines are banned', async () => {
    const marker = '198.51.101.200';
    const [connect] = samples(101) as [Event & { kind: 'connect' }];
    const whitelisted: Event = { ...connect, src: '10.1.2.3' };
    // Twice, since a source that goes on is one alert a minute; what is last shows that the rest is through.
    const events = [...samples(101), whitelisted, ...samples(101), { ...connect, src: marker }];
    writeFileSync(log(), `${BAN_LINES.join('\n')}\n${linesOf(events)}`, { flag: 'a' });
    await waitFor(() => decided([marker]).length > 0, { deadlineMs: DEADLINE_MS, what: 'the last decision' });
    const all = decisions();
    assert.deepEqual(all.map(({ source }) => source).sort(), [...bannable(101), marker].sort());
    for (const { scenario, type } of all) {
      assert.deepEqual({ scenario, type }, { scenario: 'honeyport/honeyport-connect', type: 'ban' });
    }
  });

  for (const [i, format] of (['rfc5424', 'rfc3164'] as const).entries()) {
    test(`of ${format} messages over UDP exactly the sources of connect events are banned`, async () => {
      const net = 110 + i;
      const before = decisions().length;
      send(samples(net).reverse(), format);
      await waitFor(() => decided(bannable(net)).length >= 2, { deadlineMs: DEADLINE_MS, what: 'decisions' });
      assert.deepEqual(
        decided(['198.51.100.99', '192.0.2.', `198.51.${net}.`, `2001:db8:${net}:`]),
        bannable(net),
      );
      assert.equal(decisions().length, before + 2);
      const inspected = JSON.parse(crowdsec.shell(`cscli alerts list --ip 198.51.${net}.1 -o json`)) as {
        events: { timestamp: string; meta: { key: string; value: string }[] }[];
      }[];
      const meta = Object.fromEntries(inspected[0]!.events[0]!.meta.map(({ key, value }) => [key, value]));
      const { timestamp, datasource_path, datasource_type, ...rest } = meta;
      assert.deepEqual(rest, metaOf(samples(net)[0]!, 'web-1'));
      assert.equal(datasource_type, 'syslog');
      assert.equal(datasource_path, network.attacker.ipv4);
      // crowdsec writes the head anew, without year and milliseconds, and supplies the present year.
      const year = new Date().getUTCFullYear();
      assert.equal(timestamp, `${year}-11-22T03:04:58Z`);
    });
  }

  test('the other formats lead to no ban', async () => {
    const others = SYSLOG_FORMATS.filter((format) => !['rfc5424', 'rfc3164'].includes(format));
    const before = decisions().length;
    for (const format of others) send(samples(120), format);
    send(samples(121).slice(0, 1), 'rfc5424');
    await waitFor(() => decided(['198.51.121.1']).length === 1, {
      deadlineMs: DEADLINE_MS,
      what: 'a decision',
    });
    assert.equal(decisions().length, before + 1);
  });

  test('the commands of the docs show what they promise', () => {
    for (const command of documentedCommands().filter((line) => line.startsWith('cscli '))) {
      const output = crowdsec.shell(`${command} 2>&1`);
      assert.match(output, /honeyport/, command);
    }
  });

  function send(events: readonly Event[], format: SyslogFormat): void {
    const origin = {
      sensor: 'web-1',
      pid: PID,
      version: '0.1.0',
      facility: 'local0',
      enterprise: 32_473,
    } as const;
    const messages = events.map(createSyslogFormatter(format, origin));
    const { code, stderr } = network.run(
      network.attacker,
      [process.execPath, '-e', SEND, network.sensor.ipv4, `${UDP_PORT}`],
      { input: JSON.stringify(messages) },
    );
    assert.equal(code, 0, stderr);
  }
});

/** One datagram each; a program, since a process cannot change its own namespace. */
const SEND = `
const [host, port] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
const messages = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
let left = messages.length;
for (const message of messages) socket.send(message, Number(port), host, () => --left || socket.close());`;

/** The indented commands of the page, which all begin in the folder above siem/. */
function documentedCommands(): string[] {
  const page = readFileSync(new URL('../../docs/siem/crowdsec.md', import.meta.url), 'utf8');
  const commands = [...page.matchAll(/^ {4}((?:cp|mkdir|cscli) .*)$/gm)].map(([, command]) => command!);
  assert.ok(commands.length >= 6, 'the page has commands');
  return commands;
}
