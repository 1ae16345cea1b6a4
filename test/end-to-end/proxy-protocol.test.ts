import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { encodeBinary, encodeV1, encodeV2, LOCAL_V2, type ProxiedEnds } from '../support/proxy-header.ts';
import { open, talk } from '../support/talk.ts';
import { waitFor } from '../support/wait.ts';

const PORT = 24_600;
const PROXY = '127.0.0.1';
const STRANGER = '127.0.0.9';

let honeyport: RunningHoneyport;

before(async () => {
  honeyport = await startHoneyport({
    config: `
decoys:
  - { name: behind, ports: ${PORT}, proxy_protocol: [127.0.0.1, 127.0.0.2/31, ::1], capture: 100 }
  - { name: plain, ports: ${PORT + 1}, proxy_protocol: [127.0.0.1] }
  - { name: shell, ports: ${PORT + 2}, proxy_protocol: [127.0.0.1], response: { command: [/bin/bash, -c, 'read -r line; echo "$NCAT_REMOTE_ADDR $NCAT_REMOTE_PORT $line"'] } }
allow: [198.51.100.99]
guard: off
limits: { lines_per_source: off }
log: { file: { path: LOG }, console: off }
`,
  });
});

after(() => honeyport?.stop());

const IPV4: ProxiedEnds = { src: '198.51.100.7', spt: 4711, dst: '203.0.113.5', dpt: 443 };
const IPV6: ProxiedEnds = { src: '2001:db8::7', spt: 4712, dst: '2001:db8::1', dpt: 443 };

/** The lines that a conversation leaves behind, without their time, sensor, tag and id. */
async function linesOf(action: () => Promise<{ localPort: number }>, last: RegExp): Promise<string[]> {
  const mark = honeyport.lines().length;
  await action();
  await honeyport.waitForLine((line) => honeyport.lines().indexOf(line) >= mark && last.test(line));
  return honeyport
    .lines()
    .slice(mark)
    .map((line) => line.replace(/^.*?\]: /, '').replace(/ id=\S+/, ''));
}

/** The one line of the connection, which the other two must agree with. */
async function say(bytes: Uint8Array, from = PROXY, port = PORT): Promise<string[]> {
  return linesOf(() => talk({ port, from, say: bytes, ends: true }), /: (?:close|withheld) /);
}

const DATA = Buffer.from('GET / HTTP/1.0\r\n\r\n');

for (const { form, header, ends } of [
  { form: 'version 1 over TCP4', header: encodeV1(IPV4), ends: IPV4 },
  { form: 'version 1 over TCP6', header: encodeV1(IPV6), ends: IPV6 },
  { form: 'version 2 over TCP4', header: encodeV2(IPV4), ends: IPV4 },
  { form: 'version 2 over TCP6', header: encodeV2(IPV6), ends: IPV6 },
  { form: 'version 2 with a kilobyte of TLVs', header: encodeV2(IPV4, 1000), ends: IPV4 },
]) {
  test(`the source that a trusted proxy names is the source: ${form}`, async () => {
    const lines = await say(Buffer.concat([header, DATA]));
    const head = `src=${ends.src} spt=${ends.spt} dst=127.0.0.1 dpt=${PORT} proto=tcp decoy=behind`;
    assert.match(lines[0]!, new RegExp(`^connect ${head} proxy=127\\.0\\.0\\.1 proxy_spt=\\d+$`));
    assert.equal(lines[1], `data ${head} bytes=18 guess=http text="GET / HTTP/1.0\\x0d\\x0a\\x0d\\x0a"`);
    assert.match(lines[2]!, new RegExp(`^close ${head} duration_ms=\\d+ rx=18 tx=0 by=peer$`));
    assert.equal(lines.length, 3);
  });

  test(`from anybody else the header is data, and the real peer the source: ${form}`, async () => {
    const lines = await say(Buffer.concat([header, DATA]), STRANGER);
    assert.match(lines[0]!, /^connect src=127\.0\.0\.9 .* syn=\S+$/);
    assert.match(
      lines[1]!,
      /^data src=127\.0\.0\.9 .* guess=proxy-protocol text="(?:PROXY |\\x0d\\x0a\\x0d\\x0a\\x00)/,
    );
    assert.equal(lines.length, 3);
  });
}

test('a header that comes byte by byte is read, also over IPv6', async () => {
  const header = encodeV2(IPV6, 20);
  const lines = await linesOf(async () => {
    const socket = open({ port: PORT, host: '::1' });
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.setNoDelay(true);
    for (const byte of header) {
      socket.write(Uint8Array.of(byte));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    socket.end('x');
    return { localPort: 0 };
  }, /: close /);
  assert.match(lines[0]!, /^connect src=2001:db8::7 spt=4712 dst=::1 .* proxy=::1 proxy_spt=\d+$/);
  assert.match(lines[1]!, / bytes=1 .* text="x"$/);
});

const REFUSED = [
  { what: 'version 2 LOCAL', bytes: LOCAL_V2 },
  { what: 'version 1 UNKNOWN', bytes: Buffer.from('PROXY UNKNOWN\r\n') },
  { what: 'nothing at all', bytes: Buffer.alloc(0) },
  { what: 'no header', bytes: DATA },
  { what: 'a truncated header of version 1', bytes: encodeV1(IPV4).subarray(0, 20) },
  { what: 'a truncated header of version 2', bytes: encodeV2(IPV6).subarray(0, 40) },
  { what: 'an oversized header of version 1', bytes: Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}\r\n`) },
  { what: 'an oversized header of version 2', bytes: encodeBinary(0x21, 0x11, Buffer.alloc(8000)) },
  { what: 'an address that is none', bytes: Buffer.from('PROXY TCP4 198.51.100.256 1.2.3.4 1 2\r\n') },
  { what: 'an address with a line break', bytes: Buffer.from('PROXY TCP4 1.2.3.4\n 1.2.3.4 1 2\r\n') },
  { what: 'the proxy itself', bytes: encodeV1({ ...IPV4, src: PROXY }) },
  { what: 'another proxy', bytes: encodeV2({ ...IPV4, src: '127.0.0.3' }) },
  { what: 'itself as an IPv4-mapped address', bytes: encodeV2({ ...IPV6, src: '::ffff:127.0.0.1' }) },
  { what: 'the broadcast address', bytes: encodeV1({ ...IPV4, src: '255.255.255.255' }) },
  { what: 'a port that is none', bytes: Buffer.from('PROXY TCP4 198.51.100.7 1.2.3.4 70000 2\r\n') },
];

for (const { what, bytes } of REFUSED) {
  test(`a trusted proxy that names nobody is withheld and never the source of a connect: ${what}`, async () => {
    const lines = await say(bytes);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(
      lines[0]!,
      /^withheld src=127\.0\.0\.1 spt=\d+ dst=127\.0\.0\.1 .* decoy=behind reason=proxy$/,
    );
  });
}

test('a proxy that says nothing is withheld after a while, with its connection open until then', async () => {
  const lines = await linesOf(() => talk({ port: PORT, from: '127.0.0.3' }), /: withheld /);
  assert.match(lines[0]!, /^withheld src=127\.0\.0\.3 .* reason=proxy$/);
});

test('a proxy whose connection is not over when the listener ends is in the log', async (context) => {
  const other = await startHoneyport({
    dir: temporaryDirectory(context),
    config: `decoys: [{ name: b, ports: ${PORT + 5}, proxy_protocol: [127.0.0.1] }]\nguard: off\nlog: { file: { path: LOG }, console: off }\n`,
  });
  const socket = open({ port: PORT + 5 });
  await new Promise((resolve) => socket.once('connect', resolve));
  await other.stop();
  socket.destroy();
  const kinds = other.lines().map((line) => /\]: (\w+) /.exec(line)![1]);
  assert.deepEqual(kinds, ['start', 'withheld', 'stop']);
});

test('the allow list is asked for whom the proxy names', async () => {
  const lines = await say(encodeV1({ ...IPV4, src: '198.51.100.99' }));
  assert.match(
    lines[0]!,
    /^allowed src=198\.51\.100\.99 .* by=198\.51\.100\.99 proxy=127\.0\.0\.1 proxy_spt=\d+$/,
  );
});

test('a decoy that only logs ends the connection once the header is read', async () => {
  const lines = await linesOf(() => talk({ port: PORT + 1, say: encodeV1(IPV4) }), /: connect /);
  assert.match(lines[0]!, /^connect src=198\.51\.100\.7 .* decoy=plain proxy=127\.0\.0\.1 /);
  assert.equal(lines.length, 1);
});

test('a program hears what follows the header, and whom it is from', async () => {
  const { heard } = await talk({
    port: PORT + 2,
    say: Buffer.concat([encodeV2(IPV4), Buffer.from('hello\n')]),
  });
  assert.equal(heard, '198.51.100.7 4711 hello\n');
});

test('silent connections in the place of every header do not keep one from being read that is there', async (context) => {
  const other = await startHoneyport({
    dir: temporaryDirectory(context),
    config: `decoys: [{ name: b, ports: ${PORT + 6}, proxy_protocol: [127.0.0.1] }]\nguard: off\nlimits: { conversations: 5 }\nlog: { file: { path: LOG }, console: off }\n`,
  });
  context.after(() => other.stop());
  const silent = Array.from({ length: 20 }, () => open({ port: PORT + 6 }));
  context.after(() => {
    for (const socket of silent) socket.destroy();
  });
  // what has no place is withheld at once
  await waitFor(() => other.lines().filter((line) => line.includes(' reason=proxy')).length >= 15, {
    deadlineMs: 4000,
    what: () => `15 lines, got ${other.lines().length - 1}`,
  });
  // stopped, it accepts the connection with its header
  process.kill(other.pid, 'SIGSTOP');
  const socket = open({ port: PORT + 6 });
  context.after(() => socket.destroy());
  await new Promise<void>((resolve) =>
    socket.once('connect', () => socket.write(encodeV1(IPV4), () => resolve())),
  );
  process.kill(other.pid, 'SIGCONT');
  await other.waitForLine(/: connect src=198\.51\.100\.7 /);
});

test('a proxy that a reload no longer trusts, while its header is awaited, names nobody', async (context) => {
  const config = (proxies: string) =>
    `decoys: [{ name: b, ports: ${PORT + 7}, proxy_protocol: [${proxies}] }]\nguard: off\nlog: { file: { path: LOG }, console: off }\n`;
  const other = await startHoneyport({ dir: temporaryDirectory(context), config: config('127.0.0.1') });
  context.after(() => other.stop());
  const socket = open({ port: PORT + 7 });
  context.after(() => socket.destroy());
  await new Promise((resolve) => socket.once('connect', resolve));
  writeFileSync(other.configFile, config('10.0.0.0/8').replace('LOG', other.logFile));
  await other.waitForLine(/: reload result=applied /);
  socket.write(encodeV1(IPV4));
  assert.match(await other.waitForLine(/: (?:connect|withheld) /), /: connect src=127\.0\.0\.1 /);
});
