import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkLog } from '../../src/doctor/check-log.ts';
import { startService } from '../support/bans.ts';
import {
  type Fail2ban,
  fail2banArgv,
  type Release,
  startFail2ban,
  temporaryDirectory,
} from '../support/fail2ban.ts';
import { CLI, type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { cleanUpAfter, createNetwork, type Network } from '../support/namespaces.ts';
import { seeing } from '../support/private-files.ts';
import { requireProgram } from '../support/programs.ts';
import { mountTinyDisk } from '../support/tiny-disk.ts';
import { waitFor } from '../support/wait.ts';

const [TELNET, SSH, SERVICE] = [2323, 2222, 8080];
const DEADLINE_MS = 60_000;
const RULE_SETS = fileURLToPath(new URL('../doctor/rule-sets', import.meta.url));

test('doctor finds nothing wrong with a sensor that works, and follows a knock to the ban and back', async (context) => {
  const stage = await setStage(context, 'host');
  const healthy = stage.doctor('--knock');
  assert.deepEqual([healthy.findings, healthy.code, healthy.stderr], [[], 0, '']);
  for (const check of [
    'configuration',
    'listener',
    'log',
    'logrotate',
    'fail2ban',
    'jail',
    'action',
    'filter',
  ])
    assert.ok(healthy.has(check, 'ok', /./), `${check} is ok in\n${healthy.text}`);
  for (const check of ['nftables', 'firewall', 'allow-list', 'clock', 'kernel', 'installation'])
    assert.ok(healthy.has(check, 'ok', /./), `${check} is ok in\n${healthy.text}`);
  checkKnock(stage, healthy);
});

test('doctor says the same of a sensor with fail2ban 1.1.0', async (context) => {
  const stage = await setStage(context, 'debian13');
  checkKnock(stage, stage.doctor('--knock'));
});

test('doctor names what is broken on a sensor, and what mends it', async (context) => {
  const stage = await setStage(context, 'host');

  await context.test('a firewall that lets nobody knock', (context) => {
    context.after(stage.load('ufw.nft'));
    const found = stage.doctor('--knock');
    assert.ok(
      found.has(
        'firewall',
        'finding',
        /nobody can knock at port 2222,2323 over IPv4: the chain ip filter INPUT/,
      ),
      found.text,
    );
    assert.ok(found.has('firewall', 'finding', /over IPv6: the chain ip6 filter INPUT/), found.text);
    assert.ok(found.advises('firewall', /^ufw allow 2222\/tcp && ufw allow 2323\/tcp$/), found.text);
    assert.ok(found.has('knock', 'finding', /could not connect to \S+ port 2323: timeout$/), found.text);
    assert.equal(found.code, 1);
  });

  await context.test('a port that Docker publishes', (context) => {
    context.after(stage.load('docker.nft'));
    const found = stage.doctor();
    assert.ok(
      found.has(
        'firewall',
        'finding',
        /knocks at port 2323 never reach honeyport: .* \(dnat to 172\.17\.0\.2:80\)$/,
      ),
      found.text,
    );
  });

  await context.test(
    'an allow list that the listener has not taken over, and one that covers the knock',
    async () => {
      const other = stage.configure('allow: [192.0.2.0/24]', 'other.yaml');
      const found = stage.doctor('-c', other);
      assert.ok(
        found.has('allow-list', 'finding', /lacks 192\.0\.2\.0\/24 of the configuration/),
        found.text,
      );
      stage.configure('allow: [198.18.0.0/15, "fd68:6f6e:6579::/48"]');
      await stage.honeyport.waitForLine(/: reload result=applied /);
      const allowed = stage.doctor('--knock');
      assert.ok(
        allowed.has('knock', 'finding', /is on the allow list \(by=198\.18\.0\.0\/15\)/),
        allowed.text,
      );
      stage.configure('');
      await waitFor(
        () => stage.honeyport.lines().filter((line) => / reload result=applied /.test(line)).length > 1,
        {
          deadlineMs: DEADLINE_MS,
          what: 'the second reload',
        },
      );
    },
  );

  await context.test('a jail that observes, ignores everybody, and has another filter', () => {
    stage.fail2ban.configure(stage.jail('banaction = honeyport_nftables.py[mode=observe, log=off]'));
    stage.fail2ban.client('reload');
    const observing = stage.doctor('--knock');
    assert.ok(observing.has('action', 'note', /jail honeyport only observes/), observing.text);
    assert.ok(
      observing.has('knock', 'note', /^IPv4: the jail only observes: nothing was blocked$/),
      observing.text,
    );
    assert.deepEqual([observing.findings, observing.code], [[], 0]);

    stage.fail2ban.configure(stage.jail('ignoreip = 0.0.0.0/0\nfilter = sshd\nmaxretry = 3'));
    stage.fail2ban.client('reload');
    const blind = stage.doctor();
    assert.ok(
      blind.has('jail', 'finding', /ignores 0\.0\.0\.0\/0 \(ignoreip\): nobody is ever banned/),
      blind.text,
    );
    assert.ok(blind.has('jail', 'finding', /has another filter than honeyport's/), blind.text);
    assert.ok(blind.has('jail', 'note', /bans at the third connection only/), blind.text);
    stage.fail2ban.configure(stage.jail(''));
    // a reload alone does not take back what is ignored
    stage.fail2ban.client('reload', '--restart', 'honeyport');
  });

  await context.test('a filter that an own file breaks', (context) => {
    const local = join(stage.fail2ban.configuration, 'filter.d/honeyport.local');
    context.after(() => rmSync(local));
    writeFileSync(local, '[Definition]\nfailregex = ^nothing <ADDR>$\n');
    const found = stage.doctor();
    assert.ok(found.has('filter', 'finding', /does not match a line of now/), found.text);
    writeFileSync(local, '[Definition]\nfailregex = \\w+ src=<ADDR>\n');
    const wide = stage.doctor();
    assert.ok(wide.has('filter', 'finding', /192\.0\.2\.8, 192\.0\.2\.9 would be banned/), wide.text);
    writeFileSync(local, '[Definition]\ndatepattern = ^%%Y-%%m-%%dT%%H:%%M:%%S\\.%%f\\+00:00\n');
    const elsewhere = stage.doctor('--zone', 'Asia/Tokyo');
    assert.ok(
      elsewhere.has('filter', 'finding', /reads the time of a line wrong, by -9\.0 hours/),
      elsewhere.text,
    );
  });

  await context.test('a full disk, while the rest is well', (context) => {
    const disk = mountTinyDisk(context, 64);
    writeFileSync(join(disk, 'honeyport.log'), '');
    const results = checkLog({ path: join(disk, 'honeyport.log'), user: undefined, now: Date.now() });
    assert.deepEqual(
      results
        .filter(({ result }) => result === 'finding')
        .map(({ message }) => message.replace(disk, 'DISK')),
      ['the disk of DISK is full: 64 KiB are free'],
    );
  });

  await context.test('what a killed knock left is removed by the next', async () => {
    const killed = stage.spawnBare();
    const isBanned = () =>
      /^\s*(?:198\.1[89]|fd68:)/m.test(stage.fail2ban.client('get', 'honeyport', 'banip'));
    await waitFor(isBanned, { deadlineMs: DEADLINE_MS, what: 'the ban of a knock' });
    process.kill(killed.pid!, 'SIGKILL');
    await new Promise((resolve) => killed.once('close', resolve));
    assert.equal(leftNamespaces().length, 1);
    // the next one, which is on the host as well
    const next = stage.spawnBare();
    let said = '';
    next.stdout!.setEncoding('utf8').on('data', (text: string) => (said += text));
    await new Promise((resolve) => next.once('close', resolve));
    assert.match(said, /^ok +knock +IPv6: \S+ connects again /m);
    checkNothingLeft(stage);
  });

  await context.test('a knock that is interrupted after it connected leaves nothing', async () => {
    const known = stage.honeyport.lines().length;
    const child = stage.spawnBare();
    await waitFor(() => stage.honeyport.lines().length > known, {
      deadlineMs: DEADLINE_MS,
      what: 'the knock',
    });
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(code, 1);
    checkNothingLeft(stage);
  });

  await context.test('what only root may see is skipped', () => {
    const found = stage.doctorAs(['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']);
    for (const check of ['listener', 'fail2ban', 'jail', 'nftables', 'firewall', 'knock'])
      assert.ok(found.advises(check, /^run it as root/), `${check} in\n${found.text}`);
  });

  await context.test('a port that a service has, and a listener that does not run', async () => {
    await startService(stage.network);
    const config = stage.configure('', 'service.yaml', `${TELNET}, ${SERVICE}`);
    const taken = stage.doctor('-c', config);
    assert.ok(taken.has('listener', 'finding', /^port 8080 is taken by \S+\[\d+\]$/), taken.text);
    assert.equal(taken.findings.length, 1, taken.text);
    await stage.honeyport.stop();
    const stopped = stage.doctor();
    assert.ok(
      stopped.has('listener', 'finding', /honeyport does not run, nobody listens on port 2222,2323/),
      stopped.text,
    );
  });

  await context.test('a fail2ban that does not run', async () => {
    await stage.fail2ban.stop();
    const found = stage.doctor();
    assert.ok(found.has('fail2ban', 'finding', /^fail2ban is not running$/), found.text);
    assert.ok(found.has('action', 'skipped', /no jail of honeyport runs/), found.text);
    assert.equal(found.code, 1);
  });
});

interface Doctor {
  readonly code: number | null;
  readonly text: string;
  readonly stderr: string;
  readonly findings: readonly string[];
  has(check: string, result: string, message: RegExp): boolean;
  advises(check: string, advice: RegExp): boolean;
}

interface Stage {
  readonly network: Network;
  readonly honeyport: RunningHoneyport;
  readonly fail2ban: Fail2ban;
  doctor(...args: string[]): Doctor;
  doctorAs(wrapper: readonly string[]): Doctor;
  /** A knock in the host's own mount namespace, where what a killed one made stays. */
  spawnBare(): ChildProcess;
  /** Writes the listener's configuration, or another one, and returns its path. */
  configure(settings: string, name?: string, telnet?: string): string;
  jail(settings: string): string;
  /** Loads rules that others make, and returns what takes them away. */
  load(ruleSet: string): () => void;
}

interface Entry {
  readonly check: string;
  readonly result: string;
  readonly message: string;
  readonly advice?: string;
}

/** A sensor with a listener and a fail2ban, on which doctor sees this fail2ban's files as the host's. */
async function setStage(context: TestContext, release: Release): Promise<Stage> {
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  chmodSync(dir, 0o755);
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  const network = createNetwork();
  cleanUp(network.dispose);
  const { namespace } = network.sensor;
  const configuration = (settings: string, telnet: number | string = TELNET) =>
    `sensor: web-1\ndecoys: [{ name: telnet, ports: [${telnet}] }, { name: ssh, ports: ${SSH} }]\nlog: { file: { path: ${dir}/honeyport.log }, console: off }\n${settings}\n`;
  const honeyport = await startHoneyport({ config: configuration(''), namespace, dir });
  cleanUp(() => honeyport.stop());
  const jail = (settings: string) =>
    `[honeyport]\nenabled = true\nlogpath = ${honeyport.logFile}\n${settings}\n`;
  const fail2ban = await startFail2ban({ network, release, jails: jail(''), binds: [dir] });
  cleanUp(fail2ban.dispose);
  await waitFor(() => existsSync(join(dir, 'honeyport.allow.json')), {
    deadlineMs: DEADLINE_MS,
    what: 'the exported list',
  });

  const logrotate = join(dir, 'logrotate.d');
  mkdirSync(logrotate);
  const shipped = readFileSync(new URL('../../logrotate.d/honeyport', import.meta.url), 'utf8');
  writeFileSync(join(logrotate, 'honeyport'), shipped.replace('/var/log/honeyport/*.log', `${dir}/*.log`));
  const wrapper = seeing({ '/etc/fail2ban': fail2ban.configuration, '/etc/logrotate.d': logrotate });
  const bin = makeBin(dir, release, fail2ban);
  const argvOf = (args: readonly string[], as: readonly string[] = []) => {
    const own = args.includes('-c') ? [] : ['-c', honeyport.configFile];
    return [
      requireProgram('ip'),
      'netns',
      'exec',
      namespace,
      ...wrapper,
      ...as,
      process.execPath,
      CLI,
      'doctor',
      '--json',
      ...own,
      ...args,
    ];
  };
  const envOf = (zone?: string) => ({
    ...process.env,
    ...(release === 'host' ? {} : { PATH: `${bin}:${process.env.PATH}` }),
    ...(release === 'host' ? {} : { TMPDIR: dir }),
    ...(zone === undefined ? {} : { TZ: zone }),
  });
  const run = (given: readonly string[], as?: readonly string[]): Doctor => {
    const at = given.indexOf('--zone');
    const args = at < 0 ? given : given.filter((_, index) => index !== at && index !== at + 1);
    const [command, ...rest] = argvOf(args, as);
    const options = {
      encoding: 'utf8',
      timeout: DEADLINE_MS,
      env: envOf(at < 0 ? undefined : given[at + 1]),
    } as const;
    const { status, stdout, stderr } = spawnSync(command!, rest, options);
    assert.ok(stdout.startsWith('{'), `JSON, got ${stdout}${stderr}`);
    const entries = (JSON.parse(stdout) as { checks: Entry[] }).checks;
    return {
      code: status,
      text: entries
        .map(({ check, result, message, advice }) => `${result} ${check} ${message} | ${advice}`)
        .join('\n'),
      stderr,
      findings: entries.filter(({ result }) => result === 'finding').map(({ message }) => message),
      has: (check, result, message) =>
        entries.some(
          (entry) => entry.check === check && entry.result === result && message.test(entry.message),
        ),
      advises: (check, advice) =>
        entries.some((entry) => entry.check === check && advice.test(entry.advice ?? '')),
    };
  };
  return {
    network,
    honeyport,
    fail2ban,
    jail,
    doctor: (...args) => run(args),
    doctorAs: (as) => run(['--knock'], as),
    spawnBare() {
      const argv = [
        `--net=/run/netns/${namespace}`,
        process.execPath,
        CLI,
        'doctor',
        '--knock',
        '-c',
        honeyport.configFile,
      ];
      const env = { ...process.env, PATH: `${join(dir, 'bin')}:${process.env.PATH}`, TMPDIR: dir };
      return spawn(requireProgram('nsenter'), argv, { stdio: ['ignore', 'pipe', 'ignore'], env });
    },
    configure(settings, name = 'honeyport.yaml', telnet) {
      writeFileSync(join(dir, name), configuration(settings, telnet));
      return join(dir, name);
    },
    load(name) {
      const text = readFileSync(join(RULE_SETS, name), 'utf8');
      // nft prints them, and does not take them
      writeFileSync(join(dir, name), text.replace(/^.* xt match .*\n/gm, ''));
      fail2ban.nft('-f', join(dir, name));
      const tables = [...text.matchAll(/^table (\S+) (\S+)/gm)];
      return () => {
        for (const [, family, table] of tables) fail2ban.nft('delete', 'table', family!, table!);
      };
    },
  };
}

/** Programs that ask the stage's fail2ban, wherever they are run. */
function makeBin(dir: string, release: Release, fail2ban: Fail2ban): string {
  const bin = join(dir, 'bin');
  mkdirSync(bin);
  const programs = {
    'fail2ban-client': ['-c', fail2ban.configuration, '-s', join(fail2ban.directory, 'socket')],
    'fail2ban-regex': ['-c', fail2ban.configuration],
    nft: [],
  };
  for (const [name, args] of Object.entries(programs)) {
    const argv = fail2banArgv(release, [name, ...args], [fail2ban.directory, dir]);
    const script = `#!/bin/sh\nexec ${argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')} "$@"\n`;
    writeFileSync(join(bin, name), script, { mode: 0o755 });
  }
  return bin;
}

function checkKnock(stage: Stage, found: Doctor): void {
  assert.deepEqual([found.findings, found.code], [[], 0], found.text);
  for (const family of ['IPv4', 'IPv6']) {
    const steps = [
      'connected to port 2323',
      'the log has the line',
      'jail honeyport banned',
      "the kernel's set has",
    ];
    const back = [
      'the second try, at port 2222, was blocked \\(timeout\\)',
      'the ban is lifted',
      'connects again',
    ];
    for (const step of [...steps, ...back])
      assert.ok(
        found.has('knock', 'ok', new RegExp(`^${family}: .*${step}.* \\(\\d+ ms\\)$`)),
        `${family} ${step} in\n${found.text}`,
      );
  }
  checkNothingLeft(stage);
}

function checkNothingLeft({ network, fail2ban }: Stage): void {
  assert.deepEqual(fail2ban.banned(), []);
  assert.deepEqual(leftNamespaces(), []);
  assert.doesNotMatch(network.run(network.sensor, ['ip', 'link']).stdout, /hpd/);
}

/** Of knocks whose process is gone. */
function leftNamespaces(): string[] {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  return names.filter((name) => {
    const owner = /^honeyport-doctor-\d+-(\d+)$/.exec(name)?.[1];
    return owner !== undefined && !existsSync(`/proc/${owner}`);
  });
}
