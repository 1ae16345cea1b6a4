import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { type DebianRelease, debianRoot } from './debian-root.ts';
import { cleanUpAfter, createNetwork, type Finished, type Network } from './namespaces.ts';
import { requireProgram } from './programs.ts';
import { waitFor } from './wait.ts';

/** A container's control group is `honeyport-tests-<process id>-<number>`. */
export const CGROUP_PREFIX = 'honeyport-tests-';

const BOOT_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 20_000;
const COMMAND_TIMEOUT_MS = 60_000;
/** coreutils' timeout(1) comes first; ours is for the case that it fails. */
const GRACE_MS = 5_000;

/** As login(1) sets it for root. */
const LOGIN = {
  HOME: '/root',
  LC_ALL: 'C.UTF-8',
  LOGNAME: 'root',
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  SHELL: '/bin/bash',
  TERM: 'dumb',
  USER: 'root',
};

export interface ContainerOptions {
  readonly release: DebianRelease;
}

export interface RunInContainerOptions {
  readonly input?: string | Buffer;
  /** Added to what a login of root has. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** A Debian server with its own systemd, processes, network and files, all of which vanish with it. */
export interface Container {
  readonly release: DebianRelease;
  /** The container is its `sensor`. */
  readonly network: Network;
  /** The process id of its pid 1 on this machine; another one after each boot. */
  readonly pid: number;
  /** The name of its control group below that hierarchy's root. */
  readonly cgroup: string;
  /** Runs a program as root would from a login; one that takes too long is killed, with what it started, and has code -1. */
  run(argv: readonly string[], options?: RunInContainerOptions): Finished;
  /** The standard output of a program; throws with what it said when it fails. */
  output(argv: readonly string[], options?: RunInContainerOptions): string;
  /** Writes a file, makes its directories, keeps owner and mode of one that exists. */
  writeFile(path: string, text: string): void;
  readFile(path: string): string;
  /** Copies what is in a directory of this machine into one of the container; owners become root. */
  copyInto(source: string, directory: string): void;
  /** What the journal holds of a unit. */
  journal(unit: string): string;
  /** Shuts it down in order and boots it again: files stay, what was in the memory and in the kernel is gone. */
  reboot(): Promise<void>;
  /** Ends it and waits until nothing of it is left; its network stays. */
  stop(): Promise<void>;
}

let containers = 0;

/**
 * Boots a release's real systemd on a writable copy of its tree, and waits until all units have started. Needs root.
 * The container ends with the test, and with this process, however that ends.
 *
 * @throws when it cannot be made, with what the step that failed said
 */
export async function startContainer(context: TestContext, options: ContainerOptions): Promise<Container> {
  const { release } = options;
  const root = debianRoot(release);
  const cleanUp = cleanUpAfter(context);
  const network = createNetwork();
  cleanUp(() => network.dispose());
  containers += 1;
  const cgroup = `${CGROUP_PREFIX}${process.pid}-${containers}`;
  const keeper = startKeeper([root, `/run/netns/${network.sensor.namespace}`, cgroup, nodeFor(release)]);
  cleanUp(() => keeper.stop());
  let pid = 0;
  const container = containerOf({
    release,
    network,
    cgroup,
    pid: () => pid,
    async reboot() {
      await shutDown(container);
      pid = await keeper.boot();
      await booted(container, keeper.said);
    },
    stop: keeper.stop,
  });
  pid = await keeper.boot();
  await booted(container, keeper.said);
  return container;
}

/** Debian 12 is given this machine's own Node, as its administrator would take one from elsewhere. */
function nodeFor(release: DebianRelease): string {
  return release === 'debian12' ? process.execPath : '';
}

interface ContainerParts extends Pick<Container, 'release' | 'network' | 'cgroup' | 'reboot' | 'stop'> {
  readonly pid: () => number;
}

function containerOf(parts: ContainerParts): Container {
  const { pid } = parts;
  const run: Container['run'] = (argv, options = {}) => runIn(pid(), argv, options);
  const output: Container['output'] = (argv, options) => {
    const { code, stdout, stderr } = run(argv, options);
    if (code === 0) return stdout;
    throw new Error(`Expected ${argv.join(' ')} to succeed, got ${code}:\n${stdout}${stderr}`);
  };
  return {
    ...parts,
    get pid() {
      return pid();
    },
    run,
    output,
    writeFile(path, text) {
      output(['mkdir', '-p', '--', dirname(path)]);
      output(['dd', 'status=none', `of=${path}`], { input: text });
    },
    readFile: (path) => output(['cat', '--', path]),
    copyInto(source, directory) {
      const archive = spawnSync('tar', ['-C', source, '-c', '.'], { maxBuffer: 512 * 1024 * 1024 });
      if (archive.status !== 0) throw new Error(`Expected tar to read ${source}, got: ${archive.stderr}`);
      output(['tar', '-x', '--no-same-owner', '-C', directory], { input: archive.stdout });
    },
    journal: (unit) => output(['journalctl', '--no-pager', '--output=short-precise', `--unit=${unit}`]),
  };
}

/** Clock, kernel modules and audit are this machine's: out of a container's reach, as in systemd-nspawn(1). */
const WITHHELD = ['sys_time', 'sys_module', 'sys_rawio', 'sys_boot', 'syslog', 'audit_control'];
const WITHHOLD = `setpriv --bounding-set ${WITHHELD.map((name) => `-${name}`).join(',')}`;

/** Puts the program into a control group beside systemd's own, so that all end together, with pid 1's capabilities. */
const ENTER = `
mkdir -p /sys/fs/cgroup/tests
echo $$ > /sys/fs/cgroup/tests/cgroup.procs
exec ${WITHHOLD} "$@"`;

function runIn(pid: number, argv: readonly string[], options: RunInContainerOptions): Finished {
  const { env = {}, timeoutMs = COMMAND_TIMEOUT_MS } = options;
  const variables = Object.entries({ ...LOGIN, ...env }).map(([name, value]) => `${name}=${value}`);
  const inside = ['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup', '--'];
  const environment = ['/usr/bin/env', '-i', '--chdir=/root', ...variables];
  const bounded = ['timeout', '--signal=KILL', String(timeoutMs / 1000), ...argv];
  const result = spawnSync(
    requireProgram('nsenter'),
    [`--target=${pid}`, ...inside, '/bin/sh', '-ec', ENTER, 'sh', ...environment, ...bounded],
    {
      encoding: 'utf8',
      timeout: timeoutMs + GRACE_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 256 * 1024 * 1024,
      ...(options.input === undefined ? {} : { input: options.input }),
    },
  );
  const note = result.error === undefined ? '' : `${result.error.message}\n`;
  return { code: result.status ?? -1, stdout: result.stdout, stderr: result.stderr + note };
}

/** @throws when systemd does not come to rest, or Node does not run */
async function booted({ pid, release, run, output }: Container, said: () => string): Promise<void> {
  // before that, what is at / is not the container's
  await waitFor(() => !existsSync(`/proc/${pid}`) || commandOf(pid) === 'systemd', {
    deadlineMs: BOOT_DEADLINE_MS,
    what: () => `${release}'s systemd; its container said: ${said()}`,
  });
  if (!existsSync(`/proc/${pid}`)) throw new Error(`Expected ${release} to boot, got: ${said()}`);
  let state = '';
  const atRest = () => {
    state = run(['systemctl', 'is-system-running']).stdout.trim();
    return ['running', 'degraded'].includes(state);
  };
  const what = () => `${release} to be up; it is ${state}:\n${run(['systemctl', 'list-jobs']).stdout}`;
  await waitFor(atRest, { deadlineMs: BOOT_DEADLINE_MS, everyMs: 50, what });
  output(['node', '--version']);
}

/** What the kernel holds of a host that is shut down is its nftables rules; here they are the network's. */
async function shutDown({ pid, run, network }: Container): Promise<void> {
  run(['systemctl', 'poweroff', '--no-wall']);
  await waitFor(() => !existsSync(`/proc/${pid}`), {
    deadlineMs: STOP_DEADLINE_MS,
    what: 'the end of systemd',
  });
  const { code, stderr } = network.run(network.sensor, ['nft', 'flush', 'ruleset']);
  if (code !== 0) throw new Error(`Expected nft to take all rules back, got: ${stderr}`);
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
}

/**
 * A process of its own session that makes the container, boots it at each line of its standard input, and removes all
 * of it as soon as that ends, which the end of this process brings about even when it is killed. Its mounts are its own and go with it.
 * /mnt is as good a place as any: it exists everywhere, and nobody else sees what is mounted there.
 */
const KEEP = `
root=$1 network=$2 name=$3 node=$4 init=$5
trap '' HUP INT TERM
remove() {
  echo 1 > "$1/cgroup.kill"
  tries=0
  # a killed process leaves its group a moment later
  until find "$1" -depth -type d -exec rmdir {} + 2> /dev/null || [ ! -d "$1" ] || [ $tries -ge 1000 ]; do
    sleep 0.01
    tries=$((tries + 1))
  done
  [ ! -d "$1" ] || rmdir "$1"
}
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/cgroup /mnt/upper /mnt/work /mnt/root
mount -t cgroup2 cgroup2 /mnt/cgroup
for group in /mnt/cgroup/${CGROUP_PREFIX}*; do
  owner=\${group##*/${CGROUP_PREFIX}}
  [ ! -d "$group" ] || [ -d "/proc/\${owner%%-*}" ] || remove "$group"
done
mkdir "/mnt/cgroup/$name"
trap 'remove "/mnt/cgroup/$name"; wait' EXIT
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
while read -r command; do
  setpriv --pdeathsig KILL nsenter --net="$network" \
    unshare --uts --ipc --pid --mount --fork --kill-child sh -ec '
      echo 0 > "/mnt/cgroup/$1/cgroup.procs"
      exec unshare --cgroup sh -ec "$2" sh "$3"
    ' sh "$name" "$init" "$node" < /dev/null &
done`;

/** Units that are about a real machine, or would work beside a test. */
const MASKED = [
  'apt-daily-upgrade.timer',
  'apt-daily.timer',
  'console-getty.service',
  'dev-hugepages.mount',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'getty.target',
  'kmod-static-nodes.service',
  'ldconfig.service',
  'logrotate.timer',
  'proc-sys-fs-binfmt_misc.automount',
  'sys-fs-fuse-connections.mount',
  'sys-kernel-config.mount',
  'sys-kernel-debug.mount',
  'sys-kernel-tracing.mount',
  'systemd-binfmt.service',
  'systemd-journal-catalog-update.service',
  'systemd-journald-audit.socket',
  'systemd-modules-load.service',
  'systemd-networkd.service',
  'systemd-remount-fs.service',
  'systemd-sysctl.service',
  'systemd-udevd.service',
  'systemd-update-done.service',
];

/**
 * What pid 1 does before it becomes systemd: it says which process it is on this machine, and sets up what
 * https://systemd.io/CONTAINER_INTERFACE asks for. Of /proc/sys, which is this machine's, only the network's part,
 * which is the container's own, can be written.
 */
const INIT = `
read -r pid rest < /proc/self/stat
echo "$pid"
root=/mnt/root
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then mount --bind /dev/null proc/sysrq-trigger; fi
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for device in full null random tty urandom zero; do cp -a "/dev/$device" dev; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mkdir -p run/systemd/system
for unit in ${MASKED.join(' ')}; do ln -s /dev/null "run/systemd/system/$unit"; done
echo sensor > etc/hostname
printf '127.0.0.1 localhost sensor\\n::1 localhost\\n' > etc/hosts
if [ -n "$1" ]; then
  touch usr/local/bin/node
  mount --bind "$1" usr/local/bin/node
  mount -o remount,bind,ro usr/local/bin/node
fi
mkdir .outside
pivot_root . .outside
umount -l .outside
rmdir .outside
exec ${WITHHOLD} env -i container=honeyport-tests \\
  /lib/systemd/systemd --system --unit=multi-user.target > /dev/null 2>&1`;

interface Keeper {
  /** Starts the container's pid 1, and returns its process id on this machine. */
  readonly boot: () => Promise<number>;
  /** Its standard error so far. */
  readonly said: () => string;
  readonly stop: () => Promise<void>;
}

function startKeeper(args: readonly string[]): Keeper {
  const argv = ['--mount', '--propagation', 'private', 'sh', '-ec', KEEP, 'sh', ...args, INIT];
  const keeper = spawn(requireProgram('unshare'), argv, { detached: true, env: LOGIN });
  // of one that has ended early
  keeper.stdin.on('error', () => {});
  const stdout = collect(keeper.stdout);
  const said = collect(keeper.stderr);
  const ended = () => keeper.exitCode !== null || keeper.signalCode !== null;
  return {
    boot() {
      const before = stdout().length;
      keeper.stdin.write('boot\n');
      return firstProcess(() => stdout().slice(before), ended, said);
    },
    said,
    async stop() {
      if (ended()) return;
      keeper.stdin.end();
      await waitFor(ended, { deadlineMs: STOP_DEADLINE_MS, what: () => `the container's end: ${said()}` });
      if (keeper.exitCode !== 0) throw new Error(`Expected nothing left of the container, got: ${said()}`);
    },
  };
}

function collect(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

async function firstProcess(stdout: () => string, ended: () => boolean, said: () => string): Promise<number> {
  const line = /^(\d+)\n/;
  await waitFor(() => line.test(stdout()) || ended(), {
    deadlineMs: BOOT_DEADLINE_MS,
    what: () => `the container's first process; it said: ${said()}`,
  });
  const [, pid] = line.exec(stdout()) ?? [];
  if (pid === undefined) throw new Error(`Expected a container, with overlayfs and cgroup2, got: ${said()}`);
  return Number(pid);
}
