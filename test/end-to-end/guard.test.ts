import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type AllowStage, setStage, TELNET, verdictOf, watch } from '../support/allow-stage.ts';
import { RELEASES } from '../support/fail2ban.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 20_000;

/** How the listener exports what it knows of an address. */
async function guarded(stage: AllowStage, address: string, by: string | undefined): Promise<void> {
  const file = join(stage.dir, 'honeyport.allow.json');
  const found = () => {
    const { entries } = JSON.parse(readFileSync(file, 'utf8')) as { entries: { by: string; net: string }[] };
    return entries.find(({ net }) => net === `${address}/${address.includes(':') ? 128 : 32}`)?.by;
  };
  await waitFor(() => found() === by, {
    deadlineMs: DEADLINE_MS,
    what: () => `${address} to be ${by}, it is ${found()}`,
  });
}

/** A way for nothing: fail2ban looks up its own name, and should learn at once that it cannot. */
function routeNowhere(stage: AllowStage): void {
  const servers = [...readFileSync('/etc/resolv.conf', 'latin1').matchAll(/^nameserver\s+(\S+)/gm)];
  for (const [, server = ''] of servers) {
    stage.network.run(stage.network.sensor, ['ip', 'route', 'add', 'unreachable', server]);
  }
}

function ip(stage: AllowStage, host: 'sensor' | 'attacker', ...args: string[]): void {
  const { code, stderr } = stage.network.run(stage.network[host], ['ip', ...args]);
  assert.equal(code, 0, `ip ${args.join(' ')}: ${stderr}`);
}

for (const release of RELEASES) {
  describe(`with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    test('the default gateways are never banned; when they are most of all sources it is said once', async (context) => {
      const stage = await setStage(context, '');
      const { network, honeyport } = stage;
      const { attacker } = network;
      routeNowhere(stage);
      ip(stage, 'sensor', 'route', 'add', 'default', 'via', attacker.ipv4);
      ip(stage, 'sensor', '-6', 'route', 'add', 'default', 'via', attacker.ipv6);
      await guarded(stage, attacker.ipv4, 'guard:gateway');
      await guarded(stage, attacker.ipv6, 'guard:gateway');
      const fail2ban = await watch(stage, release);
      assert.equal(verdictOf(await stage.knock(attacker.ipv6)), 'allowed by=guard:gateway');
      const verdicts: string[] = [];
      for (let count = 0; count < 15; count++) verdicts.push(verdictOf(await stage.knock(attacker.ipv4)));
      assert.deepEqual(new Set(verdicts), new Set(['allowed by=guard:gateway', 'withheld reason=nat']));
      assert.equal(verdicts.at(-1), 'withheld reason=nat');
      assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'connect');
      // lines are read in order: with the last one banned, all were looked at
      await fail2ban.waitForBan('198.18.1.1');
      assert.deepEqual(fail2ban.banned(), ['198.18.1.1']);
      const warnings = honeyport.stderr().match(/^honeyport: warning: .*$/gm) ?? [];
      assert.equal(warnings.length, 1, warnings.join('\n'));
      assert.match(
        warnings[0]!,
        new RegExp(`connections come from ${attacker.ipv4.replaceAll('.', '\\.')}, .* NAT`),
      );
      assert.match(honeyport.stderr(), /^honeyport: hint: let the listener see its peers: /m);

      // no gateway any more, nobody special any more
      ip(stage, 'sensor', 'route', 'del', 'default');
      await guarded(stage, attacker.ipv4, undefined);
      assert.equal(verdictOf(await stage.knock(attacker.ipv4)), 'connect');
    });

    test('who is logged in is never banned, for as long as that lasts; who only fails to log in is', async (context) => {
      const stage = await setStage(context, '', { ssh: true });
      const ssh = stage.ssh!;
      const fail2ban = await watch(stage, release);
      const logins: [from: string, neighbour: string][] = [
        ['198.18.1.1', '198.18.1.2'],
        ['2001:db8:5::1', '2001:db8:5::2'],
      ];
      const banned: string[] = [];
      for (const [admin, stranger] of logins) {
        const session = ssh.login(admin);
        await guarded(stage, admin, 'guard:session');
        assert.equal(verdictOf(await stage.knock(admin)), 'allowed by=guard:session');
        assert.equal(ssh.failToLogin(stranger), 255);
        assert.equal(verdictOf(await stage.knock(stranger)), 'connect');
        banned.push(stranger);
        await fail2ban.waitForBan(stranger);
        assert.deepEqual(fail2ban.banned().sort(), banned.toSorted());
        session.stdin!.end();
        session.kill();
        await guarded(stage, admin, undefined);
        assert.equal(verdictOf(await stage.knock(admin)), 'connect');
        banned.push(admin);
        await fail2ban.waitForBan(admin);
      }
    });
  });
}

test('own addresses are guarded, also one that comes later, until it goes', async (context) => {
  const stage = await setStage(context, '');
  const { network } = stage;
  const knockFromItself = async (address: string) => {
    const known = stage.honeyport.lines().length;
    const script = `require('node:net').connect({ host: '${network.sensor.ipv4}', port: ${TELNET}, localAddress: '${address}' })`;
    network.run(network.sensor, [process.execPath, '-e', `${script}.resume()`]);
    const line = await waitFor(
      () =>
        stage.honeyport
          .lines()
          .slice(known)
          .find((text) => text.includes(` src=${address} `)),
      {
        deadlineMs: DEADLINE_MS,
        what: `the line of ${address}`,
      },
    );
    return verdictOf(line.replace(/^.*?\]: /, ''));
  };
  assert.equal(await knockFromItself(network.sensor.ipv4), 'allowed by=guard:own');
  assert.equal(await knockFromItself('127.0.0.1'), 'allowed by=guard:loopback');
  ip(stage, 'sensor', 'address', 'add', '198.51.100.5/24', 'dev', 'wire');
  await guarded(stage, '198.51.100.5', 'guard:own');
  assert.equal(await knockFromItself('198.51.100.5'), 'allowed by=guard:own');
  ip(stage, 'sensor', 'address', 'del', '198.51.100.5/24', 'dev', 'wire');
  await guarded(stage, '198.51.100.5', undefined);
});

test('the configured name servers are guarded', async (context) => {
  const stage = await setStage(context, '', { resolvers: ['127.0.0.1', '198.18.5.3', '2001:db8:5::53'] });
  assert.equal(verdictOf(await stage.knock('198.18.5.3')), 'allowed by=guard:resolver');
  assert.equal(verdictOf(await stage.knock('2001:db8:5::53')), 'allowed by=guard:resolver');
  assert.equal(verdictOf(await stage.knock('198.18.5.4')), 'connect');
});

test("what a bridge's address in a private network of this host hides is withheld from the first knock on", async (context) => {
  const stage = await setStage(context, '');
  ip(stage, 'sensor', 'address', 'add', '172.18.0.5/16', 'dev', 'wire');
  for (const end of [1, 2]) ip(stage, 'attacker', 'address', 'add', `172.18.0.${end}/16`, 'dev', 'wire');
  await guarded(stage, '172.18.0.5', 'guard:own');
  assert.equal(verdictOf(await stage.knock('172.18.0.1')), 'withheld reason=nat');
  assert.equal(verdictOf(await stage.knock('172.18.0.2')), 'connect');
  // one that is known to be the router is no riddle
  ip(stage, 'sensor', 'route', 'add', 'default', 'via', '172.18.0.1');
  await guarded(stage, '172.18.0.1', 'guard:gateway');
  assert.equal(verdictOf(await stage.knock('172.18.0.1')), 'allowed by=guard:gateway');
});

test('without the guard a gateway is a source like any other', async (context) => {
  const stage = await setStage(context, 'guard: off');
  ip(stage, 'sensor', 'route', 'add', 'default', 'via', stage.network.attacker.ipv4);
  for (let count = 0; count < 12; count++) {
    assert.equal(verdictOf(await stage.knock(stage.network.attacker.ipv4)), 'connect');
  }
});

test('a name server that never answers delays no line', async (context) => {
  const names = Array.from({ length: 50 }, (_, index) => `host-${index}.example`);
  const stage = await setStage(context, `allow: [${names}]`, { deafNameServer: true });
  const { honeyport } = stage;
  const lines = await Promise.all([1, 2, 3, 4].map((index) => stage.knock(`198.18.1.${index}`)));
  assert.deepEqual(lines.map(verdictOf), ['connect', 'connect', 'connect', 'connect']);
  // the first questions were still open all the while
  assert.doesNotMatch(honeyport.stderr(), /does not resolve/);
  await honeyport.waitForStderr(
    /host name host-0\.example does not resolve \(ETIMEOUT\); it allows nobody until it does/,
  );
  await stage.configure('allow: [198.18.1.1]');
  assert.equal(verdictOf(await stage.knock('198.18.1.1')), 'allowed by=198.18.1.1');
  const { code } = await honeyport.stop();
  assert.equal(code, 0);
});

test('the brake withholds what comes beyond its number of sources, IPv6 by /64, and says so once', async (context) => {
  const stage = await setStage(context, 'brake: { sources: 4, window: 1h }\nallow: [198.18.9.0/24]');
  const { honeyport } = stage;
  const crowd = ['198.18.1.1', '198.18.1.2', '2001:db8:5::1', '2001:db8:5::2', '2001:db8:5:1::1'];
  for (const from of crowd) assert.equal(verdictOf(await stage.knock(from)), 'connect', from);
  for (const from of ['198.18.1.3', '2001:db8:5:2::1', '198.18.1.3']) {
    assert.equal(verdictOf(await stage.knock(from)), 'withheld reason=brake', from);
  }
  assert.equal(verdictOf(await stage.knock('198.18.9.1')), 'allowed by=198.18.9.0/24');
  assert.equal(honeyport.stderr().match(/the brake holds: more than 4 sources within 3600 s/g)?.length, 1);
  await stage.configure('brake: off');
  assert.equal(verdictOf(await stage.knock('198.18.1.4')), 'connect');
});
