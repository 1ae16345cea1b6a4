import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));
const NOBODY = 65_534;
const RUN_TIMEOUT_MS = 30_000;

/** Good but for what a test adds. */
const GOOD_DECOY = 'decoys: [{ ports: 2222 }]\n';

const FILE_HINT =
  'honeyport: hint: docs/honeyport.yaml is a sample to start from; without any file, `honeyport run -p 2222` listens too';
const PORT_HINT =
  'honeyport: hint: a decoy port is one that no service uses: stop that program or choose another port';
const USAGE_HINT = 'honeyport: hint: see honeyport --help';
const PORTS_HINT = 'honeyport: hint: for example -p 22, -p 5900-5910 or -p 22,23';

/** What is wrong, the file, and every line on standard error, where F stands for the file. */
const FAULTY_FILES: readonly (readonly [title: string, text: string, ...lines: string[]])[] = [
  [
    'a file that is not YAML',
    'decoys: [{ ports: 22\n',
    'honeyport: error: F:2:1: not valid YAML: flow map in block collection must be sufficiently indented and end with a }',
    'honeyport: error: F:2:1: not valid YAML: flow sequence in block collection must be sufficiently indented and end with a ]',
  ],
  ['an empty file', '', 'honeyport: error: F:1:1: expected a mapping with the key decoys, got nothing'],
  [
    'an unknown key',
    `${GOOD_DECOY}logs: {}\n`,
    'honeyport: error: F:2:1: logs: unknown key, did you mean log?',
  ],
  [
    'a port out of range',
    'decoys: [{ ports: 70000 }]\n',
    'honeyport: error: F:1:19: decoys[0].ports: expected a port between 1 and 65535, got 70000',
  ],
  [
    'a range that falls',
    'decoys: [{ ports: 30-20 }]\n',
    'honeyport: error: F:1:19: decoys[0].ports: expected a range that rises, got 30-20',
  ],
  [
    'a port that stands twice',
    'decoys:\n  - ports: 2222\n  - { name: b, ports: 2220-2230 }\n',
    'honeyport: error: F:3:23: decoys[1].ports: expected each port once, got 2222 (line 2 has it)',
  ],
  [
    'an address that is none',
    'decoys: [{ ports: 2222, address: 192.0.2.300 }]\n',
    'honeyport: error: F:1:34: decoys[0].address: expected an IPv4 or IPv6 address, got "192.0.2.300"',
  ],
  [
    'a relative path of the log',
    `${GOOD_DECOY}log: { file: { path: honeyport.log } }\n`,
    'honeyport: error: F:2:22: log.file.path: expected an absolute path such as /var/log/honeyport/honeyport.log, got "honeyport.log"',
  ],
  [
    'several problems',
    'sensor: two words\ndecoys:\n  - { prots: 22 }\n  - { ports: 0, address: x }\n',
    'honeyport: error: F:1:9: sensor: expected 1 to 255 of the characters A-Z a-z 0-9 . _ -, got "two words"',
    'honeyport: error: F:3:5: decoys[0]: expected a key ports',
    'honeyport: error: F:3:7: decoys[0].prots: unknown key, did you mean ports?',
    'honeyport: error: F:4:14: decoys[1].ports: expected a port between 1 and 65535, got 0',
    'honeyport: error: F:4:26: decoys[1].address: expected an IPv4 or IPv6 address, got "x"',
  ],
  [
    'values that would steer the terminal',
    'sensor: "\\e[2J\\r\\nhoneyport: all is well\\x9b"\ndecoys: [{ ports: 2222, "\\e]0;title\\a": 1 }]\n',
    'honeyport: error: F:1:9: sensor: expected 1 to 255 of the characters A-Z a-z 0-9 . _ -, got "\\u001b[2J\\r\\nhoneyport: all is well\\x9b"',
    'honeyport: error: F:2:25: decoys[0]["\\u001b]0;title\\u0007"]: unknown key, expected one of address, banner, capture, except, hold, name, ports, proxy_protocol, response, tarpit',
  ],
  [
    'raw bytes that would steer the terminal',
    'decoys: "\\\x1b"\n',
    'honeyport: error: F:1:10: not valid YAML: invalid escape sequence \\\\x1b',
  ],
];

for (const command of ['run', 'check']) {
  for (const [title, text, ...lines] of FAULTY_FILES) {
    test(`${command} refuses ${title}`, (context) => {
      const stage = makeStage(context);
      const file = stage.configure(text);
      const wanted = lines.map((line) => line.replace('F:', `${file}:`));
      assert.deepEqual(refusal(stage, [command, '-c', file]), wanted);
      assert.deepEqual(readdirSync(stage.dir), ['honeyport.yaml'], 'nothing may be made');
    });
  }

  test(`${command} names a file that is not there`, (context) => {
    const stage = makeStage(context);
    const file = join(stage.dir, 'honeyport.yaml');
    const lines = [`honeyport: error: ${file}: no such file`, FILE_HINT];
    assert.deepEqual(refusal(stage, [command, '-c', file]), lines);
  });

  test(`${command} names a file that its user may not read`, (context) => {
    const stage = makeStage(context);
    const file = stage.configure(GOOD_DECOY);
    chmodSync(file, 0o600);
    assert.deepEqual(refusal(stage, [command, '-c', file], asNobody(stage)), [
      `honeyport: error: ${file}: permission denied`,
      'honeyport: hint: let the user that runs honeyport read the file and enter its directory',
    ]);
  });

  test(`${command} makes the name of a file fit for the terminal`, (context) => {
    const lines = ['honeyport: error: a\\x1b[2J\\x0a.yaml: no such file', FILE_HINT];
    assert.deepEqual(refusal(makeStage(context), [command, '-c', 'a\x1b[2J\n.yaml']), lines);
  });

  test(`${command} refuses an empty name of a file, as from a variable that is not set`, (context) => {
    const lines = ['honeyport: error: --config: expected the name of a file, got ""'];
    assert.deepEqual(refusal(makeStage(context), [command, '-c', '']), lines);
  });
}

test('check opens no socket and makes no log', async (context) => {
  const stage = makeStage(context);
  const port = await listen(context, '0.0.0.0');
  const file = stage.configure(
    `decoys: [{ name: a, ports: ${port} }, { name: b, ports: 1, address: 192.0.2.77 }]\nlog: { file: { path: LOG } }\n`,
  );
  const { code, stdout, stderr } = honeyport(stage, ['check', '-c', file], asNobody(stage));
  assert.equal(stderr, '');
  assert.equal(stdout, `${file}: decoys: 2, ports: 2, allow entries: 0, log: ${stage.log}\n`);
  assert.equal(code, 0);
  assert.deepEqual(readdirSync(stage.dir), ['honeyport.yaml']);
});

for (const address of ['0.0.0.0', '127.0.0.1', '::', '::1']) {
  test(`a port that a program has on ${address} is refused by the name of that program`, async (context) => {
    const stage = makeStage(context);
    const port = await listen(context, address);
    const file = stage.configure(`decoys: [{ ports: ${port} }]\nlog: { file: { path: LOG } }\n`);
    assert.deepEqual(refusal(stage, ['run', '-c', file]), [
      `honeyport: error: cannot listen on port ${port}: in use by ${nameOfThisProcess()}`,
      PORT_HINT,
    ]);
  });
}

test('every port that is in use is named, with its address', async (context) => {
  const stage = makeStage(context);
  const first = await listen(context, '127.0.0.1');
  const second = await listen(context, '::1');
  const file = stage.configure(
    `decoys:\n  - { name: a, ports: ${first}, address: 127.0.0.1 }\n  - { name: b, ports: ${second}, address: "::1" }\nlog: { file: { path: LOG } }\n`,
  );
  const owner = nameOfThisProcess();
  assert.deepEqual(refusal(stage, ['run', '-c', file]), [
    `honeyport: error: cannot listen on 127.0.0.1:${first}: in use by ${owner}`,
    `honeyport: error: cannot listen on [::1]:${second}: in use by ${owner}`,
    PORT_HINT,
  ]);
});

test('a program whose main thread has a name of its own is known by its file', async (context) => {
  const stage = makeStage(context);
  const link = join(stage.dir, 'MainThread');
  symlinkSync(process.execPath, link);
  const program = "require('net').createServer().listen(0, function () { console.log(this.address().port) })";
  const holder = spawn(link, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  context.after(() => holder.kill('SIGKILL'));
  let port = '';
  holder.stdout.on('data', (text) => {
    port += text;
  });
  await waitFor(() => port.endsWith('\n'), { deadlineMs: 10_000, what: 'a program that listens' });
  port = port.trim();
  assert.deepEqual(refusal(stage, ['run', '-p', port]), [
    `honeyport: error: cannot listen on port ${port}: in use by ${basename(process.execPath)}[${holder.pid}]`,
    PORT_HINT,
  ]);
});

test('to an unprivileged user the program of another stays unnamed', async (context) => {
  const stage = makeStage(context);
  const port = await listen(context, '::');
  const file = stage.configure(`decoys: [{ ports: ${port} }]\nlog: { file: { path: LOG } }\n`);
  assert.deepEqual(refusal(stage, ['run', '-c', file], asNobody(stage)), [
    `honeyport: error: cannot listen on port ${port}: in use by another program, which only root may name`,
    PORT_HINT,
  ]);
});

test('a privileged port is refused to a user without the capability', (context) => {
  const stage = makeStage(context);
  const file = stage.configure('decoys: [{ ports: [23, 1023] }]\nlog: { file: { path: LOG } }\n');
  assert.deepEqual(refusal(stage, ['run', '-c', file], asNobody(stage, { ownNetwork: true })), [
    'honeyport: error: cannot listen on port 23: ports below 1024 need the capability CAP_NET_BIND_SERVICE',
    'honeyport: error: cannot listen on port 1023: ports below 1024 need the capability CAP_NET_BIND_SERVICE',
    'honeyport: hint: give the service AmbientCapabilities=CAP_NET_BIND_SERVICE, or choose a higher port',
  ]);
});

test('an address that this host does not have is refused', (context) => {
  const stage = makeStage(context);
  const file = stage.configure(
    'decoys:\n  - { name: a, ports: 2222, address: 192.0.2.77 }\n  - { name: b, ports: 2223, address: "2001:db8::77" }\nlog: { file: { path: LOG } }\n',
  );
  assert.deepEqual(refusal(stage, ['run', '-c', file]), [
    'honeyport: error: cannot listen on 192.0.2.77:2222: no interface of this host has that address',
    'honeyport: error: cannot listen on [2001:db8::77]:2223: no interface of this host has that address',
    'honeyport: hint: `ip -brief address` shows the addresses of this host',
  ]);
});

test('one address that is wrong is not reported for each of its thousand ports', (context) => {
  const stage = makeStage(context);
  const file = stage.configure(
    'decoys: [{ ports: 2000-2999, address: 192.0.2.77 }]\nlog: { file: { path: LOG } }\n',
  );
  assert.equal(refusal(stage, ['run', '-c', file]).length, 11);
});

test('a limit of open files that is too low is refused, with where to raise it', (context) => {
  const stage = makeStage(context);
  const file = stage.configure(
    'decoys: [{ ports: 2000-2999, address: 127.0.0.1 }]\nlog: { file: { path: LOG } }\n',
  );
  const wrapper = [requireProgram('unshare'), '--net', requireProgram('prlimit'), '--nofile=100'];
  const lines = refusal(stage, ['run', '-c', file], [...wrapper, process.execPath, CLI]);
  assert.match(
    lines[0]!,
    /^honeyport: error: cannot listen on 127\.0\.0\.1:\d+: the limit of open files is reached$/,
  );
  assert.equal(
    lines.at(-1),
    'honeyport: hint: raise it (ulimit -n, or LimitNOFILE= of the service): each port needs one',
  );
});

/** The path of the log, what makes it unfit, and what is said of it; D stands for the directory. */
const UNFIT_LOGS: readonly {
  readonly title: string;
  readonly path: string;
  readonly prepare?: (stage: Stage) => void;
  readonly user?: 'nobody';
  readonly lines: readonly string[];
}[] = [
  {
    title: 'in a directory that is not there',
    path: 'D/no/such/honeyport.log',
    lines: [
      'honeyport: error: cannot write the log D/no/such/honeyport.log: the directory D/no/such does not exist',
      'honeyport: hint: mkdir -p D/no/such, owned by the user that honeyport runs as',
    ],
  },
  {
    title: 'in a directory that its user may not write to',
    path: 'D/closed/honeyport.log',
    prepare: ({ dir }) => mkdirSync(join(dir, 'closed'), { mode: 0o755 }),
    user: 'nobody',
    lines: [
      'honeyport: error: cannot write the log D/closed/honeyport.log: user 65534 has no right to',
      'honeyport: hint: chown D/closed to the user that honeyport runs as, or set log.file.path',
    ],
  },
  {
    title: 'that belongs to another user',
    path: 'D/honeyport.log',
    prepare: ({ log }) => writeFileSync(log, '', { mode: 0o640 }),
    user: 'nobody',
    lines: [
      'honeyport: error: cannot write the log D/honeyport.log: user 65534 has no right to',
      'honeyport: hint: chown D/honeyport.log to the user that honeyport runs as, or set log.file.path',
    ],
  },
  {
    title: 'that is a directory',
    path: 'D/honeyport.log',
    prepare: ({ log }) => mkdirSync(log),
    lines: ['honeyport: error: cannot write the log D/honeyport.log: it is a directory'],
  },
  {
    title: 'that is a FIFO, without waiting for a reader',
    path: 'D/honeyport.log',
    prepare: ({ log }) => execFileSync('mkfifo', [log]),
    lines: ['honeyport: error: cannot write the log D/honeyport.log: it is not a regular file'],
  },
  {
    title: 'that is /dev/null',
    path: '/dev/null',
    lines: ['honeyport: error: cannot write the log /dev/null: it is not a regular file'],
  },
  {
    title: 'that is a link to nothing',
    path: 'D/honeyport.log',
    prepare: ({ log }) => symlinkSync('nowhere', log),
    lines: ['honeyport: error: cannot write the log D/honeyport.log: it is a symbolic link to nothing'],
  },
  {
    title: 'that is a link to itself',
    path: 'D/honeyport.log',
    prepare: ({ log }) => symlinkSync('honeyport.log', log),
    lines: ['honeyport: error: cannot write the log D/honeyport.log: too many symbolic links'],
  },
  {
    title: 'below a file',
    path: 'D/honeyport.yaml/honeyport.log',
    lines: [
      'honeyport: error: cannot write the log D/honeyport.yaml/honeyport.log: a part of its path is not a directory',
    ],
  },
];

for (const { title, path, prepare, user, lines } of UNFIT_LOGS) {
  test(`a log ${title} is refused`, (context) => {
    const stage = makeStage(context);
    prepare?.(stage);
    const inDirectory = (text: string) => text.replaceAll(/\bD\//g, `${stage.dir}/`);
    const file = stage.configure(`${GOOD_DECOY}log: { file: { path: ${inDirectory(path)} } }\n`);
    const command = user === 'nobody' ? asNobody(stage, { ownNetwork: true }) : undefined;
    assert.deepEqual(refusal(stage, ['run', '-c', file], command), lines.map(inDirectory));
  });
}

/** Arguments, and every line on standard error. */
const USAGE_ERRORS: readonly (readonly [args: readonly string[], ...lines: string[]])[] = [
  [['--nope'], "honeyport: error: unknown option '--nope'", USAGE_HINT],
  [['run', '--nope'], "honeyport: error: unknown option '--nope'", USAGE_HINT],
  [['run', '--confg', 'x'], "honeyport: error: unknown option '--confg', did you mean --config?", USAGE_HINT],
  [['run', '--\x1b[2J\n'], "honeyport: error: unknown option '--\\x1b[2J\\x0a'", USAGE_HINT],
  [['nope'], "honeyport: error: unknown command 'nope'", USAGE_HINT],
  [['chekc'], "honeyport: error: unknown command 'chekc', did you mean check?", USAGE_HINT],
  [['\x1b[2J\nx'], "honeyport: error: unknown command '\\x1b[2J\\x0ax'", USAGE_HINT],
  [['run', '-c'], "honeyport: error: option '-c, --config <file>' argument missing", USAGE_HINT],
  [['check', '-c'], "honeyport: error: option '-c, --config <file>' argument missing", USAGE_HINT],
  [['run', '-p'], "honeyport: error: option '-p, --port <ports...>' argument missing", USAGE_HINT],
  [['run', 'now'], "honeyport: error: too many arguments for 'run': expected 0, got 1", USAGE_HINT],
  [['schema', 'a', 'b'], "honeyport: error: too many arguments for 'schema': expected 1, got 2", USAGE_HINT],
  [['schema', 'a\n'], 'honeyport: error: expected honeyport or dome9, got "a\\x0a"'],
  [
    ['dome9', 'stauts'],
    'honeyport: error: expected status, or nothing, after dome9, got "stauts"',
    'honeyport: hint: see honeyport dome9 --help',
  ],
  [['dome9', '-c', ''], 'honeyport: error: --config: expected the name of a file, got ""'],
  [['run', '-p', '22', '-c', 'x'], 'honeyport: error: --config and --port: expected one of them'],
  [['run', '-p', '22', '-c', ''], 'honeyport: error: --config and --port: expected one of them'],
  [
    ['run', '--default', '-p', '22', '-c', 'x'],
    'honeyport: error: --config and --port and --default: expected one of them',
  ],
  [
    ['run', '-p', '70000'],
    'honeyport: error: -p 70000: expected a port between 1 and 65535, got 70000',
    PORTS_HINT,
  ],
  [['run', '-p', '30-20'], 'honeyport: error: -p 30-20: expected a range that rises, got 30-20', PORTS_HINT],
  [
    ['run', '-p', '22', '-p', '22'],
    'honeyport: error: -p 22: expected each port once, got 22 again',
    PORTS_HINT,
  ],
  [
    ['run', '-p', 'ssh\x1b[2J'],
    'honeyport: error: -p ssh\\u001b[2J: expected a port between 1 and 65535 or a range such as 5900-5910, got "ssh\\u001b[2J"',
    PORTS_HINT,
  ],
];

for (const [args, ...lines] of USAGE_ERRORS) {
  test(`honeyport ${JSON.stringify(args.join(' ')).slice(1, -1)} is a usage error`, (context) => {
    const stage = makeStage(context);
    assert.deepEqual(refusal(stage, args), lines);
    assert.equal(existsSync(stage.log), false);
  });
}

/** A directory that everybody may write to, with a configuration and a log to be. */
interface Stage {
  readonly dir: string;
  readonly log: string;
  /** Writes the configuration, in which LOG stands for the path of the log, and returns its path. */
  configure(text: string): string;
  /** For what a test needs beside. */
  readonly context: TestContext;
}

function makeStage(context: TestContext): Stage {
  const dir = temporaryDirectory(context);
  // not sticky, which would keep nobody from a FIFO in it
  chmodSync(dir, 0o777);
  const log = join(dir, 'honeyport.log');
  const configure = (text: string) => {
    const file = join(dir, 'honeyport.yaml');
    writeFileSync(file, text.replace('LOG', log));
    return file;
  };
  return { dir, log, configure, context };
}

/** The lines on standard error of a honeyport that refuses, which must be all that it says. */
function refusal(stage: Stage, args: readonly string[], command?: readonly string[]): string[] {
  const { code, stdout, stderr } = honeyport(stage, args, command);
  assert.equal(code, 2, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, /^[ -~\n]*\n$/, 'printable ASCII in whole lines');
  return stderr.split('\n').slice(0, -1);
}

function honeyport(
  { dir }: Stage,
  args: readonly string[],
  [command, ...before]: readonly string[] = [process.execPath, CLI],
): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr, signal } = spawnSync(command!, [...before, ...args], {
    cwd: dir,
    encoding: 'latin1',
    timeout: RUN_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  assert.equal(signal, null, `ended by ${signal}, not by itself:\n${stderr}`);
  return { code: status, stdout, stderr };
}

/**
 * The command of a honeyport of the user nobody, without capabilities. The package and Node are bound to where nobody
 * can read them, which a home directory need not be; the mounts go with the process.
 */
function asNobody({ context }: Stage, { ownNetwork = false } = {}): string[] {
  const place = temporaryDirectory(context);
  chmodSync(place, 0o755);
  mkdirSync(join(place, 'package'));
  writeFileSync(join(place, 'node'), '');
  const script =
    'mount --bind "$1" "$2/package"; mount --bind "$3" "$2/node"; at=$2; shift 3; exec "$@"'.replace(
      '"$@"',
      `${requireProgram('setpriv')} --reuid=${NOBODY} --regid=${NOBODY} --clear-groups --inh-caps=-all --bounding-set=-all "$at/node" "$at/package/dist/cli.js" "$@"`,
    );
  const network = ownNetwork ? ['--net'] : [];
  const unshare = [requireProgram('unshare'), ...network, '--mount', '--propagation', 'private'];
  return [...unshare, 'sh', '-ec', script, 'sh', PACKAGE, place, process.execPath];
}

/** Listens in this process, until the test ends. */
async function listen(context: TestContext, address: string): Promise<number> {
  const server = createServer().listen(0, address);
  context.after(() => server.close());
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
  return (server.address() as AddressInfo).port;
}

function nameOfThisProcess(): string {
  return `${basename(readlinkSync('/proc/self/exe'))}[${process.pid}]`;
}
