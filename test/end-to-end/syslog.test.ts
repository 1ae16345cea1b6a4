import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { parseLine } from '../../src/format/parse-line.ts';
import { createAuthority } from '../support/certificates.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { compareLogWithManifest, runLoad } from '../support/load.ts';
import { cleanUpAfter, createNetwork } from '../support/namespaces.ts';
import { idsOf, type Receiver, startReceiver } from '../support/receiver.ts';
import { waitFor } from '../support/wait.ts';

const NOTHING = { missing: [], duplicated: [], invented: [] };
const PORT = 24_400;
/** Of a test beside others. */
const OTHER_PORT = 24_401;
const DEADLINE_MS = 40_000;

function configuration(receivers: readonly string[], rest = '', port = PORT): string {
  const list = receivers.map((receiver) => `    - ${receiver}\n`).join('');
  return `decoys: [{ name: one, ports: ${port} }]\nguard: off\nlog:\n  file: { path: LOG }\n  console: off\n  syslog:\n${list}${rest}`;
}

async function start(context: TestContext, config: string): Promise<RunningHoneyport> {
  const honeyport = await startHoneyport({ config });
  context.after(() => honeyport.stop());
  return honeyport;
}

const knock = (count: number, port = PORT) =>
  runLoad({
    address: '127.0.0.1',
    ports: port,
    count,
    concurrency: 16,
    mode: 'rst',
    firstSource: '127.20.0.1',
  });

/** The ids of all lines of the log, as they are now. */
function loggedIds(honeyport: RunningHoneyport): string[] {
  return honeyport.lines().map((line) => parseLine(line)!.event.id);
}

function hasAll(receiver: Pick<Receiver, 'messages'>, ids: readonly string[]): boolean {
  const found = new Set(idsOf(receiver.messages));
  return ids.every((id) => found.has(id));
}

/** Waits until a receiver has every event of the log. */
async function waitForLog(
  honeyport: RunningHoneyport,
  receiver: Pick<Receiver, 'messages'>,
  name: string,
): Promise<void> {
  await waitFor(() => hasAll(receiver, loggedIds(honeyport)), {
    deadlineMs: DEADLINE_MS,
    everyMs: 100,
    what: () =>
      `${name} to have ${loggedIds(honeyport).length} events, it has ${new Set(idsOf(receiver.messages)).size}\n${honeyport.stderr()}`,
  });
}

async function waitForConnects(honeyport: RunningHoneyport, count: number): Promise<void> {
  const connects = () => honeyport.lines().filter((line) => line.includes(': connect '));
  await waitFor(() => connects().length >= count, {
    deadlineMs: DEADLINE_MS,
    what: () => `${count} connect lines, got ${connects().length}`,
  });
}

/** A port that nobody listens on just now. */
async function freePort(): Promise<number> {
  const receiver = await startReceiver();
  await receiver.stop();
  return receiver.port;
}

// They wait most of the time.
describe('receivers that are away, slow or hostile, side by side', { concurrency: true }, () => {
  test('receivers that are away for ten seconds lack nothing, and the log has waited for none of them', async (context) => {
    const directory = temporaryDirectory(context);
    const authority = createAuthority(directory, 'authority');
    const server = authority.issue('server', { names: ['IP:127.0.0.1'] });
    const tls = { cert: readFileSync(server.certificate), key: readFileSync(server.key) };
    const path = join(directory, 'socket');
    const [tcpPort, tlsPort] = [await freePort(), await freePort()];
    const honeyport = await start(
      context,
      configuration([
        `address: tcp://127.0.0.1:${tcpPort}`,
        `{ address: "tls://127.0.0.1:${tlsPort}", format: ecs, tls: { ca: ${authority.certificate} } }`,
        `{ address: "unix://${path}", format: cef, framing: lf }`,
      ]),
    );
    const { established } = await knock(2000);
    await waitForConnects(honeyport, 2000);
    await delay(10_000);
    const receivers = {
      tcp: await startReceiver({ port: tcpPort }),
      tls: await startReceiver({ port: tlsPort, tls }),
      unix: await startReceiver({ path, framing: 'lf' }),
    };
    context.after(() => Promise.all(Object.values(receivers).map((receiver) => receiver.stop())));
    for (const [name, receiver] of Object.entries(receivers)) {
      await waitForLog(honeyport, receiver, name);
      assert.deepEqual(idsOf(receiver.messages), loggedIds(honeyport), name);
    }
    assert.deepEqual(compareLogWithManifest(honeyport.lines(), established), NOTHING);
  });

  test('a slow, a resetting, a restarting and a babbling receiver lack nothing, nor does a good one', async (context) => {
    const good = await startReceiver();
    const slow: Receiver = await startReceiver({
      read: false,
      onConnection: (socket) => readSlowly(socket, slow),
    });
    const babbling = await startReceiver({
      onConnection: (socket) =>
        socket.on('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n\x00\xff')),
    });
    const resetting = await startReceiver();
    let restarting = await startReceiver();
    const former: string[] = [];
    const all = [good, slow, babbling, resetting];
    context.after(() => Promise.all([...all, restarting].map((receiver) => receiver.stop())));
    const honeyport = await start(
      context,
      configuration(
        [...all, restarting].map(({ port }) => `address: tcp://127.0.0.1:${port}`),
        '',
        OTHER_PORT,
      ),
    );
    const load = knock(4000, OTHER_PORT);
    for (let round = 0; round < 3; round++) {
      await delay(100);
      await resetting.reset();
      former.push(...restarting.messages);
      await restarting.stop();
      await delay(1000);
      restarting = await startReceiver({ port: restarting.port });
    }
    const { established } = await load;
    await waitForConnects(honeyport, 4000);
    await waitForLog(honeyport, good, 'the good one');
    assert.deepEqual(idsOf(good.messages), loggedIds(honeyport));
    await waitForLog(honeyport, resetting, 'the resetting one');
    const restarted = {
      get messages() {
        return [...former, ...restarting.messages];
      },
    };
    await waitForLog(honeyport, restarted, 'the restarting one');
    await waitForLog(honeyport, babbling, 'the babbling one');
    await waitForLog(honeyport, slow, 'the slow one');
    assert.deepEqual(compareLogWithManifest(honeyport.lines(), established), NOTHING);
    assert.doesNotMatch(honeyport.stderr(), / lacks /);
  });

  test('a receiver that vanishes without a word is noticed, and lacks nothing when it is back', async (context) => {
    const cleanUp = cleanUpAfter(context);
    const network = createNetwork();
    cleanUp(network.dispose);
    const { sensor, attacker } = network;
    const script = `const {createServer}=require('node:net');
      createServer((socket)=>socket.on('data',(bytes)=>process.stdout.write(bytes)).on('error',()=>{})).listen(6514,'${attacker.ipv4}')`;
    const child = network.spawn(attacker, [process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const received = { text: '' };
    child.stdout!.setEncoding('latin1').on('data', (text: string) => {
      received.text += text;
    });
    const config = configuration([`{ address: "tcp://${attacker.ipv4}:6514", framing: lf }`]);
    const honeyport = await startHoneyport({ config, namespace: sensor.namespace });
    cleanUp(() => honeyport.stop());
    const receiver = {
      get messages() {
        return received.text.split('\n').slice(0, -1);
      },
    };
    const one = () => network.connect({ from: attacker.ipv4, to: sensor.ipv4, port: PORT });
    assert.equal(await one(), 'open');
    await waitForLog(honeyport, receiver, 'the receiver');
    const nft = (rules: string) => network.run(attacker, ['nft', '-f', '-'], { input: rules });
    const drop = nft(
      'table inet away { chain in { type filter hook input priority -300; tcp dport 6514 drop; }; }',
    );
    assert.equal(drop.code, 0, drop.stderr);
    assert.equal(await one(), 'open');
    await honeyport.waitForStderr(/cannot send to \S+: /, 60_000);
    nft('delete table inet away');
    await waitForLog(honeyport, receiver, 'the receiver that was away');
  });
});

/** About 200 KB a second. */
function readSlowly(socket: Socket, receiver: Receiver): void {
  socket.pause();
  const timer = setInterval(() => {
    const bytes = socket.read(Math.min(4096, socket.readableLength)) as Buffer | null;
    if (bytes !== null) receiver.take(socket, bytes);
    else socket.read(0);
  }, 20);
  socket.on('close', () => clearInterval(timer));
}

test('what has no room for a receiver that is away is counted in the log and for the receiver', async (context) => {
  const port = await freePort();
  const address = `tcp://127.0.0.1:${port}`;
  const honeyport = await start(
    context,
    configuration([`address: ${address}`], 'limits: { pending_lines: 1000 }\n'),
  );
  const { established } = await knock(3000);
  await waitForConnects(honeyport, 3000);
  const receiver = await startReceiver({ port });
  context.after(() => receiver.stop());
  // the start line and 999 connections found room
  const line = await honeyport.waitForLine(/: suppressed /, DEADLINE_MS);
  assert.match(line, new RegExp(`: suppressed count=2001 reason=queue id=\\S+ receiver=${address}$`));
  await waitFor(() => idsOf(receiver.messages).includes(parseLine(line)!.event.id), {
    deadlineMs: DEADLINE_MS,
    what: 'the receiver to be told',
  });
  assert.equal(new Set(idsOf(receiver.messages)).size, 1001);
  assert.match(honeyport.stderr(), new RegExp(`warning: ${address} lacks 2001 events; the log has them`));
  assert.deepEqual(compareLogWithManifest(honeyport.lines(), established), NOTHING);
});

test('a receiver without the right certificate is sent nothing, and the reason is said', async (context) => {
  const directory = temporaryDirectory(context);
  const authority = createAuthority(directory, 'authority');
  const other = createAuthority(directory, 'other');
  const good = authority.issue('good', { names: ['DNS:siem.example'] });
  const client = authority.issue('client');
  const read = ({ certificate, key }: typeof good) => ({
    cert: readFileSync(certificate),
    key: readFileSync(key),
  });
  const cases = {
    'another authority': read(other.issue('foreign', { names: ['DNS:siem.example'] })),
    'another name': read(authority.issue('wrong', { names: ['DNS:other.example'] })),
    'an ended one': read(authority.issue('ended', { names: ['DNS:siem.example'], days: 0 })),
  };
  const clients: unknown[] = [];
  const receivers = await Promise.all(Object.values(cases).map((tls) => startReceiver({ tls })));
  const demanding = await startReceiver({
    tls: {
      ...read(good),
      requestCert: true,
      rejectUnauthorized: true,
      ca: readFileSync(authority.certificate),
    },
    onConnection: (socket) => clients.push((socket as TLSSocket).getPeerCertificate().subject?.CN),
  });
  context.after(() => Promise.all([...receivers, demanding].map((receiver) => receiver.stop())));
  const shown = join(directory, 'shown.pem');
  const shownKey = join(directory, 'shown.key');
  // at first one of an authority that the receiver does not know
  const stranger = other.issue('stranger');
  copyFileSync(stranger.certificate, shown);
  copyFileSync(stranger.key, shownKey);
  const honeyport = await start(
    context,
    configuration([
      ...receivers.map(
        ({ port }) =>
          `{ address: "tls://127.0.0.1:${port}", tls: { ca: ${authority.certificate}, name: siem.example } }`,
      ),
      `{ address: "tls://127.0.0.1:${demanding.port}", tls: { ca: ${authority.certificate}, name: siem.example, certificate: ${shown}, key: ${shownKey} } }`,
    ]),
  );
  await knock(5);
  for (const [index, reason] of [/unable to verify|self.signed|issuer/, /altnames/, /expired/].entries()) {
    const { port } = receivers[index]!;
    await honeyport.waitForStderr(
      new RegExp(`cannot send to tls://127\\.0\\.0\\.1:${port}: .*(?:${reason.source})`),
    );
  }
  await honeyport.waitForStderr(new RegExp(`cannot send to tls://127\\.0\\.0\\.1:${demanding.port}: `));
  for (const receiver of [...receivers, demanding]) assert.deepEqual(receiver.messages, []);
  // a certificate that is renewed counts without a reload
  writeFileSync(shownKey, readFileSync(client.key));
  writeFileSync(shown, readFileSync(client.certificate));
  await waitForLog(honeyport, demanding, 'the demanding one');
  assert.deepEqual(new Set(clients), new Set(['client']));
  for (const receiver of receivers) assert.deepEqual(receiver.messages, []);
});

test('a reload keeps the receiver that stays, ends the one that goes, and is refused with a bad certificate', async (context) => {
  const directory = temporaryDirectory(context);
  const ends: string[] = [];
  const staying = await startReceiver({
    onConnection: (socket) => socket.on('close', () => ends.push('staying')),
  });
  const going = await startReceiver({
    onConnection: (socket) => socket.on('close', () => ends.push('going')),
  });
  context.after(() => Promise.all([staying.stop(), going.stop()]));
  const receivers = [staying, going].map(({ port }) => `address: tcp://127.0.0.1:${port}`);
  const honeyport = await start(context, configuration(receivers));
  const reload = async (text: string, result: string) => {
    writeFileSync(honeyport.configFile, text.replaceAll('LOG', honeyport.logFile));
    await honeyport.waitForLine(new RegExp(`: reload result=${result} `));
  };
  await knock(10);
  await waitForConnects(honeyport, 10);
  const bad = join(directory, 'bad.pem');
  writeFileSync(bad, 'no certificate\n');
  await reload(
    configuration([...receivers, `{ address: "tls://127.0.0.1:1", tls: { ca: ${bad} } }`]),
    'refused',
  );
  assert.match(
    honeyport.stderr(),
    new RegExp(`error: cannot use ${bad} for TLS: expected a PEM file with a certificate`),
  );
  await waitForLog(honeyport, going, 'the one that goes');
  await reload(`sensor: renamed\n${configuration(receivers.slice(0, 1))}`, 'applied');
  await waitFor(() => ends.includes('going'), { deadlineMs: DEADLINE_MS, what: 'the end of a connection' });
  await knock(10);
  await waitForConnects(honeyport, 20);
  await waitForLog(honeyport, staying, 'the one that stays');
  assert.deepEqual([ends, staying.connections], [['going'], 1]);
  assert.match(staying.messages.at(-1)!, / renamed honeyport /);
  await honeyport.stop();
  assert.match(staying.messages.at(-1)!, / STOP /);
});

for (const [what, target] of [
  ['is missing', undefined],
  ['cannot even be looked at', 'missing.pem'],
] as const) {
  test(`a start and a check with a certificate that ${what} say so`, (context) => refuses(context, target));
}

async function refuses(context: TestContext, target: string | undefined): Promise<void> {
  const directory = temporaryDirectory(context);
  const missing = join(directory, 'missing.pem');
  // a link to itself: root may look into every directory
  if (target !== undefined) symlinkSync(target, missing);
  const config = configuration([`{ address: "tls://127.0.0.1:6514", tls: { ca: ${missing} } }`]);
  const failing = await startHoneyport({ config, started: false });
  context.after(() => failing.stop());
  assert.deepEqual(await failing.ended(), { code: 2, signal: null });
  assert.match(failing.stderr(), new RegExp(`^honeyport: error: cannot read ${missing}: `, 'm'));
  const check = await startHoneyport({ args: ['check', '-c', failing.configFile], started: false });
  context.after(() => check.stop());
  assert.deepEqual(await check.ended(), { code: 2, signal: null });
  assert.match(check.stderr(), new RegExp(`^honeyport: error: cannot read ${missing}: `, 'm'));
}
