import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { parseLine } from '../../src/format/parse-line.ts';
import { temporaryDirectory } from '../support/directory.ts';
import {
  temporaryDirectory as fail2banDirectory,
  findAddresses,
  makeConfiguration,
} from '../support/fail2ban.ts';
import { CLI, type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { runLoad } from '../support/load.ts';
import { requireProgram } from '../support/programs.ts';
import { open, talk } from '../support/talk.ts';
import { waitFor } from '../support/wait.ts';

const run = promisify(execFile);

/** Tests run side by side, as most of them wait most of the time; each has ports of its own. */
const ports = (() => {
  let next = 24_400;
  return () => {
    next += 20;
    return next;
  };
})();
/** Loopback is an attacker like any other here, and as busy as it likes. */
const LOOPBACK = 'guard: off\nlog: { file: { path: LOG }, console: off }';
const UNTHROTTLED = 'lines_per_source: off, lines: off';
/** Between two lines of a tarpit. */
const TARPIT_PAUSE_MS = 10_000;

interface Stage {
  readonly honeyport: RunningHoneyport;
  /** Where configuration, log and programs are. */
  readonly dir: string;
}

async function start(context: TestContext, decoys: string, limits = UNTHROTTLED): Promise<Stage> {
  const dir = temporaryDirectory(context);
  const config = `decoys:\n${decoys.replaceAll('DIR', dir)}\nlimits: { ${limits} }\n${LOOPBACK}\n`;
  const honeyport = await startHoneyport({ dir, config });
  context.after(() => honeyport.stop());
  return { honeyport, dir };
}

/** @returns the program's path */
function makeProgram(dir: string, name: string, text: string, mode = 0o755): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

/** The events of a kind in the log, as they were before they became lines. */
function eventsOf(honeyport: RunningHoneyport, kind: string): Record<string, string | number>[] {
  // parsed are only those that may be: some have 65 KB of a peer's bytes
  return honeyport
    .lines()
    .filter((line) => line.includes(`]: ${kind} `))
    .map((line) => parseLine(line)?.event as unknown as Record<string, string | number>)
    .filter((event) => event?.kind === kind);
}

function isRunning(pid: number): boolean {
  try {
    // a killed process whose parent has not looked yet is a zombie, and runs no more
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

describe('conversations', { concurrency: 4 }, () => {
  /** As the seed's: it reads a line of the client and answers, with what ncat would tell it. */
  const RESPONSE = `#!/bin/bash
read -r line
printf 'HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\nConnection: close\\r\\n\\r\\n'
echo "$line from $NCAT_REMOTE_ADDR:$NCAT_REMOTE_PORT to $NCAT_LOCAL_ADDR:$NCAT_LOCAL_PORT over $NCAT_PROTO, $HONEYPORT_DECOY $HONEYPORT_ID"
`;

  test("an ncat response.sh reads the client's line and answers curl, with ncat's environment", async (context) => {
    const port = ports();
    const { honeyport, dir } = await start(
      context,
      `  - { name: web, ports: ${port}, response: { command: [DIR/response.sh] } }`,
    );
    makeProgram(dir, 'response.sh', RESPONSE);
    const curl = ['-isS', '--max-time', '10', '-w', '%{local_port}', `http://127.0.0.1:${port}/shell?x=1`];
    const { stdout } = await run(requireProgram('curl'), curl);
    const sent = stdout.slice(0, stdout.lastIndexOf('\n') + 1);
    const clientPort = stdout.slice(sent.length);
    const answer = sent.split('\n').at(-2);
    const connect = await honeyport.waitForLine(/: connect /);
    const id = / id=(\S+) /.exec(connect)![1];
    assert.equal(
      answer,
      `GET /shell?x=1 HTTP/1.1\r from 127.0.0.1:${clientPort} to 127.0.0.1:${port} over TCP, web ${id}`,
    );
    await honeyport.waitForLine(/: close /);
    const [close] = eventsOf(honeyport, 'close');
    assert.equal(close!.by, 'honeyport');
    assert.equal(close!.tx, sent.length, 'what the kernel counted is what was sent');
  });

  test('a program waits for a client that takes its time, as its socket blocks', async (context) => {
    const port = ports();
    const { dir } = await start(
      context,
      `  - { name: slow, ports: ${port}, response: { command: [/bin/bash, DIR/echo.sh, first, "second argument"], timeout: 10s } }`,
    );
    makeProgram(dir, 'echo.sh', 'read -r line; echo "$1, $2: $line"', 0o644);
    const socket = open({ port });
    context.after(() => socket.destroy());
    let heard = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      heard += text;
    });
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.equal(heard, '');
    socket.write('hello\n');
    await waitFor(() => heard === 'first, second argument: hello\n', {
      deadlineMs: 10_000,
      what: () => `the answer, got ${JSON.stringify(heard)}`,
    });
  });

  const PRIVILEGES = `#!/bin/bash
grep ^Cap /proc/self/status | tr -d '\\t' | tr '\\n' ' '
id -u
for fd in /proc/$$/fd/*; do readlink "$fd"; done
env
`;

  for (const { who, wrapper, uid, port } of [
    { who: 'root', wrapper: [], uid: 0, port: 77 },
    {
      who: 'a user with an ambient capability',
      wrapper: [
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        '--inh-caps=+net_bind_service',
        '--ambient-caps=+net_bind_service',
      ],
      uid: 65_534,
      port: 78,
    },
  ]) {
    test(`a program that ${who} starts has no capability, no descriptor but its socket, and none of our secrets`, async (context) => {
      const dir = temporaryDirectory(context);
      chmodSync(dir, 0o777);
      const program = makeProgram(dir, 'privileges.sh', PRIVILEGES);
      // a port that needs the capability, so that the listener certainly has it
      const honeyport = await startHoneyport({
        dir,
        config: `decoys: [{ name: p, ports: ${port}, response: { command: [${program}] } }]\n${LOOPBACK}\n`,
        // a descriptor far from the others, as a shell or a service manager leaves it behind
        wrapper: ['bash', '-c', 'exec 199</etc/hostname; exec "$@"', 'bash', ...wrapper],
        env: { NOTIFY_SOCKET: '/run/nobody', DOME9_SECRET_KEY: 'secret', LANG: 'C.UTF-8' },
      });
      context.after(() => honeyport.stop());
      const { heard } = await talk({ port });
      const [capabilities, ...lines] = heard.trim().split('\n');
      const none = '0000000000000000';
      const sets = Object.fromEntries(capabilities!.split(' ').map((set) => set.split(':')));
      assert.deepEqual([sets.CapInh, sets.CapPrm, sets.CapEff, sets.CapAmb], [none, none, none, none], heard);
      assert.equal(capabilities!.split(' ').at(-1), `${uid}`);
      const links = lines.filter((line) => !line.includes('='));
      const [input, output, error, ...others] = links;
      assert.match(input!, /^socket:/, heard);
      assert.equal(output, input, heard);
      assert.match(error!, /^(?:pipe|socket):/, heard);
      // bash reads its own script from 255
      assert.deepEqual(
        others.filter((link) => link !== program),
        [],
        heard,
      );
      const names = lines
        .filter((line) => line.includes('='))
        .map((line) => line.slice(0, line.indexOf('=')));
      const known =
        /^(?:NCAT_[A-Z_]+|HONEYPORT_(?:ID|DECOY)|PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TMPDIR|PWD|SHLVL|_|OLDPWD)$/;
      assert.deepEqual(
        names.filter((name) => !known.test(name)),
        [],
      );
      assert.ok(names.includes('LANG') && names.includes('NCAT_PROTO'), heard);
    });
  }

  test('a program that hangs is killed in time with its children, and delays nobody', async (context) => {
    const port = ports();
    const { honeyport, dir } = await start(
      context,
      `  - { name: hang, ports: ${port}, response: { command: [DIR/hang.sh], timeout: 6s } }
  - { name: plain, ports: ${port + 1} }`,
    );
    makeProgram(dir, 'hang.sh', `#!/bin/bash\nsleep 1000 & echo $! $$\ntrap '' TERM INT HUP\nsleep 1000\n`);
    const hanging = talk({ port });
    await honeyport.waitForLine(/: connect .* decoy=hang /);
    const { established } = await runLoad({
      address: '127.0.0.1',
      ports: port + 1,
      count: 100,
      mode: 'hold',
    });
    assert.equal(established.length, 100);
    const kinds = honeyport
      .lines()
      .map((line) => / (connect|close) .* decoy=([a-z]+)/.exec(line)?.slice(1).join(' '));
    assert.equal(kinds.filter((kind) => kind === 'connect plain').length, 100);
    assert.ok(!kinds.includes('close hang'), 'the program still hangs when the others are logged and closed');
    const { heard, end } = await hanging;
    assert.equal(end, 'end');
    await honeyport.waitForLine(/: close .* decoy=hang .* by=limit$/);
    const pids = heard.trim().split(' ').map(Number);
    assert.equal(pids.length, 2, heard);
    await waitFor(() => !pids.some(isRunning), { deadlineMs: 5000, what: `processes ${pids} to end` });
    assert.match(
      honeyport.stderr(),
      /warning: the response of decoy hang failed: .*hang\.sh: it was ended, with all it had started, as it took longer than 6000 ms\n/,
    );
  });

  test('what a program leaves behind in its process group ends with it', async (context) => {
    const port = ports();
    const { dir } = await start(
      context,
      `  - { name: leave, ports: ${port}, response: { command: [DIR/leave.sh], timeout: 30s } }`,
    );
    makeProgram(dir, 'leave.sh', '#!/bin/bash\nsleep 1000 &\necho $!\n');
    const { heard, end } = await talk({ port });
    assert.equal(end, 'end');
    await waitFor(() => !isRunning(Number(heard)), { deadlineMs: 5000, what: `process ${heard} to end` });
  });

  const FAILURES = [
    { what: 'does not exist', text: undefined, mode: 0, says: /there is no such file/ },
    { what: 'is not executable', text: '#!/bin/sh\n', mode: 0o644, says: /it cannot be started: EACCES/ },
    {
      what: 'names an interpreter that does not exist',
      text: '#!/no/such/sh\n',
      mode: 0o755,
      says: /none of the interpreter/,
    },
    {
      what: 'fails',
      text: "#!/bin/bash\nprintf 'first \\033[31m line\\nsecond' >&2\nexit 7\n",
      mode: 0o755,
      says: /it ended with exit code 7; it said: first \\x1b\[31m line$/m,
    },
    {
      what: 'writes without end',
      text: '#!/bin/bash\nexec cat /dev/zero\n',
      mode: 0o755,
      says: /it took longer than 1000 ms/,
    },
    {
      what: 'writes errors without end',
      text: '#!/bin/bash\nexec cat /dev/zero >&2\n',
      mode: 0o755,
      says: /it took longer than 1000 ms; it said: (?:\\x00)+$/m,
    },
  ];

  test('a program that cannot do its work is one clear line, and nothing of it is left', async (context) => {
    const port = ports();
    const decoys = FAILURES.map(
      (_, i) =>
        `  - { name: d${i}, ports: ${port + i}, response: { command: [DIR/program${i}], timeout: 1s } }`,
    );
    const { honeyport, dir } = await start(context, decoys.join('\n'));
    for (const [i, { text, mode }] of FAILURES.entries()) {
      if (text !== undefined) makeProgram(dir, `program${i}`, text, mode);
    }
    for (const [i, { what, says }] of FAILURES.entries()) {
      const { end } = await talk({ port: port + i });
      assert.equal(end, 'end', what);
      const said = await honeyport.waitForStderr(new RegExp(`the response of decoy d${i} failed: `));
      const lines = said.split('\n').filter((line) => line.includes(`decoy d${i} failed`));
      assert.equal(lines.length, 1, what);
      assert.match(lines[0]!, says, what);
      // once more within the minute is counted, not said
      await talk({ port: port + i });
      await waitFor(() => eventsOf(honeyport, 'close').filter(({ dpt }) => dpt === port + i).length === 2, {
        deadlineMs: 10_000,
        what: `both conversations with the program that ${what} to close`,
      });
    }
    const { stdout } = await run('pgrep', ['-P', `${honeyport.pid}`]).catch(() => ({ stdout: '' }));
    assert.equal(stdout, '', 'no program runs any more');
    await honeyport.stop();
    const again = honeyport.stderr().match(/failed once more within a minute, last: /g) ?? [];
    assert.equal(again.length, FAILURES.length, honeyport.stderr());
  });

  test('programs beyond the limit are not started: the connection is logged and closed', async (context) => {
    const port = ports();
    const { honeyport, dir } = await start(
      context,
      `  - { name: few, ports: ${port}, response: { command: [DIR/hang.sh], timeout: 1m } }`,
      `responses: 3, ${UNTHROTTLED}`,
    );
    makeProgram(dir, 'hang.sh', '#!/bin/bash\necho $$\nsleep 1000\n');
    const sockets = Array.from({ length: 10 }, () => open({ port }));
    context.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    const heard: number[] = [];
    for (const socket of sockets) socket.on('data', (bytes) => heard.push(Number(bytes)));
    await waitFor(() => eventsOf(honeyport, 'close').length === 7 && heard.length === 3, {
      deadlineMs: 10_000,
      what: () =>
        `7 to be closed and 3 answered, got ${eventsOf(honeyport, 'close').length} and ${heard.length}`,
    });
    assert.ok(eventsOf(honeyport, 'close').every(({ by, tx }) => by === 'limit' && tx === 0));
    assert.equal(eventsOf(honeyport, 'connect').length, 10);
    assert.ok(heard.every(isRunning), 'those that were started run');
    const { code } = await honeyport.stop();
    assert.equal(code, 0);
    assert.ok(!heard.some(isRunning), 'the end of the listener is theirs');
    const ends = eventsOf(honeyport, 'close').filter(({ by }) => by === 'honeyport');
    assert.equal(ends.length, 3);
    assert.match(honeyport.lines().at(-1)!, /: stop signal=SIGTERM /);
  });

  test('of 10,000 idle clients as many as the limit says are held; all are logged, and a fresh one is at once', async (context) => {
    const port = ports();
    const limit = 1024;
    const { honeyport } = await start(
      context,
      `  - { name: idle, ports: ${port}-${port + 9}, capture: 512, hold: 1h }
  - { name: plain, ports: ${port + 10} }`,
      `conversations: ${limit}, ${UNTHROTTLED}`,
    );
    const residentKib = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${honeyport.pid}/status`, 'latin1'))![1]);
    const before = residentKib();
    const loading = runLoad({
      address: '127.0.0.1',
      ports: [port, port + 9],
      count: 10_000,
      concurrency: 10_000,
      mode: 'hold',
      holdMs: 20_000,
      firstSource: '127.1.0.1',
      wallS: 50,
    });
    const ends = () => honeyport.lines().filter((line) => line.includes(': close '));
    await waitFor(() => ends().length === 10_000 - limit, {
      deadlineMs: 40_000,
      what: () => `${10_000 - limit} to be closed, got ${ends().length}`,
      everyMs: 100,
    });
    assert.ok(
      ends().every((line) => / rx=0 tx=0 by=limit$/.test(line)),
      'those that were closed are beyond the limit',
    );
    const fresh = await talk({ port: port + 10, from: '127.2.0.1' });
    assert.equal(fresh.end, 'end');
    assert.equal(ends().length, 10_000 - limit, 'the fresh one is logged while the others are held');
    await honeyport.waitForLine(/: connect src=127\.2\.0\.1 /, 1000);
    const after = residentKib();
    assert.ok(after - before < 65_536, `it grew by ${after - before} KiB`);
    const { established } = await loading;
    assert.equal(established.length, 10_000);
    assert.equal(honeyport.lines().filter((line) => / connect .* decoy=idle /.test(line)).length, 10_000);
    await waitFor(() => ends().length === 10_000, { deadlineMs: 10_000, what: 'all to be closed' });
    assert.equal(ends().filter((line) => / by=peer$/.test(line)).length, limit);
  });

  test('a banner is sent, also a large one from a file that a slow peer reads; the connection ends in order', async (context) => {
    const port = ports();
    const dir = temporaryDirectory(context);
    const large = Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7) & 255));
    writeFileSync(join(dir, 'large'), large);
    const { honeyport } = await start(
      context,
      `  - { name: ssh, ports: ${port}, banner: "SSH-2.0-OpenSSH_9.6\\r\\n" }
  - { name: large, ports: ${port + 1}, banner: { file: ${join(dir, 'large')} } }
  - { name: ask, ports: ${port + 2}, banner: "login: ", capture: 8 }`,
    );
    assert.deepEqual(
      { ...(await talk({ port, say: 'SSH-2.0-x\r\n' })), localPort: 0 },
      { heard: 'SSH-2.0-OpenSSH_9.6\r\n', end: 'end', localPort: 0 },
    );
    const { heard, end } = await talk({ port: port + 1, say: 'y'.repeat(50_000) });
    assert.equal(end, 'end');
    assert.ok(Buffer.from(heard, 'latin1').equals(large), 'the large banner is whole');
    await talk({ port: port + 2, say: 'root\r\npassword\r\n' });
    const [data] = eventsOf(honeyport, 'data');
    assert.deepEqual([data!.text, data!.bytes], ['root\r\npa', 8]);
    const closes = eventsOf(honeyport, 'close').map(({ decoy, tx, by }) => [decoy, tx, by]);
    assert.deepEqual(closes, [
      ['ssh', 21, 'honeyport'],
      ['large', 65_536, 'honeyport'],
      ['ask', 7, 'honeyport'],
    ]);
  });

  test('a changed banner file counts without a signal; conversations go on over a reload', async (context) => {
    const port = ports();
    const dir = temporaryDirectory(context);
    const file = join(dir, 'banner');
    writeFileSync(file, 'one\n');
    const { honeyport } = await start(
      context,
      `  - { name: b, ports: ${port}, banner: { file: ${file} } }
  - { name: h, ports: ${port + 1}, hold: 1h, capture: 100 }`,
    );
    const held = open({ port: port + 1 });
    context.after(() => held.destroy());
    await honeyport.waitForLine(/: connect .* decoy=h /);
    assert.equal((await talk({ port })).heard, 'one\n');
    writeFileSync(file, 'two\n');
    await honeyport.waitForLine(/: reload result=applied /);
    assert.equal((await talk({ port })).heard, 'two\n');
    held.end('still here');
    await honeyport.waitForLine(/: data .* decoy=h .* text="still here"$/);
  });

  test('a conversation lasts no longer than hold, and ends when the peer does', async (context) => {
    const port = ports();
    const { honeyport } = await start(
      context,
      `  - { name: hold, ports: ${port}, hold: 500ms }
  - { name: wait, ports: ${port + 1}, capture: 100, hold: 1h }`,
    );
    assert.equal((await talk({ port, say: 'abc' })).end, 'end');
    await talk({ port: port + 1, say: 'abc', ends: true });
    const reset = open({ port: port + 1 });
    await new Promise((resolve) => reset.once('connect', resolve));
    await honeyport.waitForLine(new RegExp(`: connect .* spt=${reset.localPort} `));
    reset.resetAndDestroy();
    await waitFor(() => eventsOf(honeyport, 'close').length === 3, { deadlineMs: 5000, what: 'three ends' });
    const closes = eventsOf(honeyport, 'close').map(({ decoy, rx, by }) => [decoy, rx, by]);
    assert.deepEqual(closes, [
      ['hold', 3, 'limit'],
      ['wait', 3, 'peer'],
      ['wait', 0, 'peer'],
    ]);
    const [hold] = eventsOf(honeyport, 'close');
    assert.ok(Number(hold!.duration_ms) >= 500, `it lasted ${hold!.duration_ms} ms`);
  });

  test('a tarpit sends short lines without end, none of them an SSH greeting', async (context) => {
    const port = ports();
    const { honeyport } = await start(
      context,
      `  - { name: tar, ports: ${port}, tarpit: true, capture: 100 }`,
    );
    const begin = performance.now();
    const { heard, end } = await talk({ port, say: 'SSH-2.0-client\r\n', deadlineMs: 24_000 });
    // two, unless this process had its turn late
    const most = Math.floor((performance.now() - begin) / TARPIT_PAUSE_MS);
    assert.equal(end, 'deadline');
    assert.match(heard, /^(?:[\x21-\x7e]{3,32}\r\n)+$/);
    assert.ok(heard.split('\n').length - 1 <= most, `more than ${most} lines: ${heard}`);
    assert.doesNotMatch(heard, /^SSH-/m);
    await honeyport.waitForLine(/: close .* by=peer$/);
    const [[data], [close]] = [eventsOf(honeyport, 'data'), eventsOf(honeyport, 'close')];
    assert.deepEqual([data!.text, close!.tx], ['SSH-2.0-client\r\n', heard.length]);
  });

  /** What has broken logs, terminals and filters. */
  const HOSTILE = [
    '\n',
    '"',
    '\\',
    '\\x0a',
    '"\\"',
    '\x1b[2J\x1b]0;owned\x07',
    '\r\n2026-11-22T03:04:58.123+00:00 web-1 honeyport[812]: connect src=192.0.2.66 spt=1 dst=192.0.2.1 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42\r\n',
    '" connect src=192.0.2.66 spt=1 dst=192.0.2.1 dpt=23 proto=tcp decoy=telnet id=7f3k9q2x.42 ',
    'honeyport[812]: connect src=192.0.2.66 spt=1 dst=192.0.2.1 dpt=23 proto=tcp decoy=telnet id=a.1',
    '\0\0\0\0',
    '\xff\xfe\xc0\x80\xed\xa0\x80',
    '%s%n%x $(reboot) `reboot` $\x7bjndi:ldap://x/y} <script>',
    ' cause=forged.1 by=peer',
  ];

  test('hostile payloads are one data line each, from which the bytes can be read back, and the filter takes none', async (context) => {
    const port = ports();
    const { honeyport } = await start(context, `  - { name: all, ports: ${port}, capture: 65536, hold: 1h }`);
    const each = Array.from({ length: 256 }, (_, byte) => Buffer.alloc(65_536, byte));
    const payloads = [...HOSTILE.map((text) => Buffer.from(text, 'latin1')), ...each];
    for (const say of payloads) await talk({ port, say, ends: true });
    const lines = honeyport.lines();
    assert.equal(lines.length, 1 + payloads.length * 3, 'connect, data and close for each');
    const data = eventsOf(honeyport, 'data');
    assert.equal(data.length, payloads.length);
    for (const [i, { text }] of data.entries()) {
      assert.ok(Buffer.from(String(text), 'latin1').equals(payloads[i]!), `payload ${i} is read back`);
    }
    assert.ok(
      lines.every((line) => /^[\x20-\x7e]+$/.test(line)),
      'every line is printable ASCII',
    );
    const directory = fail2banDirectory();
    makeConfiguration(join(directory, 'etc'));
    const log = join(directory, 'log.txt');
    writeFileSync(
      log,
      lines
        .filter((line) => !line.includes(': connect '))
        .map((line) => `${line}\n`)
        .join(''),
    );
    assert.deepEqual(findAddresses('host', directory, log), [], 'no data line is taken');
    writeFileSync(
      log,
      lines
        .slice(0, 50)
        .map((line) => `${line}\n`)
        .join(''),
    );
    assert.ok(findAddresses('host', directory, log).every((address) => address === '127.0.0.1'));
  });

  test('captures that end all at once lose nothing of what they captured, however little may wait for the log', async (context) => {
    const port = ports();
    const peers = 300;
    const { honeyport } = await start(
      context,
      `  - { name: all, ports: ${port}, capture: 65536, hold: 4s }`,
      `pending_lines: 1000, ${UNTHROTTLED}`,
    );
    const sockets = Array.from({ length: peers }, () => open({ port }));
    context.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    // one byte less than would end the conversation
    for (const socket of sockets) socket.write(Buffer.alloc(65_535));
    await waitFor(() => eventsOf(honeyport, 'close').length === peers, {
      deadlineMs: 30_000,
      what: () => `${peers} ends, got ${eventsOf(honeyport, 'close').length}`,
      everyMs: 500,
    });
    assert.deepEqual(
      eventsOf(honeyport, 'data').map(({ bytes }) => bytes),
      Array.from({ length: peers }, () => 65_535),
    );
    assert.deepEqual(eventsOf(honeyport, 'suppressed'), []);
  });

  test('peers beyond the limit that keep their side open cost no descriptor', async (context) => {
    const port = ports();
    const limit = 200;
    const { honeyport } = await start(
      context,
      `  - { name: idle, ports: ${port}-${port + 9}, banner: hello, hold: 1h }`,
      `conversations: ${limit}, ${UNTHROTTLED}`,
    );
    const descriptors = () => readdirSync(`/proc/${honeyport.pid}/fd`).length;
    const before = descriptors();
    const loading = runLoad({
      address: '127.0.0.1',
      ports: [port, port + 9],
      count: 4000,
      concurrency: 4000,
      mode: 'hold',
      holdMs: 6000,
      firstSource: '127.3.0.1',
    });
    let most = 0;
    await waitFor(
      () => {
        most = Math.max(most, descriptors() - before);
        return honeyport.lines().filter((line) => line.includes(': close ')).length >= 4000 - limit;
      },
      { deadlineMs: 20_000, what: 'the ends of those beyond the limit', everyMs: 5 },
    );
    // beside the conversations, a batch of connections that are just being accepted
    assert.ok(most <= limit + 300, `${most} descriptors more than at the start`);
    await loading;
    await waitFor(() => descriptors() <= before, { deadlineMs: 10_000, what: 'all of them to be closed' });
  });

  test('a source that has more than its share of the conversations gives way to others, and they do not to it', async (context) => {
    const port = ports();
    const { honeyport } = await start(
      context,
      `  - { name: t, ports: ${port}, tarpit: true }
  - { name: b, ports: ${port + 1}, banner: "hello\\n", capture: 1 }`,
      `conversations: 32, ${UNTHROTTLED}`,
    );
    const greedy = Array.from({ length: 40 }, () => open({ port }));
    context.after(() => {
      for (const socket of greedy) socket.destroy();
    });
    const closes = () => eventsOf(honeyport, 'close');
    await waitFor(() => closes().length === 8, {
      deadlineMs: 10_000,
      what: () => `8 ends, got ${closes().length}`,
    });
    const first = eventsOf(honeyport, 'connect').slice(0, 32);
    const held = new Set(first.map(({ spt }) => spt));
    assert.ok(!closes().some(({ spt }) => held.has(spt!)), 'its own do not give way to each other');
    const { heard } = await talk({ port: port + 1, from: '127.0.0.9', say: 'x' });
    assert.equal(heard, 'hello\n', 'another source has its conversation');
    const ends = () => closes().map(({ src, by, tx }) => `${src} ${by} ${tx}`);
    await waitFor(() => closes().length === 10, { deadlineMs: 5000, what: () => `10 ends, got ${ends()}` });
    assert.deepEqual(ends().slice(8).sort(), ['127.0.0.1 limit 0', '127.0.0.9 honeyport 6']);
    const [oldest] = first;
    assert.ok(
      closes().some(({ spt }) => spt === oldest!.spt),
      'the oldest gave way',
    );
  });

  test('a reload to a response while what starts programs is not there, as in an upgrade, ends nothing', async (context) => {
    const port = ports();
    const dir = temporaryDirectory(context);
    const root = dirname(dirname(CLI));
    cpSync(join(root, 'dist'), join(dir, 'dist'), { recursive: true });
    cpSync(join(root, 'package.json'), join(dir, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
    const config = (more: string) => `decoys: [{ name: d, ports: ${port}${more} }]\n${LOOPBACK}\n`;
    const honeyport = await startHoneyport({ dir, cli: join(dir, 'dist/cli.js'), config: config('') });
    context.after(() => honeyport.stop());
    const runner = join(dir, 'dist/system/run-program.js');
    renameSync(runner, `${runner}.away`);
    const response = config(', response: { command: [/bin/echo, hello] }');
    writeFileSync(honeyport.configFile, response.replaceAll('LOG', honeyport.logFile));
    await honeyport.waitForStderr(/warning: programs cannot be started: /);
    const { end } = await talk({ port });
    assert.equal(end, 'end');
    await honeyport.waitForStderr(/the response of decoy d failed: \/bin\/echo: it cannot be started/);
    await honeyport.waitForLine(/: close .* by=honeyport$/);
    assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
  });
});
