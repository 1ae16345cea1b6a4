import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import type { Event } from '../../src/event.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import { parseLine } from '../../src/format/parse-line.ts';
import { createSyslogFormatter, type SyslogFormat } from '../../src/format/syslog.ts';
import { createAuthority } from '../support/certificates.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { startHoneyport } from '../support/listener.ts';
import { cleanUpAfter, createNetwork, type Network } from '../support/namespaces.ts';
import { missingPackages } from '../support/packages.ts';
import { seeing } from '../support/private-files.ts';
import { requireProgram } from '../support/programs.ts';
import { startReceiver } from '../support/receiver.ts';
import { checkRsyslogConfig, startRsyslog } from '../support/rsyslog.ts';
import { everyEvent, fieldsIn } from '../support/siem-events.ts';
import { waitFor } from '../support/wait.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SHIPPED = fileURLToPath(new URL('../../rsyslog/', import.meta.url));
const RECEIVE = fileURLToPath(new URL('../../siem/rsyslog/receive.conf', import.meta.url));
const DOCUMENTATION = new URL('../../docs/siem/', import.meta.url);
const SENSOR = 'web-1';
const PID = 812;
/** Of the user honeyport in these tests. */
const UID = 64_999;
const DEADLINE_MS = 15_000;
const TIME = Date.UTC(2026, 10, 22, 3, 4, 58, 123);
const ENDS = { time: TIME, src: '2001:db8::7', spt: 40112, dst: '2001:db8:1::5', dpt: 23, decoy: 'telnet' };
const HOSTILE = ' src=1.2.3.4 "]\\ \x1b\n<132>1 - x honeyport 1 CONNECT [conn@32473 src="6.6.6.6"] $!a %msg%';
const EVENTS: readonly Event[] = [
  { kind: 'connect', ...ENDS, id: 'a.1', ttl: 52, win: 64240, syn: 'mss:1460,sok,ts,nop,ws:7' },
  { kind: 'data', ...ENDS, id: 'a.2', bytes: 70, guess: 'none', text: HOSTILE },
  { kind: 'allowed', ...ENDS, id: 'a.3', by: 'an "entry"] of \\ mine' },
  { kind: 'suppressed', time: TIME, id: 'a.4', count: 7, reason: 'queue' },
];
const BAN =
  '2026-11-22T03:04:59.004+00:00 web-1 honeyport[640]: ban src=198.51.100.7 until=2026-11-23T03:04:58.000+00:00 count=1 jail="a b" id=k.7 cause=a.1';
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const ORIGIN = { sensor: SENSOR, pid: PID, version, facility: 'local0', enterprise: 32473 } as const;
const formatLine = createLineFormatter({ sensor: SENSOR, pid: PID });

/** What to put before rsyslogd so that there is the daemon's user, who need not exist where tests run. */
function withUser(context: TestContext): string[] {
  const directory = temporaryDirectory(context);
  for (const name of ['passwd', 'group']) {
    const own = name === 'passwd' ? `honeyport:x:${UID}:${UID}::/:/bin/false\n` : `honeyport:x:${UID}:\n`;
    writeFileSync(join(directory, name), readFileSync(`/etc/${name}`, 'utf8') + own);
  }
  return seeing({ '/etc/passwd': join(directory, 'passwd'), '/etc/group': join(directory, 'group') });
}

describe('shipped files', () => {
  for (const file of [...readdirSync(SHIPPED).map((name) => join(SHIPPED, name)), RECEIVE]) {
    test(`rsyslogd accepts ${file.split('/').at(-1)} alone`, (context) => {
      const { code, output } = checkRsyslogConfig(file, withUser(context));
      assert.equal(code, 0, output);
      assert.doesNotMatch(output, /error/i);
    });
  }
  for (const page of ['rsyslog.md', 'elasticsearch.md']) {
    test(`what ${page} installs and copies is there, and rsyslogd accepts it with the stock configuration`, async (context) => {
      const directory = temporaryDirectory(context);
      const commands = commandsOf(page);
      const installed = commands.filter((line) => line.startsWith('apt-get install '));
      const packages = installed.flatMap((line) => line.split(' ').slice(2));
      assert.notEqual(packages.length, 0);
      assert.deepEqual(missingPackages(packages), []);
      const copies = commands.filter((line) => line.startsWith('cp '));
      assert.notEqual(copies.length, 0);
      for (const command of copies) {
        const { status, stderr } = await runShell(command.replace('/etc/rsyslog.d/', `${directory}/`));
        assert.equal(status, 0, stderr);
      }
      const stock = readFileSync('/etc/rsyslog.conf', 'utf8').replace('/etc/rsyslog.d/', `${directory}/`);
      writeFileSync(join(directory, 'rsyslog'), stock);
      assert.ok(commands.includes('rsyslogd -N1'), commands.join('\n'));
      const { code, output } = checkRsyslogConfig(join(directory, 'rsyslog'), withUser(context));
      assert.equal(code, 0, output);
    });
  }
  test('rsyslogd accepts all of them with the stock configuration', (context) => {
    const directory = temporaryDirectory(context);
    const stock = readFileSync('/etc/rsyslog.conf', 'utf8').replace('/etc/rsyslog.d/', SHIPPED);
    writeFileSync(join(directory, 'rsyslog.conf'), stock);
    const { code, output } = checkRsyslogConfig(join(directory, 'rsyslog.conf'), withUser(context));
    assert.equal(code, 0, output);
  });
});

/** A shipped file with the test's paths and receiver. */
function shipped(name: string, directory: string, target: string, port = '514'): string {
  return readFileSync(join(SHIPPED, name), 'utf8')
    .replaceAll('/var/log/honeyport/', `${directory}/log/`)
    .replaceAll('/var/log/', `${directory}/`)
    .replaceAll('/var/spool/rsyslog', `${directory}/spool`)
    .replace('siem.example', target)
    .replace('elasticsearch.example', target)
    .replace(/port="(514|6514|9200)"/, `port="${port}"`)
    .replace('resumeInterval="10"', 'resumeInterval="1"');
}

interface Received {
  readonly time: string;
  readonly host: string;
  readonly app: string;
  readonly pid: string;
  readonly msgid: string;
  readonly pri: string;
  readonly message: string;
  readonly data?: Record<string, Record<string, string>>;
  readonly event?: unknown;
}

function stage(context: TestContext) {
  const directory = temporaryDirectory(context);
  for (const name of ['log', 'spool', 'receiver']) mkdirSync(join(directory, name));
  const cleanUp = cleanUpAfter(context);
  const network: Network = createNetwork();
  cleanUp(() => network.dispose());
  const received = join(directory, 'received.json');
  const receive = readFileSync(RECEIVE, 'utf8')
    .replace('/run/honeyport-receive.sock', join(directory, 'receive.sock'))
    .replace('/var/log/honeyport-received.json', received);
  const log = join(directory, 'log', 'honeyport.log');
  return {
    directory,
    network,
    cleanUp,
    log,
    bans: join(directory, 'log', 'bans.log'),
    messages: () => parseLines(received),
    async startReceiver() {
      const options = { network, host: network.attacker, directory: join(directory, 'receiver') };
      const running = await startRsyslog({ ...options, config: receive });
      cleanUp(() => running.stop('SIGKILL'));
      return running;
    },
    async startSender(config: string) {
      const running = await startRsyslog({ network, host: network.sensor, directory, config });
      cleanUp(() => running.stop('SIGKILL'));
      return running;
    },
  };
}

function parseLines(file: string): Received[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Received);
}

async function count(messages: () => Received[], wanted: number): Promise<Received[]> {
  const what = () => `${wanted} messages; there are ${messages().length}: ${JSON.stringify(messages())}`;
  await waitFor(() => messages().length >= wanted, { deadlineMs: 15_000, what });
  return messages();
}

const ids = (messages: Received[]) => messages.map(({ message }) => / id=([a-z0-9.]+)/.exec(message)?.[1]);
const missing = (messages: Received[], wanted: Set<string>) => {
  const there = new Set(ids(messages));
  return [...wanted].filter((id) => !there.has(id));
};
const connect = (n: number) => `${formatLine({ ...EVENTS[0]!, id: `b.${n}` } as Event)}\n`;

/** A message of the daemon, made of the line that it wrote. */
function asSent(pid: number, format: SyslogFormat = 'rfc5424') {
  const formatMessage = createSyslogFormatter(format, { ...ORIGIN, pid });
  return (line: string) => formatMessage(parseLine(line)!.event);
}

const PORT = 24_300;
/** Says how an attempt to connect to a socket came out. */
const CONNECT = `require('node:net').connect(process.argv[1])
  .on('connect', () => { process.stdout.write('open'); process.exit(); })
  .on('error', ({ code }) => { process.stdout.write(code); process.exit(); })`;

function asUser(uid: number, argv: readonly string[]): [string, string[]] {
  return [requireProgram('setpriv'), [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...argv]];
}

describe('from the files to a SIEM over TCP', () => {
  test('every field arrives, as the daemon itself would send it; what others log as honeyport does not', async (context) => {
    const { directory, network, log, bans, messages, startReceiver, startSender } = stage(context);
    const socket = join(directory, 'dev-log');
    await startReceiver();
    writeFileSync(
      log,
      `${EVENTS.map((event) => `${formatLine(event)}\n`).join('')}2026-11-22T03:04:58.123+00:00 we\n`,
    );
    writeFileSync(bans, `${BAN}\n`);
    await startSender(`
      module(load="imuxsock" SysSock.Use="off")
      input(type="imuxsock" socket="${socket}" createPath="on")
      ${shipped('honeyport.conf', directory, '')}
      ${shipped('honeyport-siem-tcp.conf', directory, network.attacker.ipv4)}
      *.* action(type="omfile" file="${directory}/syslog")`);
    await count(messages, 5);
    const forged = 'connect src=203.0.113.66 spt=1 dst=203.0.113.5 dpt=23 proto=tcp decoy=telnet id=f.1';
    execFileSync(requireProgram('logger'), ['-u', socket, '-t', 'honeyport[812]', forged]);
    const syslog = () =>
      existsSync(`${directory}/syslog`) ? readFileSync(`${directory}/syslog`, 'utf8') : '';
    await waitFor(() => syslog().includes(forged), { deadlineMs: 10_000, what: 'the forged line in syslog' });
    appendFileSync(log, connect(9));
    const all = await count(messages, 6);
    assert.deepEqual(ids(all).sort(), ['a.1', 'a.2', 'a.3', 'a.4', 'b.9', 'k.7']);
    assert.doesNotMatch(syslog(), /id=(a|b|k)\./);

    const format = createSyslogFormatter('rfc5424', ORIGIN);
    for (const event of EVENTS) {
      const got = all.find(({ message }) => message.includes(` id=${event.id}`))!;
      const sent = format(event);
      assert.equal(got.time, '2026-11-22T03:04:58.123+00:00');
      assert.deepEqual(
        [got.host, got.app, got.pid, got.msgid],
        [SENSOR, 'honeyport', '812', event.kind.toUpperCase()],
      );
      assert.equal(`<${got.pri}>`, sent.slice(0, 5));
      const element = Object.entries(got.data!)[0]!;
      assert.equal(element[1].id, event.id, JSON.stringify(got));
      const parameters = Object.entries(element[1]).map(
        ([name, value]) => `${name}="${value.replace(/["\\\]]/g, '\\$&')}"`,
      );
      const own = sent.slice(sent.indexOf('[') + 1, sent.indexOf('[origin') - 1);
      assert.equal([element[0], ...parameters].join(' '), own);
    }
    const ban = all.find(({ msgid }) => msgid === 'BAN')!;
    assert.deepEqual([ban.time, ban.pid], ['2026-11-22T03:04:59.004+00:00', '640']);
    assert.deepEqual(ban.data, {
      'honeyport@32473': {
        src: '198.51.100.7',
        until: '2026-11-23T03:04:58.000+00:00',
        count: '1',
        id: 'k.7',
        cause: 'a.1',
        jail: 'a b',
      },
    });
  });

  test('rotation, a receiver that is away and restarts lose nothing', async (context) => {
    const { directory, network, log, messages, startReceiver, startSender } = stage(context);
    const config =
      shipped('honeyport.conf', directory, '') +
      shipped('honeyport-siem-tcp.conf', directory, network.attacker.ipv4);
    writeFileSync(log, connect(1));
    const first = await startSender(config);
    const receiver = await startReceiver();
    await count(messages, 1);
    renameSync(log, `${log}.1`);
    appendFileSync(`${log}.1`, connect(2));
    appendFileSync(log, connect(3));
    await count(messages, 3);
    const before = first.stderr().length;
    await receiver.stop();
    // TCP takes what is sent before the other side's reset: the first of these may be lost, and is not counted on.
    appendFileSync(log, connect(4));
    appendFileSync(log, connect(4));
    await waitFor(
      () => {
        appendFileSync(log, connect(4));
        return /suspended|omfwd|could not connect|cannot connect/i.test(first.stderr().slice(before));
      },
      {
        deadlineMs: 15_000,
        what: () => `rsyslogd to see that the receiver is away; it said ${first.stderr()}`,
        everyMs: 200,
      },
    );
    for (let n = 5; n <= 1500; n++) appendFileSync(log, connect(n));
    await first.stop();
    appendFileSync(log, connect(1501));
    await startSender(config);
    await startReceiver();
    const wanted = new Set(Array.from({ length: 1501 }, (_, n) => `b.${n + 1}`));
    wanted.delete('b.4');
    await waitFor(() => missing(messages(), wanted).length === 0, {
      deadlineMs: 15_000,
      what: () => `all events; missing are ${missing(messages(), wanted)}`,
    });
    const all = messages();
    const counted = ids(all).filter((id) => id !== 'b.4');
    assert.equal(counted.length, 1500);
  });
});

test('a line that is too long becomes no second one', async (context) => {
  const { directory, network, log, messages, startReceiver, startSender } = stage(context);
  await startReceiver();
  // A line within a line, so placed that it begins where rsyslog's limit of 8 KiB cuts the outer one.
  const head = formatLine({ ...EVENTS[1]!, text: '' } as Event).length - 1;
  const lines = [-2, -1, 0, 1, 2].map((off) => {
    const text = `${'x'.repeat(8192 - head + off)}${formatLine(EVENTS[0]!)} `;
    return `${formatLine({ ...EVENTS[1]!, text } as Event)}\n`;
  });
  writeFileSync(log, `${lines.join('')}${connect(1)}`);
  await startSender(
    shipped('honeyport.conf', directory, '') +
      shipped('honeyport-siem-tcp.conf', directory, network.attacker.ipv4),
  );
  const end = () => messages().some(({ message }) => message.includes(' id=b.1 '));
  await waitFor(end, { deadlineMs: 15_000, what: 'the last line' });
  const all = messages();
  assert.deepEqual(all.map(({ msgid }) => msgid).sort(), ['CONNECT', 'DATA', 'DATA', 'DATA', 'DATA', 'DATA']);
});

describe('from the files to a SIEM over TLS', () => {
  test('goes only to the receiver whose name and authority are configured, with our certificate', async (context) => {
    const directory = temporaryDirectory(context);
    for (const name of ['log', 'spool']) mkdirSync(join(directory, name));
    const [authority, other] = ['authority', 'other'].map((name) => createAuthority(directory, name));
    const own = authority!.issue('sensor');
    const servers = {
      'another authority': other!.issue('siem.example', { names: ['DNS:siem.example'] }),
      'another name': authority!.issue('other.example', { names: ['DNS:other.example'] }),
      right: authority!.issue('siem.example', { names: ['DNS:siem.example'] }),
    };
    const cleanUp = cleanUpAfter(context);
    const subjects: unknown[] = [];
    const receive = async ({ certificate, key }: (typeof servers)['right'], port?: number) => {
      const receiver = await startReceiver({
        ...(port === undefined ? {} : { port }),
        tls: {
          cert: readFileSync(certificate),
          key: readFileSync(key),
          ca: readFileSync(authority!.certificate),
          requestCert: true,
        },
        onConnection: (socket) => subjects.push((socket as TLSSocket).getPeerCertificate().subject?.CN),
      });
      cleanUp(() => receiver.stop());
      return receiver;
    };
    let receiver = await receive(servers['another authority']);
    const { port } = receiver;
    writeFileSync(
      join(directory, 'log', 'honeyport.log'),
      EVENTS.map((event) => `${formatLine(event)}\n`).join(''),
    );
    const target = shipped('honeyport-siem-tls.conf', directory, '127.0.0.1', String(port))
      .replace('# streamDriver.CertFile', 'streamDriver.CertFile')
      .replace('/etc/honeyport/siem-ca.pem', authority!.certificate)
      .replace('/etc/honeyport/siem-client.pem', own.certificate)
      .replace('/etc/honeyport/siem-client.key', own.key);
    const running = await startRsyslog({
      directory,
      config: shipped('honeyport.conf', directory, '') + target,
    });
    cleanUp(() => running.stop('SIGKILL'));
    const complaint = (wanted: RegExp) =>
      waitFor(() => wanted.test(running.stderr()), {
        deadlineMs: DEADLINE_MS,
        what: () => `${wanted} in ${running.stderr()}`,
      });
    await complaint(/not signed by a trusted|signer not found|not trusted|invalid/i);
    assert.deepEqual(receiver.messages, []);
    await receiver.stop();
    receiver = await receive(servers['another name'], port);
    await complaint(/other\.example/);
    assert.deepEqual(receiver.messages, []);
    await receiver.stop();
    subjects.length = 0;
    receiver = await receive(servers.right, port);
    await waitFor(() => receiver.messages.length >= EVENTS.length, {
      deadlineMs: DEADLINE_MS,
      what: () => `${EVENTS.length} messages, got ${receiver.messages} ${running.stderr()}`,
    });
    const format = createSyslogFormatter('rfc5424', ORIGIN);
    // the file does not tell the version and the sequence of what the daemon sends
    const fromFile = (event: Event) => format(event).replace(/\[origin [^\]]*\]\[meta [^\]]*\]/, '');
    assert.deepEqual(receiver.messages, EVENTS.map(fromFile));
    assert.deepEqual([...new Set(subjects)], ['sensor']);
  });
});

test("the daemon's user alone can write to the socket, and the SIEM gets each byte, also after a crash of rsyslogd", async (context) => {
  const directory = temporaryDirectory(context);
  for (const name of ['spool', 'daemon']) mkdirSync(join(directory, name));
  chmodSync(directory, 0o711);
  const run = join(directory, 'run');
  for (const command of commandsOf('rsyslog.md').filter((line) => line.includes('tmpfiles'))) {
    const own = command.replaceAll('/etc/tmpfiles.d', directory).replace('/run/honeyport', run);
    const { status, stderr } = await runShell(own, withUser(context));
    assert.equal(status, 0, stderr);
  }
  const made = statSync(run);
  assert.deepEqual([(made.mode & 0o7777).toString(8), made.uid, made.gid], ['750', 0, UID]);
  // so that it is the socket itself that keeps others out
  chmodSync(run, 0o755);
  chownSync(join(directory, 'daemon'), UID, UID);
  const cleanUp = cleanUpAfter(context);
  const network = createNetwork();
  cleanUp(() => network.dispose());
  const receiver = await startReceiver();
  cleanUp(() => receiver.stop());
  const socket = join(run, 'rsyslog.sock');
  const config = shipped('honeyport-socket.conf', directory, '127.0.0.1', String(receiver.port)).replaceAll(
    '/run/honeyport/rsyslog.sock',
    socket,
  );
  const start = async () => {
    const running = await startRsyslog({ directory, config, before: withUser(context) });
    cleanUp(() => running.stop('SIGKILL'));
    return running;
  };
  const first = await start();
  await waitFor(() => existsSync(socket), {
    deadlineMs: DEADLINE_MS,
    what: () => `the socket: ${first.stderr()}`,
  });
  const { mode, uid, gid } = statSync(socket);
  assert.deepEqual([(mode & 0o7777).toString(8), uid, gid], ['600', UID, UID]);
  const connectAs = (user: number) =>
    spawnSync(...asUser(user, [process.execPath, '-e', CONNECT, socket]), {
      encoding: 'utf8',
      timeout: DEADLINE_MS,
    }).stdout;
  assert.equal(connectAs(65_534), 'EACCES');
  assert.equal(connectAs(UID), 'open');

  const [setpriv, options] = asUser(UID, []);
  const honeyport = await startHoneyport({
    dir: join(directory, 'daemon'),
    namespace: network.sensor.namespace,
    wrapper: [setpriv, ...options],
    config: `sensor: ${SENSOR}
decoys: [{ name: one, ports: ${PORT} }]
guard: off
log:
  file: { path: LOG }
  console: off
  syslog: [{ address: "unix://${socket}", format: rfc5424 }]
`,
  });
  cleanUp(() => honeyport.stop());
  const { sensor, attacker } = network;
  const knock = async () =>
    assert.equal(await network.connect({ from: attacker.ipv6, to: sensor.ipv6, port: PORT }), 'open');
  const expected = () => honeyport.lines().map(asSent(honeyport.pid));
  const arrived = (n: number) =>
    waitFor(() => honeyport.lines().length >= n && new Set(receiver.messages).size >= n, {
      deadlineMs: DEADLINE_MS,
      what: () => `${n} messages, got ${receiver.messages.join('\n')}\n${honeyport.stderr()}`,
    });
  await knock();
  await arrived(2);
  await first.stop('SIGKILL');
  assert.ok(existsSync(socket), 'the socket is left behind');
  await knock();
  await start();
  await knock();
  await arrived(4);
  assert.deepEqual([...new Set(receiver.messages)], expected());
});

/** Sends the messages on standard input, one on each line, over `udp`, `tcp` or `unix`. */
const SEND = `
  const [wire, address] = process.argv.slice(1);
  const messages = require('node:fs').readFileSync(0, 'latin1').split('\\n').filter(Boolean);
  if (wire === 'udp') {
    const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
    Promise.all(messages.map((message) => new Promise((sent) => socket.send(message, 514, address, sent)))).then(() => socket.close());
  } else {
    require('node:net').connect(wire === 'unix' ? { path: address } : { host: address, port: 514 })
      .end(messages.map((message) => message.length + ' ' + message).join(''));
  }`;

describe('the receiving side', () => {
  for (const wire of ['udp', 'tcp', 'unix'] as const) {
    for (const format of ['rfc5424', 'ecs', 'ocsf'] as const) {
      test(`gives back every field of every event, in ${format} over ${wire}`, async (context) => {
        const { directory, network, messages, startReceiver } = stage(context);
        await startReceiver();
        const events = everyEvent();
        const formatMessage = createSyslogFormatter(format, ORIGIN);
        const input = events.map((event) => `${formatMessage(event)}\n`).join('');
        const address = wire === 'unix' ? join(directory, 'receive.sock') : network.attacker.ipv6;
        const sent = network.run(network.sensor, [process.execPath, '-e', SEND, wire, address], { input });
        assert.equal(sent.code, 0, sent.stderr);
        const all = await count(messages, events.length);
        assert.deepEqual(
          all,
          events.map((event) => asReceived(event, format)),
        );
      });
    }
  }

  test('takes what the daemon sends in three formats over three wires', async (context) => {
    const { directory, network, messages, startReceiver, cleanUp } = stage(context);
    await startReceiver();
    const { ipv4, ipv6 } = network.attacker;
    const honeyport = await startHoneyport({
      namespace: network.sensor.namespace,
      config: `sensor: ${SENSOR}
decoys: [{ name: one, ports: ${PORT} }]
guard: off
log:
  file: { path: LOG }
  console: off
  syslog:
    - { address: "udp://${ipv4}:514", format: rfc5424 }
    - { address: "tcp://[${ipv6}]:514", format: ecs }
    - { address: "unix://${directory}/receive.sock", format: ocsf }
`,
    });
    cleanUp(() => honeyport.stop());
    assert.equal(await network.connect({ from: ipv6, to: network.sensor.ipv6, port: PORT }), 'open');
    assert.equal(await network.connect({ from: ipv4, to: network.sensor.ipv4, port: PORT }), 'open');
    await honeyport.waitForLine((line) => line.includes(`src=${ipv4} `));
    const all = await count(messages, 9);
    for (const format of ['rfc5424', 'ecs', 'ocsf'] as const) {
      const wanted = honeyport
        .lines()
        .map((line) => asReceived(parseLine(line)!.event, format, honeyport.pid));
      const isOfFormat = (message: Received) => wanted.some(({ message: text }) => text === message.message);
      assert.deepEqual(all.filter(isOfFormat), wanted);
    }
  });
});

/** What the receiving side is to write of an event. */
function asReceived(event: Event, format: 'rfc5424' | 'ecs' | 'ocsf', pid = PID): Received {
  const formatMessage = (as: SyslogFormat) => createSyslogFormatter(as, { ...ORIGIN, pid })(event);
  const [, pri, time, text] = /^<(\d+)>1 (\S+) \S+ honeyport \d+ [A-Z]+ (.*)$/s.exec(formatMessage(format))!;
  const header = {
    time: time!,
    host: SENSOR,
    app: 'honeyport',
    pid: String(pid),
    msgid: event.kind.toUpperCase(),
    pri: pri!,
  };
  if (format !== 'rfc5424') {
    const json = text!.slice(2);
    return { ...header, message: json, event: JSON.parse(json) };
  }
  const traditional = formatMessage('rfc3164');
  const name = 'spt' in event ? 'conn@32473' : 'honeyport@32473';
  return {
    ...header,
    message: traditional.slice(traditional.indexOf(']: ') + 3),
    data: {
      [name]: fieldsIn(traditional),
      origin: { software: 'honeyport', swversion: version },
      meta: { sequenceid: event.id.split('.')[1]! },
    },
  };
}

interface Item {
  readonly id: string;
  readonly document: Record<string, unknown>;
}
/** The answer to a whole request, or the status of each of its documents. */
type Answer = { readonly status: number; readonly body: string } | ((item: Item) => number);

/** Takes documents as Elasticsearch does, as far as omelasticsearch can tell. */
async function startElasticsearch(
  context: TestContext,
  answers: readonly Answer[] = [],
  port = 0,
  tls?: { readonly certificate: string; readonly key: string },
) {
  const authorizations = new Set<string | undefined>();
  const stored = new Map<string, Record<string, unknown>>();
  const paths = new Set<string>();
  let requests = 0;
  const store = (items: readonly Item[], answer: (item: Item) => number) =>
    items.map((item) => {
      const { id, document } = item;
      const status = stored.has(id) ? 409 : answer(item);
      if (status === 201) stored.set(id, document);
      const error = status === 201 ? {} : { error: { type: `type_${status}`, reason: 'a reason' } };
      return { create: { _index: 'logs-honeyport.events-default', _id: id, status, ...error } };
    });
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    authorizations.add(request.headers.authorization);
    let body = '';
    for await (const text of request.setEncoding('utf8')) body += text;
    response.setHeader('content-type', 'application/json');
    if (request.method === 'GET') return response.end('{}');
    const answer = answers[requests] ?? answers.at(-1) ?? (() => 201);
    requests += 1;
    if (typeof answer !== 'function') {
      response.statusCode = answer.status;
      return response.end(answer.body);
    }
    const lines = body
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
    const items = lines.flatMap((line, n) =>
      n % 2 === 0 ? [{ id: String(line.create._id), document: lines[n + 1] }] : [],
    );
    for (const line of lines.filter((_, n) => n % 2 === 0)) paths.add(`${request.url} ${line.create._index}`);
    const results = store(items, answer);
    return response.end(
      JSON.stringify({
        took: 1,
        errors: results.some(({ create }) => create.status !== 201),
        items: results,
      }),
    );
  };
  const server =
    tls === undefined
      ? createServer(take)
      : createSecureServer({ cert: readFileSync(tls.certificate), key: readFileSync(tls.key) }, take);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  context.after(stop);
  return {
    port: (server.address() as AddressInfo).port,
    stored,
    paths,
    authorizations,
    requests: () => requests,
    stop,
  };
}

const BAN_LINES = [
  BAN,
  BAN.replace(': ban ', ': prolong ').replace('id=k.7', 'id=k.8').replace('jail="a b"', 'jail=honeyport'),
  '2026-11-22T03:04:59.004+00:00 web-1 honeyport[640]: unban src=2001:db8::/32 reason=manual jail=honeyport id=k.9',
  '2026-11-22T03:04:59.004+00:00 web-1 honeyport[640]: would-ban src=198.51.100.7 until=never count=1 jail=honeyport id=k.10 cause=a.1 net=198.51.100.0/24',
];

/** The document of a line of bans; nothing but rsyslog makes one, so it stands here in full. */
function banDocument(line: string, event: object, rest: object) {
  return {
    '@timestamp': '2026-11-22T03:04:59.004+00:00',
    message: line.slice(line.indexOf(']: ') + 3),
    ecs: { version: '8.17.0' },
    event: {
      kind: 'event',
      category: ['intrusion_detection'],
      outcome: 'success',
      module: 'honeyport',
      dataset: 'honeyport.events',
      severity: 5,
      ...event,
    },
    observer: { hostname: SENSOR, vendor: 'honeyport', product: 'honeyport', type: 'honeypot' },
    process: { name: 'fail2ban', pid: 640 },
    ...rest,
  };
}

const BANNED = { source: { address: '198.51.100.7', ip: '198.51.100.7' }, related: { ip: ['198.51.100.7'] } };
const UNTIL = '2026-11-23T03:04:58.000+00:00';
const BAN_DOCUMENTS = {
  'web-1-k.7': banDocument(
    BAN_LINES[0]!,
    { id: 'k.7', action: 'ban', sequence: 7, type: ['denied'] },
    { ...BANNED, honeyport: { until: UNTIL, count: 1, jail: 'a b', cause: 'a.1' } },
  ),
  'web-1-k.8': banDocument(
    BAN_LINES[1]!,
    { id: 'k.8', action: 'prolong', sequence: 8, type: ['denied'] },
    { ...BANNED, honeyport: { until: UNTIL, count: 1, jail: 'honeyport', cause: 'a.1' } },
  ),
  'web-1-k.9': banDocument(
    BAN_LINES[2]!,
    { id: 'k.9', action: 'unban', sequence: 9, type: ['info'], reason: 'manual' },
    { source: { address: '2001:db8::/32' }, honeyport: { jail: 'honeyport' } },
  ),
  'web-1-k.10': banDocument(
    BAN_LINES[3]!,
    { id: 'k.10', action: 'would-ban', sequence: 10, type: ['info'] },
    { ...BANNED, honeyport: { count: 1, jail: 'honeyport', cause: 'a.1', net: '198.51.100.0/24' } },
  ),
};

/** What the daemon itself sends as ECS, with what the file does not tell: the text for the sentence, no version. */
function eventDocument(event: Event) {
  const sent = createSyslogFormatter('ecs', ORIGIN)(event);
  const document = JSON.parse(sent.slice(sent.indexOf('{')));
  const line = formatLine(event);
  document['@timestamp'] = line.slice(0, line.indexOf(' '));
  document.message = line.slice(line.indexOf(']: ') + 3);
  if (event.kind === 'start') document.observer.version = event.version;
  else delete document.observer.version;
  return document;
}

describe('from the files to Elasticsearch', () => {
  const prepare = (context: TestContext) => {
    const directory = temporaryDirectory(context);
    for (const name of ['log', 'spool']) mkdirSync(join(directory, name));
    const cleanUp = cleanUpAfter(context);
    const start = async (port: number, edit: (target: string) => string = (target) => target) => {
      const target = shipped('honeyport-elasticsearch.conf', directory, '127.0.0.1', String(port));
      const config = shipped('honeyport.conf', directory, '') + edit(target);
      const running = await startRsyslog({ directory, config });
      cleanUp(() => running.stop('SIGKILL'));
      return running;
    };
    return { log: join(directory, 'log', 'honeyport.log'), directory, start };
  };

  test('documents are those of the format ecs, and bans have ECS of their own', async (context) => {
    const { directory, log, start } = prepare(context);
    const events = everyEvent();
    writeFileSync(log, events.map((event) => `${formatLine(event)}\n`).join(''));
    writeFileSync(join(directory, 'log', 'bans.log'), BAN_LINES.map((line) => `${line}\n`).join(''));
    const { port, stored, paths } = await startElasticsearch(context);
    const running = await start(port);
    await waitFor(() => stored.size >= events.length + BAN_LINES.length, {
      deadlineMs: DEADLINE_MS,
      what: () => `all documents: ${[...stored.keys()]} ${running.stderr()}`,
    });
    const wanted = events.map((event) => [`web-1-${event.id}`, eventDocument(event)]);
    assert.deepEqual(Object.fromEntries(stored), { ...Object.fromEntries(wanted), ...BAN_DOCUMENTS });
    assert.deepEqual([...paths], ['/_bulk logs-honeyport.events-default']);
  });

  test('what is not taken is sent again, what never will be is in the file of errors, and nothing waits for it', async (context) => {
    const { directory, log, start } = prepare(context);
    const ids = Array.from({ length: 40 }, (_, n) => `web-1-b.${n + 1}`);
    writeFileSync(log, ids.map((_, n) => connect(n + 1)).join(''));
    const away = await startElasticsearch(context);
    away.stop();
    const running = await start(away.port);
    await waitFor(() => /suspending/.test(running.stderr()), {
      deadlineMs: DEADLINE_MS,
      what: () => `rsyslogd to find Elasticsearch away; it said ${running.stderr()}`,
    });
    let busy = 0;
    const some = ({ id }: Item) => {
      if (id === 'web-1-b.2') return 400;
      if (id !== 'web-1-b.3' || busy === 2) return 201;
      busy += 1;
      return 429;
    };
    const proxy = { status: 503, body: '<html>Service Unavailable</html>' };
    const { stored } = await startElasticsearch(context, [proxy, some], away.port);
    const taken = ids.filter((id) => id !== 'web-1-b.2');
    await waitFor(() => taken.every((id) => stored.has(id)), {
      deadlineMs: DEADLINE_MS,
      what: () => `all documents but one: ${[...stored.keys()]} ${running.stderr()}`,
    });
    assert.equal(busy, 2);
    assert.deepEqual([...stored.keys()].sort(), taken.sort());
    const errors = join(directory, 'honeyport-elasticsearch.err');
    await waitFor(() => existsSync(errors) && readFileSync(errors, 'utf8').endsWith('\n'), {
      deadlineMs: DEADLINE_MS,
      what: 'the file of errors',
    });
    const [{ answer, document }] = readFileSync(errors, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual([answer.status, answer.error.type, document.event.id], [400, 'type_400', 'b.2']);
  });

  test('over HTTPS with a password, to nobody whom another authority signed', async (context) => {
    const { directory, log, start } = prepare(context);
    const [authority, other] = ['authority', 'other'].map((name) => createAuthority(directory, name));
    const names = { names: ['IP:127.0.0.1'] };
    writeFileSync(log, connect(1));
    const wrong = await startElasticsearch(context, [], 0, other!.issue('server', names));
    const secure = `usehttps="on" tls.cacert="${authority!.certificate}" uid="honeyport" pwd="a-secret"`;
    const running = await start(wrong.port, (target) =>
      target.replace('serverport=', `${secure} serverport=`),
    );
    await waitFor(() => /certificate/i.test(running.stderr()), {
      deadlineMs: DEADLINE_MS,
      what: () => `rsyslogd to complain of the certificate; it said ${running.stderr()}`,
    });
    assert.deepEqual([...wrong.authorizations, wrong.stored.size], [0]);
    wrong.stop();
    const right = await startElasticsearch(context, [], wrong.port, authority!.issue('server', names));
    await waitFor(() => right.stored.size === 1, {
      deadlineMs: DEADLINE_MS,
      what: () => `the document; rsyslogd said ${running.stderr()}`,
    });
    const basic = `Basic ${Buffer.from('honeyport:a-secret').toString('base64')}`;
    assert.deepEqual([...right.authorizations], [basic]);
  });

  test('a request that is refused as a whole is in the file of errors, from which it can be sent', async (context) => {
    const { directory, log, start } = prepare(context);
    writeFileSync(log, connect(1));
    const full = { status: 429, body: '{"error":{"type":"circuit_breaking_exception"},"status":429}' };
    const { port, stored, requests } = await startElasticsearch(context, [full, () => 201]);
    await start(port);
    const errors = join(directory, 'honeyport-elasticsearch.err');
    await waitFor(() => existsSync(errors) && readFileSync(errors, 'utf8').endsWith('\n'), {
      deadlineMs: DEADLINE_MS,
      what: 'the file of errors',
    });
    assert.deepEqual([requests(), stored.size], [1, 0]);
    const command = commandsOf('elasticsearch.md')
      .find((line) => line.startsWith('jq '))!
      .replace('/var/log/', `${directory}/`)
      .replace('elasticsearch.example:9200', `127.0.0.1:${port}`);
    const { status, stderr } = await runShell(command);
    assert.equal(status, 0, stderr);
    const wanted = { ...EVENTS[0]!, id: 'b.1' } as Event;
    assert.deepEqual(Object.fromEntries(stored), { 'web-1-b.1': eventDocument(wanted) });
  });
});

test('a receiver that is away, with its queue full, does not hold up another one', async (context) => {
  const directory = temporaryDirectory(context);
  for (const name of ['log', 'spool']) mkdirSync(join(directory, name));
  const cleanUp = cleanUpAfter(context);
  const away = await startReceiver();
  await away.stop();
  const { port, stored } = await startElasticsearch(context);
  const ids = Array.from({ length: 300 }, (_, n) => `web-1-b.${n + 1}`);
  writeFileSync(join(directory, 'log', 'honeyport.log'), ids.map((_, n) => connect(n + 1)).join(''));
  const full = shipped('honeyport-siem-tcp.conf', directory, '127.0.0.1', String(away.port))
    .replace('queue.size="10000"', 'queue.size="50"')
    .replace('queue.maxDiskSpace="1g"', 'queue.maxDiskSpace="20k"');
  const stats = join(directory, 'stats');
  const running = await startRsyslog({
    directory,
    config:
      `module(load="impstats" interval="1" log.file="${stats}" log.syslog="off")\n` +
      shipped('honeyport.conf', directory, '') +
      full +
      shipped('honeyport-elasticsearch.conf', directory, '127.0.0.1', String(port)),
  });
  cleanUp(() => running.stop('SIGKILL'));
  await waitFor(() => stored.size >= ids.length, {
    deadlineMs: DEADLINE_MS,
    what: () => `all documents, got ${stored.size}; rsyslogd said ${running.stderr()}`,
  });
  assert.deepEqual([...stored.keys()].sort(), ids.sort());
  const counted = () => existsSync(stats) && readFileSync(stats, 'utf8');
  await waitFor(() => /honeyport-siem-tcp: .*discarded\.full=[1-9]/.test(counted() || ''), {
    deadlineMs: DEADLINE_MS,
    what: () => `what is left out to be counted: ${counted()}`,
  });
});

/** The commands of a page: its indented blocks. */
function commandsOf(page: string): string[] {
  const text = readFileSync(new URL(page, DOCUMENTATION), 'utf8');
  return text.split('\n').flatMap((line) => (line.startsWith('    ') ? [line.slice(4)] : []));
}

/** Runs a command line without holding up the servers of this process. */
async function runShell(
  command: string,
  before: readonly string[] = [],
): Promise<{ status: number | null; stderr: string }> {
  const [program, ...args] = [...before, 'sh', '-ec', command];
  const child = spawn(program!, args, {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: DEADLINE_MS,
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [status] = await once(child, 'close');
  return { status, stderr };
}
