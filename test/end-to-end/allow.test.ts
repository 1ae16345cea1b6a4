import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { knock, resolved, SSH, setStage, TELNET, verdictOf, watch } from '../support/allow-stage.ts';
import { SERVICE, startService } from '../support/bans.ts';
import { RELEASES, temporaryDirectory } from '../support/fail2ban.ts';
import { CLI, startHoneyport } from '../support/listener.ts';
import { cleanUpAfter, type Network } from '../support/namespaces.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 20_000;

const TOMORROW = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);

/** One entry of each kind; `third` is the third number of its IPv4 addresses, and makes the two sets differ. */
function entriesOf(third: number) {
  const ipv4 = (offset: number) => `198.18.${third + offset}`;
  return {
    settings: `allow:
  - ${ipv4(0)}.1
  - ${ipv4(1)}.0/24
  - 2001:db8:5:${third}::1
  - "2001:db8:6:${third}::/64"
  - { source: ${ipv4(4)}.1, ports: [${SSH}, 3000-3010], comment: only there }
  - { source: ${ipv4(5)}.1, until: ${TOMORROW} }
  - { source: ${ipv4(5)}.2, until: 2020-01-31 }
  - scanner-${third}.test
  - { file: LIST }
`,
    list: `# colleagues\n${ipv4(7)}.1\n\n${ipv4(8)}.0/25 ports=${TELNET} # half a network\n`,
    hosts: { [`scanner-${third}.test`]: [`${ipv4(6)}.1`, `2001:db8:5:${third}::6`] },
    allowed: [
      [`${ipv4(0)}.1`, `${ipv4(0)}.1`],
      [`${ipv4(1)}.255`, `${ipv4(1)}.0/24`],
      [`2001:db8:5:${third}::1`, `2001:db8:5:${third}::1`],
      [`2001:db8:6:${third}:ffff::1`, `2001:db8:6:${third}::/64`],
      [`${ipv4(4)}.1`, `${ipv4(4)}.1`, SSH],
      [`${ipv4(5)}.1`, `${ipv4(5)}.1`],
      [`${ipv4(6)}.1`, `scanner-${third}.test`],
      [`2001:db8:5:${third}::6`, `scanner-${third}.test`],
      [`${ipv4(7)}.1`, `${ipv4(7)}.1`],
      [`${ipv4(8)}.127`, `${ipv4(8)}.0/25`],
    ] as [from: string, by: string, port?: number][],
    neighbours: [
      [`${ipv4(0)}.2`],
      [`${ipv4(2)}.0`],
      [`2001:db8:5:${third}::2`],
      [`2001:db8:6:${(third + 1).toString()}::1`],
      [`${ipv4(4)}.2`, SSH],
      [`${ipv4(5)}.2`],
      [`${ipv4(6)}.2`],
      [`2001:db8:5:${third}::7`],
      [`${ipv4(7)}.2`],
      [`${ipv4(8)}.128`],
    ] as [from: string, port?: number][],
  };
}

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    test('of each kind of entry the source is never banned and its neighbour is, before and after a live edit', async (context) => {
      const before = entriesOf(10);
      const after = entriesOf(50);
      const hosts = { ...before.hosts, ...after.hosts };
      const stage = await setStage(context, before.settings, { list: before.list, hosts });
      const fail2ban = await watch(stage, release);
      await resolved(stage, 'scanner-10.test');
      const banned: string[] = [];
      const check = async ({ allowed, neighbours }: ReturnType<typeof entriesOf>) => {
        for (const [from, by, port] of allowed) {
          assert.equal(verdictOf(await stage.knock(from, port)), `allowed by=${by}`);
        }
        for (const [from, port] of neighbours) {
          assert.equal(verdictOf(await stage.knock(from, port)), 'connect', from);
          banned.push(from);
        }
        // lines are read in order: with the last one banned, all were looked at
        await fail2ban.waitForBan(banned.at(-1)!);
        assert.deepEqual(fail2ban.banned().sort(), banned.toSorted());
      };
      await check(before);

      await stage.configure(after.settings);
      await stage.writeList(after.list);
      await resolved(stage, 'scanner-50.test');
      // who is no longer on the list is nobody special
      const dropped = before.allowed.filter(([from]) => from !== '198.18.14.1').map(([from]) => from);
      for (const from of dropped) assert.equal(verdictOf(await stage.knock(from)), 'connect', from);
      banned.push(...dropped);
      await check(after);
    });

    test('an address that is allowed while it is banned gets through at once, and is blocked again without the entry', async (context) => {
      const stage = await setStage(context, 'allow: [{ file: LIST }]');
      const { network } = stage;
      const fail2ban = await watch(stage, release);
      await startService(network);
      const from = '198.18.1.1';
      const outcome = () => network.connect({ from, to: network.sensor.ipv4, port: SERVICE, timeoutMs: 400 });
      const becomes = (wanted: string) =>
        waitFor(async () => (await outcome()) === wanted, {
          deadlineMs: DEADLINE_MS,
          what: `${from}: ${wanted}`,
        });
      await stage.knock(from);
      await fail2ban.waitForBlock(from);
      await becomes('timeout');
      await stage.writeList(`${from}\n`);
      await becomes('open');
      assert.deepEqual(fail2ban.banned(), [from]);
      await stage.writeList('# nobody\n');
      await becomes('timeout');
      // for another port it is a stranger
      await stage.writeList(`${from} ports=${TELNET}\n`);
      await becomes('timeout');
      assert.equal(await network.connect({ from, to: network.sensor.ipv4, port: TELNET }), 'open');
    });
  });
}

test('a list file that goes bad in any way is reported with its line, and the last good list stays in force', async (context) => {
  const good = '198.18.1.1\n198.18.2.0/24 # scanners\n';
  const stage = await setStage(context, 'allow: [{ file: LIST }]', { list: good });
  const { honeyport, list } = stage;
  const replace = (text: string) => () => {
    writeFileSync(`${list}.new`, text);
    renameSync(`${list}.new`, list);
  };
  const cases: [what: string, spoil: () => void, report: RegExp][] = [
    [
      'host bits',
      replace('198.18.1.1\n198.18.2.1/24\n'),
      /:2:1: expected no bits beyond the prefix, as in 198\.18\.2\.0\/24, got "198\.18\.2\.1\/24"/,
    ],
    ['/33', replace('198.18.1.1/33\n'), /:1:1: expected a prefix length up to 32, got "198\.18\.1\.1\/33"/],
    [
      'half an address',
      replace('198.18.1.1\n198.18.2'),
      /:2:9: expected a line feed at the end of the file, got none/,
    ],
    [
      'nothing in it',
      () => writeFileSync(list, ''),
      /:1:1: expected entries or a comment, got an empty file/,
    ],
    [
      'a word',
      replace('198.18.1.1 port=22\n'),
      /:1:12: expected ports=, until= or a comment after #, got "port=22"/,
    ],
    [
      'a directory in its place',
      () => {
        rmSync(list);
        mkdirSync(list);
        process.kill(honeyport.pid, 'SIGHUP');
      },
      /: expected a regular file, got a directory/,
    ],
    [
      'gone',
      () => {
        rmSync(list, { recursive: true });
        process.kill(honeyport.pid, 'SIGHUP');
      },
      /: no such file/,
    ],
  ];
  let said = 0;
  for (const [what, spoil, report] of cases) {
    spoil();
    await waitFor(() => report.test(honeyport.stderr().slice(said)), {
      deadlineMs: DEADLINE_MS,
      what: () => `${what}: ${report} in:\n${honeyport.stderr().slice(said)}`,
    });
    await waitFor(() => /the old one runs on/.test(honeyport.stderr().slice(said)), {
      deadlineMs: DEADLINE_MS,
      what,
    });
    said = honeyport.stderr().length;
    assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'allowed by=198.18.1.1', what);
    assert.equal(verdictOf(await stage.knock('198.18.2.9')), 'allowed by=198.18.2.0/24', what);
    assert.equal(verdictOf(await stage.knock('198.18.3.1')), 'connect', what);
  }
  assert.equal(stage.reloads(), 0);
  await stage.writeList('198.18.3.1\n');
  assert.equal(verdictOf(await stage.knock('198.18.3.1')), 'allowed by=198.18.3.1');
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'connect');
});

test('a list file that is taken away is said at once', async (context) => {
  const stage = await setStage(context, 'allow: [{ file: LIST }]', { list: '198.18.1.1\n' });
  rmSync(stage.list);
  await stage.honeyport.waitForStderr(/allow\.list is gone: what was read of it before stays in force/);
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'allowed by=198.18.1.1');
});

test('a host name that stops resolving keeps its addresses, over a restart, too, and is reported once', async (context) => {
  const hosts = { 'scanner.test': ['198.18.1.1'] };
  const stage = await setStage(context, 'allow: [scanner.test]', { hosts });
  const { honeyport, names, network } = stage;
  await resolved(stage, 'scanner.test');
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'allowed by=scanner.test');
  names.answer({});
  // a reload asks anew; dnsmasq may still be reading when the first one comes
  const reports = () => honeyport.stderr().match(/host name scanner\.test does not resolve/g)?.length ?? 0;
  await waitFor(
    () => {
      if (reports() === 0) process.kill(honeyport.pid, 'SIGHUP');
      return reports() > 0;
    },
    { deadlineMs: DEADLINE_MS, everyMs: 300, what: 'the report' },
  );
  assert.match(
    honeyport.stderr(),
    /does not resolve \(ENOTFOUND\); its last address stays allowed: 198\.18\.1\.1$/m,
  );
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'allowed by=scanner.test');
  assert.equal(reports(), 1);

  names.answer({ 'scanner.test': ['198.18.1.3'] });
  await waitFor(
    () => {
      if (!/scanner\.test resolves again/.test(honeyport.stderr())) process.kill(honeyport.pid, 'SIGHUP');
      return /scanner\.test resolves again/.test(honeyport.stderr());
    },
    { deadlineMs: DEADLINE_MS, everyMs: 300, what: 'the name to resolve again' },
  );
  assert.equal(verdictOf(await stage.knock('198.18.1.3')), 'allowed by=scanner.test');
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'connect');
  names.answer({});

  await honeyport.stop();
  const { namespace } = network.sensor;
  const args = ['run', '-c', honeyport.configFile];
  const again = await startHoneyport({ args, namespace, dir: stage.dir, wrapper: names.wrapper });
  stage.cleanUp(() => again.stop());
  assert.equal(verdictOf(await knock(network, again, '198.18.1.3', TELNET)), 'allowed by=scanner.test');
  assert.equal(verdictOf(await knock(network, again, '198.18.1.2', TELNET)), 'connect');
});

test('a directory in which the list cannot be exported is said once, and the rest works', async (context) => {
  const cleanUp = cleanUpAfter(context);
  const dir = temporaryDirectory();
  cleanUp(() => rmSync(dir, { recursive: true, force: true }));
  chmodSync(dir, 0o755);
  const nobody = 65_534;
  writeFileSync(join(dir, 'honeyport.log'), '');
  chownSync(join(dir, 'honeyport.log'), nobody, nobody);
  const config =
    'decoys: [{ ports: 22322 }]\nallow: [198.18.1.1]\nlog: { file: { path: LOG }, console: off }\n';
  const wrapper = [requireProgram('setpriv'), `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
  const honeyport = await startHoneyport({ config, dir, wrapper });
  cleanUp(() => honeyport.stop());
  const exported = join(dir, 'honeyport.allow.json');
  await honeyport.waitForStderr(
    /warning: cannot write the allow list for fail2ban's action, \S+allow\.json: EACCES$/m,
  );
  await honeyport.waitForStderr(/hint: let the user that runs honeyport write in /);
  process.kill(honeyport.pid, 'SIGHUP');
  await honeyport.waitForLine(/: reload result=applied /);
  chownSync(dir, nobody, nobody);
  process.kill(honeyport.pid, 'SIGHUP');
  await honeyport.waitForStderr(/the allow list \S+ can be written again/);
  assert.match(readFileSync(exported, 'utf8'), /"net":"198\.18\.1\.1\/32"/);
  assert.equal(statSync(exported).mode & 0o777, 0o640);
  assert.equal(honeyport.stderr().match(/cannot write the allow list/g)?.length, 1);
});

test('allow check tells what a knock would be, and the knock then is just that', async (context) => {
  const list = '198.18.3.0/24 ports=2222 # only there\n';
  const settings = `allow:
  - { source: 198.18.1.1, comment: "the scanner" }
  - { source: 198.18.1.2, until: 2020-01-31 }
  - scanner.test
  - { file: LIST }`;
  const stage = await setStage(context, settings, { list, hosts: { 'scanner.test': ['198.18.2.1'] } });
  const { honeyport, network, names } = stage;
  await resolved(stage, 'scanner.test');
  ok(network, ['ip', 'route', 'add', 'default', 'via', network.attacker.ipv4]);
  const check = (...args: readonly string[]) => {
    const argv = [
      ...names.wrapper,
      process.execPath,
      CLI,
      'allow',
      'check',
      '-c',
      honeyport.configFile,
      ...args,
    ];
    const { code, stdout, stderr } = network.run(network.sensor, argv);
    assert.equal(stderr, '');
    return [
      code,
      ...stdout.replaceAll(honeyport.configFile, 'F').replaceAll(stage.list, 'L').split('\n').slice(0, -1),
    ];
  };
  assert.deepEqual(check('198.18.1.1'), [0, '198.18.1.1: allowed by 198.18.1.1, F:7: the scanner']);
  assert.deepEqual(check('198.18.1.2', '2323'), [
    1,
    '198.18.1.2: no longer allowed by 198.18.1.2 until 2020-01-31, F:8',
    '198.18.1.2: a knock on port 2323 would be bannable',
  ]);
  assert.deepEqual(check('198.18.2.1', '2222'), [0, '198.18.2.1: allowed by scanner.test, F:9']);
  assert.deepEqual(check('198.18.3.3', '2222'), [
    0,
    '198.18.3.3: allowed by 198.18.3.0/24 on port 2222, L:1: only there',
  ]);
  assert.deepEqual(check('198.18.3.3', '2323'), [
    1,
    '198.18.3.3: not allowed on this port by 198.18.3.0/24 on port 2222, L:1: only there',
    '198.18.3.3: a knock on port 2323 would be bannable',
  ]);
  assert.deepEqual(check('198.18.3.3'), [
    1,
    '198.18.3.3: allowed by 198.18.3.0/24 on port 2222, L:1: only there',
    '198.18.3.3: a knock on any other port would be bannable',
  ]);
  assert.deepEqual(check('::FFFF:198.18.9.9'), [1, '198.18.9.9: a knock would be bannable']);
  const gateway = network.attacker.ipv4;
  assert.deepEqual(check(gateway), [0, `${gateway}: allowed by guard:gateway`]);
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'allowed by=198.18.1.1');
  assert.equal(verdictOf(await stage.knock('198.18.1.2')), 'connect');
  assert.equal(verdictOf(await stage.knock('198.18.3.3', SSH)), 'allowed by=198.18.3.0/24');
  assert.equal(verdictOf(await stage.knock('198.18.3.3')), 'connect');
});

test('why tells the lines of an address, what covers it, its ban, and the command that lifts it', async (context) => {
  const stage = await setStage(context, 'allow: [{ source: 198.18.1.1, ports: 2222 }]');
  const { honeyport, network } = stage;
  const fail2ban = await watch(stage, 'host');
  await stage.knock('198.18.1.1', SSH);
  await stage.knock('198.18.1.1');
  await fail2ban.waitForBlock('198.18.1.1');
  const bin = join(stage.dir, 'bin');
  mkdirSync(bin);
  const access = ['-s', join(fail2ban.directory, 'socket'), '-p', join(fail2ban.directory, 'pid')].join(' ');
  const client = `#!/bin/sh\nexec ${requireProgram('fail2ban-client')} -c ${fail2ban.configuration} ${access} "$@"\n`;
  writeFileSync(join(bin, 'fail2ban-client'), client, { mode: 0o755 });
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  const { code, stdout, stderr } = network.run(
    network.sensor,
    [process.execPath, CLI, 'why', '198.18.1.1', '-c', honeyport.configFile],
    { env },
  );
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^ +allowed by 198\.18\.1\.1 on port 2222, /m);
  assert.match(stdout, /^ +a knock on any other port would be bannable$/m);
  assert.match(stdout, /: allowed src=198\.18\.1\.1 .* by=198\.18\.1\.1$/m);
  assert.match(stdout, /: connect src=198\.18\.1\.1 /);
  const command = /fail2ban-client set \S+ unbanip \S+/.exec(stdout)?.[0] ?? '';
  network.run(network.sensor, ['sh', '-c', command], { env });
  assert.deepEqual(fail2ban.banned(), []);
});

function ok(network: Network, argv: readonly string[]): void {
  const { code, stderr } = network.run(network.sensor, argv);
  assert.equal(code, 0, stderr);
}
