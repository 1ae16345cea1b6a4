import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { connectLine } from '../support/ban-burst.ts';
import { temporaryDirectory as directoryOfTest } from '../support/directory.ts';
import { type Dome9Double, startDome9 } from '../support/dome9-api.ts';
import { manyAddresses, recordBans } from '../support/dome9-service.ts';
import { type Fail2ban, startFail2ban, temporaryDirectory } from '../support/fail2ban.ts';
import { CLI, type RunningHoneyport, startHoneyport } from '../support/listener.ts';
import { createNetwork, type Network } from '../support/namespaces.ts';
import { mountTinyDisk } from '../support/tiny-disk.ts';
import { waitFor } from '../support/wait.ts';

const TELNET = 24_412;
const SHORT = 24_413;
/** The service lets five seconds pass between two attempts. */
const DEADLINE_MS = 40_000;
const FOREIGN = { ip: '203.0.113.200/32', comment: 'the office', owner: 'somebody' };
const LIST = 'honeyport-web-1';

describe('from a knock to the account, with the real listener, fail2ban and service', () => {
  const directory = temporaryDirectory();
  const state = join(directory, 'dome9');
  const configFile = join(directory, 'dome9.yaml');
  let network: Network;
  let honeyport: RunningHoneyport;
  let fail2ban: Fail2ban;
  let api: Dome9Double;
  let service: RunningHoneyport;

  before(async () => {
    network = createNetwork();
    api = await startDome9();
    api.lists.push({ id: 5, name: LIST, description: 'mine', items: [FOREIGN] });
    honeyport = await startHoneyport({
      namespace: network.sensor.namespace,
      config: `sensor: web-1
decoys:
  - { name: telnet, ports: ${TELNET} }
  - { name: short, ports: ${SHORT} }
log: { file: { path: LOG } }
`,
    });
    const { logFile } = honeyport;
    const action = `action = %(known/action)s\n         honeyport-dome9.py[state="${state}"]`;
    const own = `[honeyport]
enabled = true
filter = honeyport[decoy=telnet]
logpath = ${logFile}
${action}
[honeyport-short]
enabled = true
filter = honeyport[decoy=short]
backend = %(honeyport/backend)s
logpath = ${logFile}
banaction = %(honeyport/banaction)s
usedns = no
maxretry = 1
findtime = 1d
bantime = 10s
action = %(honeyport/action)s
`;
    fail2ban = await startFail2ban({ network, jails: own });
    writeConfiguration(configFile, { api, state });
    service = await startService();
  });
  after(async () => {
    await service?.stop();
    await fail2ban?.dispose();
    await honeyport?.stop();
    await api?.stop();
    network?.dispose();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Its own back-off and pauses are in force; only the account is a double. */
  async function startService(): Promise<RunningHoneyport> {
    const started = await startDome9Service(configFile);
    await started.waitForStderr(/is kept in step with/);
    return started;
  }

  /** Not waited for in place: the double is in this process. */
  function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const argv = [CLI, 'dome9', '-c', configFile, ...args];
    return new Promise((resolve) =>
      execFile(process.execPath, argv, { timeout: 30_000 }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      ),
    );
  }

  const addresses = () => api.items(LIST).map(({ ip }) => ip);
  const untilListed = (wanted: (ips: readonly string[]) => boolean, what: string) =>
    waitFor(() => wanted(addresses()), {
      deadlineMs: DEADLINE_MS,
      what: () => `${what}; ${addresses().length} in the list; ${service.stderr()}`,
    });

  test('a knock is in the list with its port, time, event and end, and an unban by hand takes it out', async () => {
    const { attacker, sensor } = network;
    for (const [from, to] of [
      [attacker.ipv4, sensor.ipv4],
      [attacker.ipv6, sensor.ipv6],
    ] as const) {
      assert.equal(await network.connect({ from, to, port: TELNET }), 'open');
    }
    await untilListed((ips) => ips.includes(attacker.ipv4) && ips.includes(attacker.ipv6), 'both addresses');
    for (const ip of [attacker.ipv4, attacker.ipv6]) {
      const line = await honeyport.waitForLine((text) => text.includes(` connect src=${ip} `));
      const id = /id=(\S+)/.exec(line)![1]!;
      const comment = api.items(LIST).find((item) => item.ip === ip)?.comment ?? '';
      const [, time, until] =
        /^honeyport\/web-1 port=24412 time=(\S+Z) until=(\S+Z) id=\S+ jail=honeyport$/.exec(comment) ?? [];
      assert.ok(comment.includes(` id=${id} `), `${comment} has not the id of ${line}`);
      assert.equal(Date.parse(until!) - Date.parse(time!), 86_400_000, comment);
      assert.ok(
        line.startsWith(time!.slice(0, 18)) || Math.abs(Date.parse(time!) - Date.now()) < 60_000,
        comment,
      );
    }
    assert.equal(fail2ban.client('get', 'honeyport', 'action', 'honeyport-dome9', 'wanted').trim(), '2');
    fail2ban.client('set', 'honeyport', 'unbanip', attacker.ipv4);
    await untilListed((ips) => !ips.includes(attacker.ipv4), 'no unbanned address');
    assert.ok(addresses().includes(attacker.ipv6), 'the other one stays');
    fail2ban.client('set', 'honeyport', 'unbanip', attacker.ipv6);
    await untilListed((ips) => ips.length === 1, 'the foreign item alone');
  });

  test('a ban that ends by its time is out of the list, and its source may knock again', async () => {
    const { attacker, sensor } = network;
    assert.equal(await network.connect({ from: attacker.ipv4, to: sensor.ipv4, port: SHORT }), 'open');
    await untilListed((ips) => ips.includes(attacker.ipv4), 'the address');
    await untilListed((ips) => !ips.includes(attacker.ipv4), 'no address that is free again');
  });

  test('status and --dry-run tell what there is and what would be done, and change nothing', async () => {
    const { code, stdout } = await run('status');
    assert.match(
      stdout,
      /^target: +list honeyport-web-1 at http.*\nservice: +runs, process \d+\nwanted: +0\npresent: +0, beside 1 item/,
    );
    assert.equal(code, 0, stdout);
    const before = api.calls.length;
    const preview = await run('--dry-run');
    assert.deepEqual([preview.code, preview.stderr], [0, '']);
    assert.match(preview.stdout, /: 0 to add, 0 to remove, 0 to change, 1 item/);
    assert.deepEqual(
      api.calls.slice(before).map(({ name }) => name),
      ['GET /v2/IpList'],
    );
  });

  test('a thousand bans in a burst, with the API away and the service killed meanwhile, are in the list in fewer than 20 calls', async () => {
    await api.stop();
    process.kill(service.pid, 'SIGKILL');
    await service.ended();
    const sources = manyAddresses(1000);
    appendFileSync(honeyport.logFile, sources.map(connectLine).join(''));
    await waitFor(() => fail2ban.banned().length === 1000, { deadlineMs: DEADLINE_MS, what: '1,000 bans' });
    const status = await run('status');
    assert.match(status.stdout, /^service: +does not run$/m);
    assert.equal(status.code, 1);
    service = await startService();
    await service.waitForStderr(/error: list honeyport-web-1 at .*ECONNREFUSED/);
    const before = api.calls.length;
    await api.start();
    await untilListed((ips) => ips.length === 1001, '1,000 addresses and the foreign item');
    assert.deepEqual(addresses().toSorted(), [...sources, FOREIGN.ip].toSorted());
    assert.deepEqual(api.items(LIST)[0], FOREIGN);
    assert.ok(api.calls.length - before < 20, `${api.calls.length - before} calls`);
    assert.equal(api.lists[0]!.description, 'mine');
  });

  test('a thousand bans in a burst with the API at hand take fewer than 20 calls, too', async () => {
    fail2ban.client('unban', '--all');
    await untilListed((ips) => ips.length === 1, 'the foreign item alone');
    const before = api.calls.length;
    const sources = manyAddresses(1000, 2000);
    appendFileSync(honeyport.logFile, sources.map(connectLine).join(''));
    await untilListed((ips) => ips.length === 1001, '1,000 addresses and the foreign item');
    assert.deepEqual(addresses().toSorted(), [...sources, FOREIGN.ip].toSorted());
    assert.ok(api.calls.length - before < 20, `${api.calls.length - before} calls`);
  });

  test('a stop of fail2ban ends nothing in the account', async () => {
    const recorded = () => readFileSync(join(state, 'wanted/honeyport.json'), 'utf8').match(/"ip":/g)?.length;
    const count = fail2ban.banned().length;
    assert.equal(recorded(), count);
    await fail2ban.stop();
    assert.equal(recorded(), count);
    await fail2ban.start();
    await waitFor(() => fail2ban.banned().length === count, {
      deadlineMs: DEADLINE_MS,
      what: 'restored bans',
    });
    assert.equal(recorded(), count);
    assert.equal(addresses().length, count + 1);
  });

  test('the key is in no argument, log, message or file of ours but its own, also when the API repeats it', async () => {
    const { id, secret } = api.key;
    const authorization = Buffer.from(`${id}:${secret}`).toString('base64');
    api.faults.push({ status: 400, body: `bad key ${id} ${secret} in Basic ${authorization}` });
    process.kill(service.pid, 'SIGHUP');
    await service.waitForStderr(/400 Bad Request: the answer repeats the key and is not shown/);
    const arguments_ = execFileSync('ps', ['axww', '-o', 'args'], { encoding: 'utf8' });
    assert.match(arguments_, /cli\.js dome9 -c/);
    const written = [directory, fail2ban.directory, honeyport.dir].flatMap(filesBelow);
    const texts = [
      arguments_,
      service.stdout() + service.stderr(),
      (await run('status')).stdout,
      fail2ban.log(),
      ...written.filter((file) => file !== configFile).map((file) => readFileSync(file, 'latin1')),
    ];
    for (const text of texts)
      for (const part of [id, secret, authorization])
        assert.ok(!text.includes(part), `the key is in ${text.slice(0, 300)}`);
    assert.ok(written.length > 10, `${written.length} files were read`);
  });

  test('a mistyped subcommand is told with the one that there is', async () => {
    assert.deepEqual(await run('stauts\n'), {
      code: 2,
      stdout: '',
      stderr:
        'honeyport: error: expected status, or nothing, after dome9, got "stauts\\x0a"\nhoneyport: hint: see honeyport dome9 --help\n',
    });
    assert.match((await run('status', 'now')).stderr, /too many arguments for 'status': expected 0, got 1/);
    assert.match(
      (await run('--copy-of', '')).stderr,
      /error: --copy-of: expected the name of a file, got ""/,
    );
  });

  test('a configuration file that others can read is refused, at the start and at a reload', async () => {
    chmodSync(configFile, 0o644);
    const refused = await run('status');
    assert.deepEqual([refused.code, refused.stdout], [2, '']);
    assert.match(
      refused.stderr,
      /^honeyport: error: .*dome9\.yaml: expected a file that others can neither read nor write, got mode 0644\nhoneyport: hint: .*chmod 600/,
    );
    process.kill(service.pid, 'SIGHUP');
    await service.waitForStderr(/got mode 0644\n.*\nhoneyport: the configuration read before runs on/);
    chmodSync(configFile, 0o600);
  });

  test('a changed configuration is taken up without a signal', async () => {
    const text = readFileSync(configFile, 'utf8');
    writeFileSync(`${configFile}.new`, text.replace('max_items: 2000', 'max_items: 11'), { mode: 0o600 });
    renameSync(`${configFile}.new`, configFile);
    await untilListed((ips) => ips.length === 11, 'eleven items');
    await service.waitForStderr(/warning: .* lacks 990 wanted addresses: max_items is 11/);
    assert.ok(addresses().includes(FOREIGN.ip), 'the foreign item stays');
  });

  test('with a full disk the list is kept in step, and that the status is not written is told', async (context) => {
    await service.stop();
    const disk = mountTinyDisk(context, 256);
    recordBans(disk, [{ ip: '192.0.2.77' }]);
    const spare = join(disk, 'spare');
    writeFileSync(spare, Buffer.alloc(100 << 10));
    try {
      writeFileSync(join(disk, 'filler'), Buffer.alloc(1 << 20));
    } catch {
      // it is full
    }
    writeConfiguration(configFile, { api, state: disk });
    service = await startService();
    await untilListed((ips) => ips.includes('192.0.2.77'), 'the address');
    await service.waitForStderr(
      /warning: cannot write .*status\.json: ENOSPC.*; the account is kept in step/,
    );
    rmSync(spare);
    recordBans(disk, [{ ip: '192.0.2.78' }]);
    await untilListed(
      (ips) => ips.includes('192.0.2.78') && !ips.includes('192.0.2.77'),
      'the other address',
    );
    await waitFor(() => existsSync(join(disk, 'status.json')), {
      deadlineMs: DEADLINE_MS,
      what: 'the status',
    });
    assert.equal((await service.stop()).code, 0);
  });
});

/** A moment of the first attempt: before its nth call is carried out, or after that and before its answer. */
interface Moment {
  readonly title: string;
  readonly call: number;
  readonly applied: boolean;
}

const WITHOUT_LIST = [
  'the look for the list',
  'the making of it',
  'the look after it',
  'the PUT',
  'the last look',
];
const WITH_LIST = ['the look for the list', 'the PUT', 'the last look'];

/** Whether a look is carried out makes no difference. */
function momentsOf(calls: readonly string[]): Moment[] {
  return calls.flatMap((title, call) => {
    const lost = { title: `before ${title}`, call, applied: false };
    const isLook = title.includes('look');
    return isLook ? [lost] : [lost, { title: `between ${title} and its answer`, call, applied: true }];
  });
}

// each waits for most of its time
describe('a service that is killed', { concurrency: 2 }, () => {
  for (const [what, calls, items] of [
    ['the list is missing', WITHOUT_LIST, undefined],
    [
      'the list is there',
      WITH_LIST,
      [FOREIGN, { ip: '192.0.2.9', comment: 'honeyport/web-1 jail=honeyport' }],
    ],
  ] as const) {
    for (const { title, call, applied } of momentsOf(calls)) {
      test(`${title}, where ${what}, brings the list to what is wanted after its restart`, async (context) => {
        const { api, state, start, addresses } = await setOwnStage(context);
        if (items !== undefined) api.lists.push({ id: 5, name: LIST, description: '', items: [...items] });
        recordBans(state, [{ ip: '192.0.2.1' }, { ip: '192.0.2.2' }]);
        let killed: RunningHoneyport | undefined;
        const kill = () => void process.kill(killed!.pid, 'SIGKILL');
        api.faults.push(...Array<undefined>(call).fill(undefined), { meanwhile: kill, applied, reset: true });
        killed = await start();
        assert.equal((await killed.ended()).signal, 'SIGKILL');
        assert.equal(api.calls.length, call + 1, 'it was killed at another moment');
        recordBans(state, [{ ip: '192.0.2.2' }, { ip: '192.0.2.3' }]);
        await start();
        const wanted = [...(items === undefined ? [] : [FOREIGN.ip]), '192.0.2.2', '192.0.2.3'].sort();
        await waitFor(() => addresses().join() === wanted.join(), {
          deadlineMs: DEADLINE_MS,
          what: () => `${wanted} in the list, which has ${addresses()}`,
        });
        assert.deepEqual(
          api.lists.map(({ name }) => name),
          [LIST],
        );
      });
    }
  }
});

test('a configuration that is replaced right after a change of its mode is taken up', async (context) => {
  const { state, file, start } = await setOwnStage(context);
  recordBans(state, []);
  const service = await start();
  await service.waitForStderr(/is in step/);
  const text = readFileSync(file, 'utf8');
  // within a few milliseconds chokidar takes two events for one, and goes on watching the file that is gone
  for (const [round, pauseMs] of [0, 1, 2, 3].entries()) {
    const list = `honeyport-round-${round}`;
    writeFileSync(`${file}.new`, `${text}list: ${list}\n`, { mode: 0o600 });
    chmodSync(file, round % 2 === 0 ? 0o400 : 0o600);
    await setTimeout(pauseMs);
    renameSync(`${file}.new`, file);
    await service.waitForStderr(new RegExp(`the configuration was read again: list ${list} `));
  }
});

/** An account, a record and services that end with the test. */
async function setOwnStage(context: TestContext) {
  const api = await startDome9();
  const services: RunningHoneyport[] = [];
  // first of all at the end: a service would make its directory anew
  context.after(async () => {
    for (const service of services) await service.stop('SIGKILL');
    await api.stop();
  });
  const directory = directoryOfTest(context);
  const file = join(directory, 'dome9.yaml');
  const state = join(directory, 'state');
  writeConfiguration(file, { api, state });
  return {
    api,
    state,
    file,
    async start() {
      const service = await startDome9Service(file);
      services.push(service);
      return service;
    },
    addresses: () =>
      api
        .items(LIST)
        .map(({ ip }) => ip)
        .sort(),
  };
}

function writeConfiguration(file: string, { api, state }: { api: Dome9Double; state: string }): void {
  const { id, secret } = api.key;
  const text = `url: ${api.url}\nkey: { id: "${id}", secret: "${secret}" }\nsensor: web-1\nstate: ${state}\nmax_items: 2000\n`;
  writeFileSync(file, text, { mode: 0o600 });
}

function startDome9Service(file: string): Promise<RunningHoneyport> {
  return startHoneyport({ args: ['dome9', '-c', file], dir: dirname(file), started: false });
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true, encoding: 'utf8' })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
