import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { socketDropInText } from '../../src/installation/socket-unit.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { type RunningHoneyport, readLines, type StartOptions, startHoneyport } from '../support/listener.ts';
import { createNetwork, type Network } from '../support/namespaces.ts';
import { startNotifySocket } from '../support/notify-socket.ts';
import { requireProgram } from '../support/programs.ts';
import { compileSeccomp } from '../support/seccomp.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 15_000;
const UNIT = readFileSync(new URL('../../systemd/honeyport.service', import.meta.url), 'utf8');
/** Neither root nor the owner of anything else. */
const SERVICE_USER = 64_322;
/** Debian's nobody and nogroup. */
const NOBODY = 65_534;
const NOBODY_S_GROUP = 65_534;
/** CAP_NET_BIND_SERVICE, as /proc shows it. */
/** CAP_NET_BIND_SERVICE and CAP_NET_RAW. */
const FOR_LISTENERS = '0000000000002400';
const NONE = '0000000000000000';

// the service as the unit starts it

test('with the unit’s user and capability it is ready after its start line, and tells of reloads and its end', async (context) => {
  const stage = createStage(context);
  const notify = await startNotifySocket(context);
  const honeyport = await start(context, stage, {
    config: configuration([23]),
    wrapper: await asUnit(stage),
    env: { NOTIFY_SOCKET: notify.path, WATCHDOG_USEC: '300000' },
    started: false,
  });
  await notify.waitForState(/^READY=1/);
  assert.deepEqual(kinds(stage.log), ['start'], 'the line comes first');
  const { CapEff, Seccomp } = readStatus(`/proc/${honeyport.pid}/status`);
  assert.deepEqual([CapEff, Seccomp], [FOR_LISTENERS, '2'], 'it has what the unit gives, and no more');
  await notify.waitForState(/\nSTATUS=1 decoy, 1 port$/);
  await waitFor(() => notify.signs() > 1, { deadlineMs: DEADLINE_MS, what: 'signs of life' });

  await reload(stage, honeyport, configuration([23, 25]));
  await notify.waitForState(/^READY=1\nSTATUS=1 decoy, 2 ports$/);
  for (const port of [23, 25]) knock(stage.network, port);
  for (const port of [23, 25]) await waitForLine(stage.log, new RegExp(`: connect .* dpt=${port} .* ttl=`));

  await reload(stage, honeyport, 'decoys: nonsense');
  await notify.waitForState(/^READY=1\nSTATUS=1 decoy, 2 ports; the last reload was refused$/);
  const states = notify.states();
  states.forEach((state, index) => {
    if (state.startsWith('RELOADING=1'))
      assert.match(states[index + 1] ?? '', /^READY=1\n/, 'each has its end');
  });
  assert.match(states.find((state) => state.startsWith('RELOADING')) ?? '', /\nMONOTONIC_USEC=[1-9][0-9]+$/);

  assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
  await notify.waitForState(/^STOPPING=1/);
  assert.match(notify.states().at(-1) ?? '', /^STOPPING=1/);
});

test('a start that fails is never ready', async (context) => {
  const stage = createStage(context);
  const notify = await startNotifySocket(context);
  const honeyport = await start(context, stage, {
    config: configuration([23]).replace('STAGE/log', 'STAGE/nowhere/log'),
    wrapper: await asUnit(stage),
    env: { NOTIFY_SOCKET: notify.path, WATCHDOG_USEC: '300000' },
    started: false,
  });
  await honeyport.waitForStderr(/^honeyport: error: cannot write the log /m);
  assert.equal((await honeyport.ended()).code, 2);
  assert.ok(setting('RestartPreventExitStatus').split(' ').includes('2'), 'it would be started for ever');
  assert.deepEqual(notify.states(), []);
});

test('an event loop that hangs gives no sign of life, though its other threads live', async (context) => {
  const stages = [createStage(context), createStage(context)] as const;
  const hook = join(stages[0].dir, 'hang.mjs');
  writeFileSync(hook, HANG);
  const [hung, healthy] = [await startNotifySocket(context), await startNotifySocket(context)];
  const [first] = [
    await startWatched(context, stages[0], hung.path, hook),
    await startWatched(context, stages[1], healthy.path, hook),
  ];
  await waitFor(() => hung.signs() > 0, { deadlineMs: DEADLINE_MS, what: 'signs of life' });
  process.kill(first.pid, 'SIGUSR2');
  await waitFor(() => /^State:\tT/m.test(readFileSync(`/proc/${first.pid}/status`, 'latin1')), {
    deadlineMs: DEADLINE_MS,
    what: 'the loop to hang',
  });
  process.kill(first.pid, 'SIGCONT');
  const healthySigns = async (count: number) => {
    const before = healthy.signs();
    await waitFor(() => healthy.signs() >= before + count, {
      deadlineMs: DEADLINE_MS,
      what: 'a healthy loop',
    });
  };
  // what was under way has come by then
  await healthySigns(2);
  const before = hung.signs();
  await healthySigns(6);
  assert.equal(hung.signs(), before);
});

/** Stops once, so that one can see when it begins. */
const HANG = "process.on('SIGUSR2', () => { process.kill(process.pid, 'SIGSTOP'); for (;;); });\n";

async function startWatched(context: TestContext, stage: Stage, path: string, hook: string) {
  return start(context, stage, {
    config: configuration([23]),
    wrapper: await asUnit(stage),
    node: [process.execPath, '--import', hook],
    env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '150000' },
  });
}

test('a program that answers gets no capability of the unit’s, and no word of systemd’s', async (context) => {
  const stage = createStage(context);
  const response = `response: { command: ${JSON.stringify(TELL_ALL)} }`;
  await start(context, stage, {
    config: configuration([23]).replace('ports: [23]', `ports: [23], ${response}`),
    wrapper: await asUnit(stage),
    env: { NOTIFY_SOCKET: '/nobody/listens', WATCHDOG_USEC: '1000000', LISTEN_FDNAMES: 'honeyport' },
  });
  const told = knock(stage.network, 23);
  const status = parseStatus(told);
  assert.deepEqual([status.Uid, status.NoNewPrivs], [idsOf(SERVICE_USER)[0], '1']);
  assert.deepEqual(
    ['CapPrm', 'CapEff', 'CapInh', 'CapAmb'].map((name) => status[name]),
    [NONE, NONE, NONE, NONE],
  );
  assert.doesNotMatch(told, /NOTIFY_SOCKET|WATCHDOG|LISTEN_/);
});

/** A program that says what it has. */
const TELL_ALL = ['/bin/sh', '-c', 'cat /proc/self/status; env'];

// `user:`

test('started as root, every thread becomes the user, and ports below 1024 can be bound still', async (context) => {
  const stage = createStage(context);
  const response = `{ name: program, ports: 24, response: { command: ${JSON.stringify(TELL_ALL)} } }`;
  const config = (ports: readonly number[]) =>
    configuration(ports, { user: 'nobody' }).replace('decoys:', `decoys:\n  - ${response}`);
  const honeyport = await start(context, stage, {
    config: config([23]),
    wrapper: [requireProgram('setpriv'), '--groups', '4,27'],
    env: { NOTIFY_SOCKET: '/nobody/listens', TMPDIR: '/root/tmp', XDG_RUNTIME_DIR: '/run/user/0' },
  });
  const threads = readdirSync(`/proc/${honeyport.pid}/task`);
  assert.ok(threads.length > 1, 'there are threads to look at');
  for (const thread of threads) {
    const status = readStatus(`/proc/${honeyport.pid}/task/${thread}/status`);
    assert.deepEqual(
      [status.Uid, status.Gid, status.Groups],
      [...idsOf(NOBODY), `${NOBODY_S_GROUP}`],
      thread,
    );
    const own = thread === String(honeyport.pid) ? FOR_LISTENERS : NONE;
    const { CapPrm, CapEff, CapInh, CapAmb } = status;
    assert.deepEqual([CapPrm, CapEff, CapInh, CapAmb], [own, own, NONE, NONE], thread);
  }
  const { CapBnd, NoNewPrivs } = readStatus(`/proc/${honeyport.pid}/status`);
  assert.deepEqual([CapBnd, NoNewPrivs], [NONE, '1']);

  assert.deepEqual(ownerAndMode(join(stage.dir, 'log')), [NOBODY, NOBODY_S_GROUP, '750']);
  assert.deepEqual(ownerAndMode(stage.log), [NOBODY, NOBODY_S_GROUP, '640']);
  const list = join(stage.dir, 'log/honeyport.allow.json');
  await waitFor(() => existsSync(list), { deadlineMs: DEADLINE_MS, what: list });
  assert.equal(statSync(list).uid, NOBODY);

  // as logrotate does
  renameSync(stage.log, `${stage.log}.1`);
  await reload(stage, honeyport, config([23, 25]));
  await waitForLine(stage.log, /: reload result=applied decoys=2 ports=3 /);
  assert.deepEqual(ownerAndMode(stage.log), [NOBODY, NOBODY_S_GROUP, '640']);
  knock(stage.network, 25);
  await waitForLine(stage.log, /: connect .* dpt=25 /);

  const told = knock(stage.network, 24);
  const programs = parseStatus(told);
  assert.deepEqual([programs.Uid, programs.Gid, programs.Groups], [...idsOf(NOBODY), `${NOBODY_S_GROUP}`]);
  const sets = ['CapPrm', 'CapEff', 'CapInh', 'CapAmb', 'CapBnd'].map((name) => programs[name]);
  assert.deepEqual([...new Set(sets), programs.NoNewPrivs], [NONE, '1']);
  assert.match(told, /^USER=nobody$/m);
  assert.doesNotMatch(told, /root\/tmp|NOTIFY_SOCKET|XDG_RUNTIME_DIR|^(HOME|USER|LOGNAME)=.*root/m);
  assert.deepEqual(await honeyport.stop(), { code: 0, signal: null });
});

test('an unknown user is said before anything is opened', async (context) => {
  const stage = createStage(context);
  const honeyport = await start(context, stage, {
    config: configuration([23], { user: 'honeyport-nobody-has' }),
    started: false,
  });
  await honeyport.waitForStderr(/^honeyport: hint: /m);
  assert.equal((await honeyport.ended()).code, 2);
  assert.equal(
    honeyport.stderr(),
    `honeyport: error: ${honeyport.configFile}: user: expected a user of this host, got "honeyport-nobody-has"
honeyport: hint: useradd --system --no-create-home --shell /usr/sbin/nologin honeyport-nobody-has
`,
  );
  assert.equal(existsSync(join(stage.dir, 'log')), false);
});

test('who is not root stays who he is', async (context) => {
  const stage = createStage(context);
  const honeyport = await start(context, stage, {
    config: configuration([2323], { user: 'nobody' }),
    wrapper: await asUnit(stage),
  });
  assert.equal(readStatus(`/proc/${honeyport.pid}/status`).Uid, idsOf(SERVICE_USER)[0]);
});

test('what a reload cannot do any more is said: read the configuration, become somebody else', async (context) => {
  const stage = createStage(context);
  writeFileSync(join(stage.dir, 'honeyport.yaml'), '');
  chmodSync(join(stage.dir, 'honeyport.yaml'), 0o600);
  const honeyport = await start(context, stage, { config: configuration([23], { user: 'nobody' }) });
  await honeyport.waitForStderr(
    new RegExp(
      `^honeyport: warning: user nobody cannot read ${honeyport.configFile}: a reload will fail$`,
      'm',
    ),
  );
  chmodSync(honeyport.configFile, 0o644);
  await reload(stage, honeyport, configuration([23], { user: 'daemon' }));
  await honeyport.waitForStderr(/^honeyport: warning: user: daemon takes a restart: /m);
  await waitForLine(stage.log, /: reload result=applied /);
  assert.equal(readStatus(`/proc/${honeyport.pid}/status`).Uid, idsOf(NOBODY)[0]);
});

test('a log of root’s becomes the user’s, with what is in it, and so does the allow list', async (context) => {
  const stage = createStage(context);
  mkdirSync(join(stage.dir, 'log'), { mode: 0o755 });
  chownSync(join(stage.dir, 'log'), NOBODY, NOBODY_S_GROUP);
  writeFileSync(stage.log, 'what was before\n', { mode: 0o600 });
  const list = join(stage.dir, 'log/honeyport.allow.json');
  writeFileSync(list, '{"version":1,"entries":[]}', { mode: 0o600 });
  const { ino } = statSync(stage.log);
  await start(context, stage, { config: configuration([23], { user: 'nobody' }) });
  const stats = statSync(stage.log);
  assert.deepEqual([stats.ino, stats.uid, stats.gid], [ino, NOBODY, NOBODY_S_GROUP]);
  assert.match(readFileSync(stage.log, 'latin1'), /^what was before\n.*: start /);
  assert.equal(statSync(list).uid, NOBODY);
});

interface Trap {
  readonly title: string;
  /** Puts it there, as the user could. @returns what must stay root's */
  readonly set: (stage: Stage) => string;
  readonly error: (stage: Stage, secret: string) => RegExp;
}

const TRAPS: readonly Trap[] = [
  {
    title: 'a symbolic link in the place of the log',
    set(stage) {
      const secret = makeSecret(stage);
      symlinkSync(secret, stage.log);
      return secret;
    },
    error: ({ log }) =>
      new RegExp(`^honeyport: error: ${log} is a symbolic link to what belongs to root: `, 'm'),
  },
  {
    title: 'a hard link in the place of the log',
    set(stage) {
      const secret = makeSecret(stage);
      linkSync(secret, stage.log);
      return secret;
    },
    error: ({ log }) => new RegExp(`^honeyport: error: ${log} is another name of a file of root: `, 'm'),
  },
  {
    title: 'a hard link in the place of the allow list',
    set(stage) {
      const secret = makeSecret(stage);
      linkSync(secret, join(stage.dir, 'log/honeyport.allow.json'));
      return secret;
    },
    error: () => /honeyport\.allow\.json is another name of a file of root: /,
  },
  {
    title: 'a symbolic link in the place of the log’s directory',
    set(stage) {
      const root = join(stage.dir, 'root');
      mkdirSync(root, { mode: 0o755 });
      renameSync(join(stage.dir, 'log'), join(stage.dir, 'his'));
      symlinkSync(root, join(stage.dir, 'log'));
      writeFileSync(join(root, 'honeyport.log'), 'secret\n', { mode: 0o600 });
      return join(root, 'honeyport.log');
    },
    error: ({ log }) =>
      new RegExp(`^honeyport: error: cannot write the log ${log}: user ${NOBODY} has no right`, 'm'),
  },
  {
    title: 'a directory of root’s that the user moved to where he may',
    set(stage) {
      const inner = join(stage.dir, 'log/inner');
      mkdirSync(inner, { mode: 0o755 });
      writeFileSync(join(inner, 'honeyport.log'), 'secret\n', { mode: 0o600 });
      stage.log = join(inner, 'honeyport.log');
      return stage.log;
    },
    error: ({ log }) =>
      new RegExp(`^honeyport: error: cannot write the log ${log}: user ${NOBODY} has no right`, 'm'),
  },
];

for (const { title, set, error } of TRAPS) {
  test(`${title} gives the user nothing of root’s`, async (context) => {
    const stage = createStage(context);
    mkdirSync(join(stage.dir, 'log'));
    chownSync(join(stage.dir, 'log'), NOBODY, NOBODY_S_GROUP);
    const secret = set(stage);
    const before = statSync(secret);
    const config = configuration([23], { user: 'nobody' }).replace('STAGE/log/honeyport.log', stage.log);
    const honeyport = await start(context, stage, { config, started: false });
    await honeyport.waitForStderr(error(stage, secret));
    assert.equal((await honeyport.ended()).code, 2);
    const { uid, gid, mode, size } = statSync(secret);
    assert.deepEqual([uid, gid, mode, size], [before.uid, before.gid, before.mode, before.size]);
  });
}

test('below a directory of his own the user makes the log’s directory himself', async (context) => {
  const stage = createStage(context);
  const his = join(stage.dir, 'his');
  mkdirSync(his);
  chownSync(his, NOBODY, NOBODY_S_GROUP);
  stage.log = join(his, 'log/honeyport.log');
  const config = configuration([23], { user: 'nobody' }).replace('STAGE/log/honeyport.log', stage.log);
  await start(context, stage, { config });
  assert.deepEqual(ownerAndMode(join(his, 'log')), [NOBODY, NOBODY_S_GROUP, '750']);
});

// sockets from systemd

test('ports that systemd opens need no capability, and every knock has its SYN', async (context) => {
  const stage = createStage(context);
  const honeyport = await start(context, stage, {
    config: configuration([23, 2424]).replace(
      'decoys:',
      'decoys:\n  - { name: own, ports: 24, address: ADDRESS }',
    ),
    wrapper: withSockets(stage, ['[::]:23', 'ADDRESS:24', '[::]:26']),
  });
  const { CapPrm, CapBnd } = readStatus(`/proc/${honeyport.pid}/status`);
  assert.deepEqual([CapPrm, CapBnd], [NONE, NONE]);
  await honeyport.waitForStderr(/^honeyport: warning: port 26 is opened by systemd and is no decoy: /m);
  for (const port of [23, 24, 2424]) knock(stage.network, port);
  for (const port of [23, 24, 2424])
    await waitForLine(stage.log, new RegExp(`: connect .* dpt=${port} .* syn=mss`));
  const { sensor, attacker } = stage.network;
  await stage.network.connect({ from: attacker.ipv6, to: sensor.ipv6, port: 23 });
  await waitForLine(stage.log, new RegExp(`: connect src=${attacker.ipv6} .* dpt=23 .* syn=mss`));

  const own = 'decoys:\n  - { name: own, ports: 24, address: ADDRESS }';
  await reload(stage, honeyport, configuration([2424]).replace('decoys:', own));
  await honeyport.waitForStderr(/^honeyport: warning: port 23 is opened by systemd and is no decoy: /m);
  await reload(stage, honeyport, configuration([2424, 25]).replace('decoys:', own));
  await honeyport.waitForStderr(
    /^honeyport: error: cannot listen on port 25: .*CAP_NET_BIND_SERVICE\nhoneyport: hint: .*install --sockets/m,
  );
  await reload(stage, honeyport, configuration([2424, 23]).replace('decoys:', own));
  await waitForLine(stage.log, /: reload result=applied decoys=2 ports=3 /);
  const before = readLines(stage.log).filter((line) => line.includes(' dpt=23 ')).length;
  knock(stage.network, 23);
  await waitFor(
    () => readLines(stage.log).filter((line) => line.includes(' dpt=23 ')).length === before + 1,
    {
      deadlineMs: DEADLINE_MS,
      what: 'the knock on the port that came back',
    },
  );
});

test('who comes while the service is restarted is in the log of the next start', async (context) => {
  const stage = createStage(context);
  const wrapper = withSockets(stage, ['[::]:23'], { times: 2 });
  const systemd = await start(context, stage, { config: configuration([23]), wrapper, started: false });
  await waitForLine(stage.log, /: start /);
  process.kill(childOf(systemd.pid), 'SIGTERM');
  await waitForLine(stage.log, /: stop /);
  // nobody accepts it now: systemd holds the socket, and starts again when this test says so
  await connectFrom(stage.network, 23);
  writeFileSync(join(stage.dir, 'again'), '');
  await waitForLine(stage.log, /: connect .* dpt=23 .* syn=mss/);
  assert.deepEqual(kinds(stage.log), ['start', 'stop', 'start', 'connect']);
  process.kill(childOf(systemd.pid), 'SIGTERM');
  assert.equal((await systemd.ended()).code, 0);
});

interface Stage {
  readonly network: Network;
  readonly dir: string;
  log: string;
}

function createStage(context: TestContext): Stage {
  const network = createNetwork();
  const dir = temporaryDirectory(context);
  context.after(network.dispose);
  chmodSync(dir, 0o755);
  return { network, dir, log: join(dir, 'log/honeyport.log') };
}

/** STAGE and ADDRESS stand for the stage's directory and its sensor's address. */
function configuration(ports: readonly number[], { user }: { user?: string } = {}): string {
  return `sensor: sensor-1
decoys:
  - { name: low, ports: [${ports.join(', ')}] }
log: { file: { path: STAGE/log/honeyport.log }, console: off }
${user === undefined ? '' : `user: ${user}`}
`;
}

async function start(context: TestContext, stage: Stage, options: StartOptions): Promise<RunningHoneyport> {
  const { wrapper = [], config = '' } = options;
  const honeyport = await startHoneyport({
    ...options,
    dir: stage.dir,
    namespace: stage.network.sensor.namespace,
    config: staged(config, stage),
    wrapper: wrapper.map((word) => staged(word, stage)),
  });
  context.after(() => honeyport.stop('SIGKILL'));
  return honeyport;
}

function staged(text: string, { dir, network }: Stage): string {
  return text.replaceAll('STAGE', dir).replaceAll('ADDRESS', network.sensor.ipv4);
}

/** As systemd does for the unit: its user, its capabilities, the calls that it allows. */
async function asUnit(stage: Stage): Promise<string[]> {
  makeLogDirectory(stage);
  const user = serviceUser(setting('AmbientCapabilities'), setting('CapabilityBoundingSet'));
  return [requireProgram('setpriv'), ...user, await compileSeccomp(UNIT, stage.dir)];
}

/** What `LogsDirectory=` and tmpfiles.d make. */
function makeLogDirectory({ dir }: Stage): void {
  mkdirSync(join(dir, 'log'), { mode: 0o750 });
  chownSync(join(dir, 'log'), SERVICE_USER, SERVICE_USER);
}

/** Options of setpriv. @param ambient capability names of systemd, empty for none */
function serviceUser(ambient: string, bounding: string): string[] {
  const [given, bound] = [ambient, bounding].map((names) =>
    [
      '-all',
      ...names.split(' ').flatMap((name) => (name === '' ? [] : name.replace('CAP_', '+').toLowerCase())),
    ].join(','),
  );
  return [
    ...[`--reuid=${SERVICE_USER}`, `--regid=${SERVICE_USER}`, '--clear-groups', '--no-new-privs'],
    ...[`--inh-caps=${given}`, `--ambient-caps=${given}`, `--bounding-set=${bound}`],
  ];
}

/** Opens sockets, hands them over as sd_listen_fds(3) says, and keeps them, as systemd does. */
const LAUNCHER = `
import fcntl, json, os, socket, sys, time
places, times, again, command = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
sockets = []
for place in places:
    host, port = place.rsplit(':', 1)
    opened = socket.socket(socket.AF_INET6 if host[0] == '[' else socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if host[0] == '[':
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.bind((host.strip('[]'), int(port)))
    opened.listen(128)
    sockets.append(opened)
def hand_over():
    high = [fcntl.fcntl(opened, fcntl.F_DUPFD, 100) for opened in sockets]
    for index, fd in enumerate(high):
        os.dup2(fd, 3 + index)
    names = ':'.join('honeyport' for _ in sockets)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names)
    os.closerange(3 + len(sockets), 200)
    os.execvp(command[0], command)
for number in range(times):
    while number > 0 and not os.path.exists(again):
        time.sleep(0.05)
    if times == 1:
        hand_over()
    child = os.fork()
    if child == 0:
        hand_over()
    _, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
`;

/** With the drop-in that goes with honeyport.socket. @param places `ADDRESS:PORT`, both families for `[::]` */
function withSockets(stage: Stage, places: readonly string[], { times = 1 } = {}): string[] {
  makeLogDirectory(stage);
  const launcher = [requireProgram('python3'), '-c', LAUNCHER];
  const of = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(socketDropInText({ decoys: [] }))![1]!;
  const user = serviceUser(of('AmbientCapabilities'), of('CapabilityBoundingSet'));
  return [...launcher, JSON.stringify(places), `${times}`, 'STAGE/again', requireProgram('setpriv'), ...user];
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim());
}

/** The value of a setting that the unit has once. */
function setting(name: string): string {
  const values = [...UNIT.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))];
  assert.equal(values.length, 1, name);
  return values[0]![1]!;
}

async function reload(stage: Stage, honeyport: RunningHoneyport, config: string): Promise<void> {
  const reloads = () =>
    honeyport.stderr().match(/^honeyport: (reloaded|warning: the new configuration)/gm)?.length ?? 0;
  const before = reloads();
  writeFileSync(honeyport.configFile, staged(config, stage));
  process.kill(honeyport.pid, 'SIGHUP');
  // the signal, and the watch
  await waitFor(() => reloads() >= before + 2, {
    deadlineMs: DEADLINE_MS,
    what: () => `two reloads:\n${honeyport.stderr()}`,
  });
}

/** Prints what a peer is sent, from its first to its last byte. */
const KNOCK = `
const socket = require('node:net').connect(Number(process.argv[2]), process.argv[1]);
socket.on('connect', () => process.stderr.write('connected')).on('error', (error) => { throw error; });
socket.pipe(process.stdout);
setTimeout(() => process.exit(1), 20_000).unref();`;

/** A connection to the sensor, until it ends. @returns what was sent */
function knock({ attacker, sensor, run }: Network, port: number): string {
  const { code, stdout, stderr } = run(attacker, [process.execPath, '-e', KNOCK, sensor.ipv4, `${port}`]);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** A connection to the sensor; tells when it is there. */
async function connectFrom({ attacker, sensor, spawn }: Network, port: number): Promise<void> {
  const peer = spawn(attacker, [process.execPath, '-e', KNOCK, sensor.ipv4, `${port}`]);
  await once(peer.stderr!, 'data');
}

async function waitForLine(log: string, wanted: RegExp): Promise<void> {
  await waitFor(() => readLines(log).some((line) => wanted.test(line)), {
    deadlineMs: DEADLINE_MS,
    what: () => `${wanted} in:\n${readLines(log).join('\n')}`,
  });
}

function kinds(log: string): string[] {
  return readLines(log).map((line) => /honeyport\[\d+\]: (\S+)/.exec(line)?.[1] ?? line);
}

function makeSecret({ dir }: Stage): string {
  const secret = join(dir, 'secret');
  writeFileSync(secret, 'secret\n', { mode: 0o600 });
  return secret;
}

function ownerAndMode(path: string): [uid: number, gid: number, mode: string] {
  const { uid, gid, mode } = statSync(path);
  return [uid, gid, (mode & 0o7777).toString(8)];
}

function readStatus(file: string): Record<string, string | undefined> {
  return parseStatus(readFileSync(file, 'latin1'));
}

/** The rows of /proc/PID/status. */
function parseStatus(text: string): Record<string, string | undefined> {
  return Object.fromEntries(
    [...text.matchAll(/^(\w+):[ \t]*(.*?)[ \t]*$/gm)].map(([, name, value]) => [name!, value!]),
  );
}

/** Real, effective, saved and of the file system, of a user and of a group. */
function idsOf(id: number): [uid: string, gid: string] {
  const four = Array(4).fill(id).join('\t');
  return [four, four];
}
