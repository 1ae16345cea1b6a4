import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import type { Event } from '../../src/event.ts';
import { createSyslogFormatter, type SyslogFormat } from '../../src/format/syslog.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { readLines, startHoneyport } from '../support/listener.ts';
import { cleanUpAfter } from '../support/namespaces.ts';
import { requireProgram } from '../support/programs.ts';
import { everyEvent, fieldsIn } from '../support/siem-events.ts';
import { checkSyslogNg, type RunningSyslogNg, startSyslogNg, syslogNgVersion } from '../support/syslog-ng.ts';
import { waitFor } from '../support/wait.ts';

const CONFIGURATION = fileURLToPath(new URL('../../siem/syslog-ng/honeyport.conf', import.meta.url));
const PAGE = fileURLToPath(new URL('../../docs/siem/syslog-ng.md', import.meta.url));
const DEADLINE_MS = 15_000;

const ORIGIN = {
  sensor: 'web-1',
  pid: 812,
  version: '0.1.0',
  facility: 'local0',
  enterprise: 32473,
} as const;
const FORMATS = ['rfc5424', 'rfc3164', 'ecs', 'ocsf', 'cef', 'leef'] as const satisfies SyslogFormat[];

describe('siem/syslog-ng/honeyport.conf', () => {
  for (const wire of ['udp', 'tcp', 'tls', 'lf', 'unix'] as const) {
    test(`gives back every key of every event in every format over ${wire}`, async (context) => {
      const receiver = await startReceiver(context);
      const send = await openSender(context, receiver, wire);
      for (const format of FORMATS) {
        const formatEvent = createSyslogFormatter(format, ORIGIN);
        for (const event of everyEvent()) await send(formatEvent(event));
      }
      const count = everyEvent().length;
      await waitForLines(receiver, 'cef.log', 2 * count);
      const keys = (await waitForLines(receiver, 'keys.json', 2 * count)).map((line) => JSON.parse(line));
      const objects = await waitForLines(receiver, 'objects.json', 2 * count);
      assert.deepEqual(keys.slice(0, count), everyEvent().map(keysOf));
      // RFC 3164's time has no milliseconds
      assert.deepEqual(
        keys.slice(count),
        everyEvent().map((event) => keysOf({ ...event, time: event.time - (event.time % 1000) })),
      );
      assert.deepEqual(objects, [...bodies('ecs', / - (\{.*)/), ...bodies('ocsf', / - (\{.*)/)]);
      const texts = readLines(join(receiver.dir, 'cef.log'));
      assert.deepEqual(texts.slice(0, count), bodies('cef', / (web-1 CEF:.*)/).map(withTime));
      assert.deepEqual(texts.slice(count), bodies('leef', / (web-1 LEEF:.*)/).map(withTime));
    });
  }

  test('keeps what is not of honeyport out, and one message one line', async (context) => {
    const receiver = await startReceiver(context);
    const send = await openSender(context, receiver, 'udp');
    const header = '<132>Nov 22 03:04:58 web-1';
    await send(`${header} sshd[7]: connect src=192.0.2.66 spt=1`);
    await send(`${header} honeyport[7]: connect src=192.0.2.66\n{"event":"connect"}`);
    await send(`${header} honeyport[7]: {"event":\n"connect"}`);
    await send(`${header} CEF:0|Honeyport\n2026-11-22T03:04:58+00:00 web-2 CEF:0|Honeyport`);
    await send(createSyslogFormatter('rfc5424', ORIGIN)(everyEvent()[0]!));
    const lines = await waitForLines(receiver, 'keys.json', 2);
    assert.equal(JSON.parse(lines[0]!).pid, '7');
    assert.equal(JSON.parse(lines[1]!).pid, '812');
    assert.equal(lines.length, 2);
    assert.deepEqual(await waitForLines(receiver, 'objects.json', 1), ['{"event": "connect"}']);
    assert.equal((await waitForLines(receiver, 'cef.log', 1)).length, 1);
  });

  test('asks a sensor over tls for a certificate', async (context) => {
    const receiver = await startReceiver(context);
    const socket = connectTls({
      port: receiver.ports[6514]!,
      ca: receiver.certificate('ca'),
      checkServerIdentity,
    });
    context.after(() => socket.destroy());
    socket.on('error', () => {});
    const message = createSyslogFormatter('rfc5424', ORIGIN)(everyEvent()[0]!);
    socket.write(`${message.length} ${message}`);
    await waitFor(() => socket.destroyed, { deadlineMs: DEADLINE_MS, what: 'the connection to end' });
    assert.deepEqual(readLines(join(receiver.dir, 'keys.json')), []);
  });

  test('takes what the listener itself sends over every wire', async (context) => {
    const cleanUp = cleanUpAfter(context);
    const receiver = await startReceiver(context);
    const { dir, ports } = receiver;
    const decoy = await freePort();
    const tls = `{ ca: ${dir}/ca.pem, certificate: ${dir}/client.pem, key: ${dir}/client.key, name: siem.internal }`;
    const honeyport = await startHoneyport({
      config: `
sensor: web-1
decoys: [{ ports: ${decoy} }]
guard: off
log:
  file: { path: LOG }
  syslog:
    - address: udp://127.0.0.1:${ports[514]}
    - { address: "tcp://127.0.0.1:${ports[601]}", format: rfc3164 }
    - { address: "tls://127.0.0.1:${ports[6514]}", tls: ${tls} }
    - { address: "tcp://127.0.0.1:${ports[514]}", framing: lf, format: ecs }
    - { address: "unix://${dir}/events.sock", framing: lf }
`,
    });
    cleanUp(() => honeyport.stop());
    await knock(decoy);
    const line = await honeyport.waitForLine(/ connect src=/);
    const isConnect = (text: string) => JSON.parse(text).event === 'connect';
    const found = await waitFor(
      () => {
        const connects = readLines(join(dir, 'keys.json')).filter(isConnect);
        return connects.length === 4 ? connects : undefined;
      },
      { deadlineMs: DEADLINE_MS, what: () => `4 events; honeyport said:\n${honeyport.stderr()}` },
    );
    const expected = fieldsIn(line);
    for (const text of found) {
      const { pid, sensor, keys } = JSON.parse(text);
      assert.deepEqual(
        { pid, sensor, keys },
        { pid: String(honeyport.pid), sensor: 'web-1', keys: expected },
      );
    }
    const object = await waitFor(
      () => readLines(join(dir, 'objects.json')).find((text) => JSON.parse(text).event.action === 'connect'),
      { deadlineMs: DEADLINE_MS, what: 'the object' },
    );
    assert.equal(JSON.parse(object).event.id, expected.id);
  });

  test('says with what version it was tested, and the page says the same', () => {
    const version = `syslog-ng ${syslogNgVersion()}`;
    for (const file of [CONFIGURATION, PAGE]) assert.ok(readFileSync(file, 'utf8').includes(version), file);
  });

  test('is what the page shows, and its commands work', async (context) => {
    const commands = /```sh\n([\s\S]*?)```/g;
    const shown = [...readFileSync(PAGE, 'utf8').matchAll(commands)].map(([, text]) => text!).join('');
    const receiver = await startReceiver(context);
    const prepared = inDirectory(shown, receiver);
    const certificates = /^openssl [\s\S]*?(?=^(?!openssl ))/m.exec(prepared)?.[0];
    assert.ok(certificates, 'the page makes no certificates');
    execFileSync('sh', ['-ec', certificates], { cwd: receiver.dir, stdio: 'pipe' });
    const subject = execFileSync(
      requireProgram('openssl'),
      ['verify', '-CAfile', 'ca.pem', 'server.pem', 'client.pem'],
      {
        cwd: receiver.dir,
        encoding: 'utf8',
      },
    );
    assert.match(subject, /server\.pem: OK\nclient\.pem: OK/);
    const logger = /^logger .*$/m.exec(prepared)?.[0];
    assert.ok(logger, 'the page sends no event by hand');
    execFileSync('sh', ['-ec', logger], { stdio: 'pipe' });
    const [line] = await waitForLines(receiver, 'keys.json', 1);
    assert.deepEqual(JSON.parse(line!).keys, { src: '192.0.2.1', dpt: '23' });
  });
});

interface Receiver {
  readonly dir: string;
  readonly engine: RunningSyslogNg;
  /** The port in use by the one in the configuration. */
  readonly ports: Readonly<Record<514 | 601 | 6514, number>>;
  certificate(name: 'ca' | 'client'): Buffer;
}

async function startReceiver(context: TestContext): Promise<Receiver> {
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory(context);
  const ports = { 514: await freePort(), 601: await freePort(), 6514: await freePort() };
  makeCertificates(dir);
  const text = inDirectory(readFileSync(CONFIGURATION, 'utf8'), { dir, ports });
  assert.equal(checkSyslogNg(dir, text), '');
  const engine = await startSyslogNg(dir, text);
  cleanUp(() => engine.stop());
  const certificate = (name: string) => readFileSync(join(dir, `${name}.pem`));
  return { dir, engine, ports, certificate };
}

/** What is shipped, with the paths and ports of the test; each must be there to be replaced. */
function inDirectory(text: string, { dir, ports }: Pick<Receiver, 'dir' | 'ports'>): string {
  const paths = {
    '/etc/syslog-ng/honeyport': dir,
    '/run/honeyport-events.sock': `${dir}/events.sock`,
    '/var/log/honeyport-events': dir,
  };
  const renamed = Object.entries(paths).reduce((all, [from, to]) => all.replaceAll(from, to), text);
  return renamed
    .replace(
      /\bport\((514|601|6514)\)/g,
      (_, port: '514' | '601' | '6514') => `port(${ports[port as unknown as 514]}) ip("127.0.0.1")`,
    )
    .replace(/--port 601\b/g, `--port ${ports[601]}`)
    .replace(/--server \S+/g, '--server 127.0.0.1');
}

/** An authority, and a certificate of it for each end, named as honeyport.yaml and syslog-ng want them. */
function makeCertificates(dir: string): void {
  const openssl = (...args: string[]) =>
    execFileSync(requireProgram('openssl'), args, { cwd: dir, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test authority');
  for (const [name, subject] of [
    ['server', 'siem.internal'],
    ['client', 'web-1'],
  ] as const) {
    const issuer = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-addext', `subjectAltName=DNS:${subject}`];
    openssl(
      'req',
      '-x509',
      ...key,
      ...issuer,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-subj',
      `/CN=${subject}`,
    );
  }
}

type Wire = 'udp' | 'tcp' | 'tls' | 'lf' | 'unix';

/** Sends messages as honeyport frames them on that wire. */
async function openSender(
  context: TestContext,
  { dir, ports, certificate }: Receiver,
  wire: Wire,
): Promise<(message: string) => Promise<void>> {
  if (wire === 'udp') {
    const datagrams = createSocket('udp4');
    context.after(() => datagrams.close());
    return (message) =>
      new Promise((resolve, reject) =>
        datagrams.send(message, ports[514], '127.0.0.1', (error) => (error ? reject(error) : resolve())),
      );
  }
  const socket = open();
  context.after(() => socket.destroy());
  await new Promise((resolve, reject) =>
    socket.once(wire === 'tls' ? 'secureConnect' : 'connect', resolve).once('error', reject),
  );
  const frame = (message: string) =>
    wire === 'lf' || wire === 'unix' ? `${message}\n` : `${message.length} ${message}`;
  return (message) =>
    new Promise((resolve, reject) =>
      socket.write(frame(message), (error) => (error ? reject(error) : resolve())),
    );

  function open(): Socket {
    if (wire === 'unix') return connect(join(dir, 'events.sock'));
    if (wire !== 'tls') return connect(wire === 'tcp' ? ports[601] : ports[514], '127.0.0.1');
    const own = { cert: certificate('client'), key: readFileSync(join(dir, 'client.key')) };
    return connectTls({ port: ports[6514], ca: certificate('ca'), servername: 'siem.internal', ...own });
  }
}

const checkServerIdentity = () => undefined;

/** An event as the configuration writes it. */
function keysOf(event: Event): object {
  const priority = { connect: 'warning', suppressed: 'warning', allowed: 'info', close: 'info' } as Record<
    string,
    string
  >;
  return {
    time: new Date(event.time).toISOString().replace('Z', '+00:00'),
    sensor: 'web-1',
    pid: '812',
    priority: priority[event.kind] ?? 'notice',
    event: event.kind,
    keys: fieldsIn(createSyslogFormatter('rfc3164', ORIGIN)(event)),
  };
}

/** What of each message the configuration hands on as it is. */
function bodies(format: SyslogFormat, part: RegExp): string[] {
  const formatEvent = createSyslogFormatter(format, ORIGIN);
  return everyEvent().map((event) => part.exec(formatEvent(event))![1]!);
}

function withTime(text: string, index: number): string {
  return `${new Date(everyEvent()[index]!.time).toISOString().slice(0, 19)}+00:00 ${text}`;
}

async function waitForLines({ dir, engine }: Receiver, name: string, count: number): Promise<string[]> {
  const file = join(dir, name);
  return await waitFor(() => (readLines(file).length >= count ? readLines(file) : undefined), {
    deadlineMs: DEADLINE_MS,
    what: () =>
      `${count} lines in ${name}; it has ${readLines(file).length}; syslog-ng said:\n${engine.messages()}`,
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function knock(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await new Promise((resolve) =>
    socket
      .once('close', resolve)
      .on('error', () => {})
      .resume(),
  );
}
