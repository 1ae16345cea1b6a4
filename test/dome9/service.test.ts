import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { describeStatus, openStatusFile, type ServiceStatus } from '../../src/dome9/status.ts';
import type { Fault } from '../support/dome9-api.ts';
import { manyAddresses, recordBans, setDome9Stage } from '../support/dome9-service.ts';
import { waitFor } from '../support/wait.ts';

const [A, B, C] = ['192.0.2.1', '192.0.2.2', '2001:db8::3'] as const;
const FOREIGN = { ip: '203.0.113.9', comment: 'the office', owner: 'somebody' };
const seconds = () => Math.floor(Date.now() / 1000);

/** What would be brought to the account if nothing were wrong. */
async function changeForAWhile(state: string): Promise<void> {
  for (let time = 0; time < 5; time++) {
    recordBans(state, [{ ip: A }, { ip: C }]);
    await setTimeout(100);
  }
}

/** The status once it says what is wanted. */
function statusWith(state: string, isWanted: (status: ServiceStatus) => boolean): Promise<ServiceStatus> {
  const read = () => openStatusFile(state).read() as ServiceStatus | undefined;
  return waitFor(() => [read()].find((status) => status !== undefined && isWanted(status)), {
    deadlineMs: 10_000,
    what: () => `another status than ${JSON.stringify(read())}`,
  });
}

// each waits for most of its time
describe('the service', { concurrency: true }, () => {
  test('what is recorded is in the list, and out of it when it is no longer', async (context) => {
    const { state, waitForItems } = await setDome9Stage(context, { bans: [{ ip: A }, { ip: C }] });
    await waitForItems([A, C]);
    recordBans(state, [{ ip: C }, { ip: B }]);
    await waitForItems([B, C]);
    recordBans(state, []);
    await waitForItems([]);
  });

  test('what several jails want is in the list until the last of them lets it go', async (context) => {
    const { state, waitForItems } = await setDome9Stage(context, { bans: [{ ip: A }] });
    recordBans(state, [{ ip: A }, { ip: B }], 'sshd');
    await waitForItems([A, B]);
    recordBans(state, []);
    recordBans(state, [{ ip: A }], 'sshd');
    await waitForItems([A]);
    rmSync(join(state, 'wanted/sshd.json'));
    await waitForItems([]);
  });

  test('a ban is out of the list when its time is over, with nobody saying so', async (context) => {
    const bans = [{ ip: A, until: seconds() + 6 }, { ip: B, until: seconds() + 3600 }, { ip: C }];
    const { waitForItems } = await setDome9Stage(context, { bans });
    await waitForItems([A, B, C]);
    await waitForItems([B, C]);
  });

  test('the comment says whose it is, and which port, time, end, event and jail it stems from', async (context) => {
    const ban = { ip: A, since: 1_764_000_000, until: 4_000_000_000, dpt: 23, id: '7f3k9q2x.42' };
    const { api, waitForItems } = await setDome9Stage(context, { bans: [ban] });
    await waitForItems([A]);
    assert.deepEqual(api.items('honeyport-web-1'), [
      {
        ip: A,
        comment:
          'honeyport/web-1 port=23 time=2025-11-24T16:00:00Z until=2096-10-02T07:06:40Z id=7f3k9q2x.42 jail=honeyport',
      },
    ]);
  });

  test('a thousand bans that come in ten parts are in the list in fewer than twenty calls', async (context) => {
    const stage = await setDome9Stage(context, {
      bans: [],
      configuration: { maxItems: 2000 },
      timing: { settleMs: 100, pauseMs: 1000 },
    });
    const { api, state, waitForItems } = stage;
    await waitFor(() => api.lists[0], { deadlineMs: 5000, what: 'the list' });
    api.lists[0]!.items.push(FOREIGN);
    const all = manyAddresses(1000);
    for (let part = 1; part <= 10; part++) {
      recordBans(
        state,
        all.slice(0, part * 100).map((ip) => ({ ip })),
      );
      await setTimeout(30);
    }
    await waitForItems([...all, FOREIGN.ip]);
    assert.ok(api.calls.length < 20, `${api.calls.length} calls`);
    assert.deepEqual(api.items('honeyport-web-1')[0], FOREIGN);
  });

  test('of 100,000 wanted addresses the newest are taken, with room for what is not ours, and the rest is told', async (context) => {
    const now = seconds();
    const bans = Array.from({ length: 100_000 }, (_, index) => ({
      ip: `100.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
      since: now - index,
    }));
    const stage = await setDome9Stage(context, { configuration: { maxItems: 10 } });
    const { api, state, said, waitForItems, waitForSaid, configuration } = stage;
    api.lists.push({ id: 77, name: configuration.list, description: 'mine', items: [FOREIGN] });
    recordBans(state, bans);
    const newest = bans.slice(0, 9).map(({ ip }) => ip);
    await waitForItems([FOREIGN.ip, ...newest]);
    await waitForSaid(/warning: .* lacks 99991 wanted addresses: max_items is 10/);
    recordBans(state, bans.slice(5));
    await waitForItems([FOREIGN.ip, ...bans.slice(5, 14).map(({ ip }) => ip)]);
    assert.equal(said.filter((text) => text.includes('lacks')).length, 1, said.join('\n'));
    assert.equal(api.lists[0]!.description, 'mine');
    await waitFor(() => /left out: +99986/.test(describeStatus(configuration, Date.now()).text), {
      deadlineMs: 5000,
      what: () => `the rest in ${describeStatus(configuration, Date.now()).text}`,
    });
  });

  const PASSING: readonly (readonly [string, Fault])[] = [
    ['503', { status: 503 }],
    ['429 with Retry-After', { status: 429, headers: { 'retry-after': '0' } }],
    ['500 after it was carried out', { status: 500, applied: true }],
    ['a reset', { reset: true }],
    ['a reset after it was carried out', { reset: true, applied: true }],
    ['an answer that is late', { delayMs: 150 }],
  ];

  for (const [name, fault] of PASSING) {
    test(`each call may meet ${name}, and the list is as wanted in the end, once`, async (context) => {
      const { api, state, waitForItems } = await setDome9Stage(context);
      api.always = undefined;
      // each call of each kind meets it once: the first look, the making, the reading, the writing
      api.faults.push(...Array.from({ length: 12 }, (_, index) => (index % 2 === 0 ? fault : undefined)));
      recordBans(state, [{ ip: A }, { ip: B }]);
      await waitForItems([A, B]);
      recordBans(state, [{ ip: B }]);
      await waitForItems([B]);
      assert.equal(api.lists.length, 1);
    });
  }

  test('with the API away nothing is lost, and the list is as wanted soon after it is back', async (context) => {
    const { api, state, said, waitForItems, waitForSaid } = await setDome9Stage(context, {
      bans: [{ ip: A }],
    });
    await waitForItems([A]);
    await api.stop();
    const all = manyAddresses(300);
    for (const count of [100, 200, 300]) {
      recordBans(
        state,
        all.slice(0, count).map((ip) => ({ ip })),
      );
      await waitForSaid(/error: .*ECONNREFUSED/);
    }
    await api.start();
    await waitForItems(all);
    await waitForSaid(/say: .* is in step: 300 of 300 wanted/);
    assert.equal(said.filter((text) => text.includes('ECONNREFUSED')).length, 1, said.join('\n'));
  });

  test('as long as the API asks for is waited, however much changes', async (context) => {
    const { api, state, waitForItems } = await setDome9Stage(context, { bans: [{ ip: A }] });
    await waitForItems([A]);
    api.faults.push({ status: 429, headers: { 'retry-after': '1' } });
    const before = api.calls.length;
    recordBans(state, [{ ip: A }, { ip: B }]);
    await waitFor(() => api.calls.length > before, { deadlineMs: 5000, what: 'the refused call' });
    recordBans(state, [{ ip: B }]);
    await waitForItems([B]);
    const [refused, next] = api.calls.slice(before);
    assert.ok(next!.at - refused!.at >= 1000, `${next!.at - refused!.at} ms`);
  });

  test('a refused key is told once, with what to do, and not tried again until the configuration changes', async (context) => {
    const key = { id: 'somebody', secret: 'wrong-Secret-1' };
    const stage = await setDome9Stage(context, { bans: [{ ip: A }], configuration: { key } });
    const { api, state, said, service, use, waitForItems, waitForSaid, configuration } = stage;
    await waitForSaid(/error: .*401 Unauthorized/);
    await changeForAWhile(state);
    assert.equal(api.calls.length, 1);
    assert.match(said.join('\n'), /hint: the key is not accepted/);
    const { text, isWell } = describeStatus(configuration, Date.now());
    assert.match(text, /last error: +GET \/v2\/IpList: 401 Unauthorized/);
    assert.equal(isWell, false);
    use({ key: api.key });
    service.reload();
    await waitForItems([A, C]);
    assert.doesNotMatch(said.join('\n') + text, /wrong-Secret-1|correct-horse/);
  });

  test('a key that may only read is told once, with what it lacks, and not tried again until the configuration changes', async (context) => {
    const { api, state, said, service, waitForItems, waitForSaid } = await setDome9Stage(context, {
      bans: [{ ip: A }],
    });
    await waitForItems([A]);
    await waitForSaid(/is in step/);
    api.faults.push(undefined, { status: 403 });
    const before = api.calls.length;
    recordBans(state, [{ ip: B }]);
    await waitForSaid(/error: .*PUT \S+: 403 Forbidden/);
    await waitForSaid(/hint: the key may read and seems to lack the right to write/);
    await changeForAWhile(state);
    assert.equal(api.calls.length, before + 2, said.join('\n'));
    service.reload();
    await waitForItems([A, C]);
  });

  for (const [name, fault] of [
    ['a list that is not taken', { status: 400, body: 'too many items' }],
    ['a redirect', { status: 302, headers: { location: 'https://192.0.2.1/' } }],
    ['an answer of another service', { status: 200, body: '<html>' }],
    ['no such call', { status: 404 }],
  ] satisfies (readonly [string, Fault])[]) {
    test(`${name} is told once, with what to do, and not met again until the configuration changes`, async (context) => {
      const { api, state, said, service, waitForItems, waitForSaid } = await setDome9Stage(context);
      api.always = fault;
      recordBans(state, [{ ip: A }]);
      await waitForSaid(/hint: see docs\/dome9\.md/);
      await changeForAWhile(state);
      assert.equal(api.calls.length, 1, said.join('\n'));
      api.always = undefined;
      service.reload();
      await waitForItems([A, C]);
    });
  }

  test('between two attempts is a pause, however often something changes', async (context) => {
    const pauseMs = 300;
    const { api, state, waitForItems } = await setDome9Stage(context, { bans: [], timing: { pauseMs } });
    const all = manyAddresses(40);
    for (let count = 1; count <= all.length; count++) {
      recordBans(
        state,
        all.slice(0, count).map((ip) => ({ ip })),
      );
      await setTimeout(25);
    }
    await waitForItems(all);
    const writes = api.calls.filter(({ name }) => name.startsWith('PUT')).map(({ at }) => at);
    assert.ok(writes.length >= 2, `${writes.length} writes`);
    for (const [index, at] of writes.slice(1).entries())
      assert.ok(at - writes[index]! >= pauseMs - 1, `${at - writes[index]!} ms`);
  });

  test('a storm of reloads is no storm of calls', async (context) => {
    const stage = await setDome9Stage(context, { bans: [{ ip: A }], timing: { pauseMs: 400 } });
    const { api, service, waitForItems, state } = stage;
    await waitForItems([A]);
    const before = api.calls.length;
    const begin = performance.now();
    for (let time = 0; time < 20; time++) {
      service.reload();
      service.reload();
      await setTimeout(20);
    }
    recordBans(state, [{ ip: B }]);
    await waitForItems([B]);
    const looks = api.calls.slice(before).filter(({ name }) => name === 'GET /v2/IpList');
    const most = 2 + (performance.now() - begin) / 400;
    assert.ok(looks.length <= most, `${looks.length} looks, at most ${most}`);
  });

  test('a file that is touched and says the same is no reason to try a refused key again', async (context) => {
    const key = { id: 'somebody', secret: 'wrong-Secret-1' };
    const { api, service, waitForSaid } = await setDome9Stage(context, {
      bans: [{ ip: A }],
      configuration: { key },
    });
    await waitForSaid(/401 Unauthorized/);
    for (let time = 0; time < 5; time++) {
      service.reload({ onlyIfChanged: true });
      await setTimeout(100);
    }
    assert.equal(api.calls.length, 1);
    service.reload({ onlyIfChanged: true });
    service.reload();
    await waitFor(() => api.calls.length === 2, { deadlineMs: 5000, what: 'the second try' });
  });

  test('bans that end and are not in the list are no reason to look at it', async (context) => {
    const now = seconds();
    const bans = Array.from({ length: 20 }, (_, index) => ({
      ip: `192.0.2.${index + 1}`,
      since: now - index,
      until: index < 2 ? now + 3600 : now + 1 + (index % 2),
    }));
    const { api, waitForItems } = await setDome9Stage(context, { bans, configuration: { maxItems: 2 } });
    await waitForItems(['192.0.2.1', '192.0.2.2']);
    const before = api.calls.length;
    await setTimeout(2500);
    assert.ok(api.calls.length <= before + 1, `${api.calls.length - before} calls`);
  });

  test('after a success the pause after a failure is a short one again', async (context) => {
    const timing = { firstRetryMs: 60_000, longestRetryMs: 86_400_000 };
    const { state, waitForItems } = await setDome9Stage(context, { bans: [{ ip: A }], timing });
    await waitForItems([A]);
    // a changed record is worth a try at once, whatever the pause; each time another problem with it
    const fail = async (text: string, problem: RegExp) => {
      writeFileSync(join(state, 'wanted/honeyport.json'), text);
      const { nextAttemptAt, error } = await statusWith(state, (status) =>
        problem.test(status.error?.message ?? ''),
      );
      return nextAttemptAt - error!.since;
    };
    await fail('{', /it is not JSON/);
    await fail('{"version":2}', /expected version 1/);
    await fail('{"version":1}', /expected jail/);
    const fourthMs = await fail('{"version":1,"jail":"x"}', /expected bans/);
    // the fourth of 60 s that double, and half of it at least
    assert.ok(fourthMs >= 240_000, `${fourthMs} ms after four failures`);
    recordBans(state, [{ ip: B }]);
    await waitForItems([B]);
    const firstMs = await fail('{', /it is not JSON/);
    assert.ok(firstMs <= 61_000, `${firstMs} ms after a success`);
  });

  test('each outage is told, once, and so is its end', async (context) => {
    const { api, said, waitForItems, state, waitForSaid } = await setDome9Stage(context, {
      bans: [{ ip: A }],
    });
    await waitForItems([A]);
    await waitForSaid(/is in step/);
    for (const [index, ip] of [B, C].entries()) {
      said.splice(0);
      api.faults.push({ status: 502 }, { status: 502 }, { status: 502 });
      recordBans(state, [{ ip }]);
      await waitForItems([ip]);
      await waitForSaid(/say: .* is in step: 1 of 1 wanted/);
      assert.equal(said.length, 2, `outage ${index + 1}: ${said.join('\n')}`);
    }
  });

  test('a record that is there at last is read at once, whatever the pause after failures', async (context) => {
    const timing = { firstRetryMs: 60_000, longestRetryMs: 60_000, lookMs: 60_000 };
    const { state, waitForSaid, waitForItems } = await setDome9Stage(context, { timing });
    await waitForSaid(/wanted is not there/);
    recordBans(state, [{ ip: A }]);
    await waitForItems([A]);
  });

  test('bans that the action had no room for are told, too', async (context) => {
    const { state, waitForSaid } = await setDome9Stage(context);
    recordBans(state, [{ ip: A }]);
    const file = join(state, 'wanted/honeyport.json');
    const text = readFileSync(file, 'utf8').replace('"version":1,', '"version":1,"leftOut":7,');
    writeFileSync(`${file}.new`, text.replace(/"leftOut":0,/, ''));
    renameSync(`${file}.new`, file);
    await waitForSaid(/warning: .* lacks 7 wanted addresses/);
  });

  test('over v1 each address is put there and taken back, fifty calls at a time', async (context) => {
    const stage = await setDome9Stage(context, { configuration: { api: 'v1' } });
    const { api, state } = stage;
    const all = manyAddresses(120);
    api.blacklist.set(FOREIGN.ip, { comment: FOREIGN.comment, ttl: undefined });
    recordBans(
      state,
      all.map((ip) => ({ ip, until: seconds() + 3600, dpt: 23 })),
    );
    const untilThere = (wanted: readonly string[]) =>
      waitFor(() => JSON.stringify([...api.blacklist.keys()].sort()) === JSON.stringify([...wanted].sort()), {
        deadlineMs: 10_000,
        what: () => `${wanted.length} addresses; there are ${api.blacklist.size}`,
      });
    await untilThere([...all, FOREIGN.ip]);
    const { comment, ttl } = api.blacklist.get(all[0]!)!;
    assert.match(comment!, /^honeyport\/web-1 port=23 time=/);
    assert.ok(ttl! > 3500 && ttl! <= 3600, `${ttl}`);
    recordBans(state, [{ ip: A }]);
    await untilThere([A, FOREIGN.ip]);
    assert.equal(api.blacklist.get(A)!.ttl, undefined);
    await stage.restart();
    recordBans(state, []);
    await untilThere([FOREIGN.ip]);
  });

  test('what cannot be read is no empty record: nothing is changed in the account', async (context) => {
    const { api, state, waitForItems, waitForSaid } = await setDome9Stage(context, {
      bans: [{ ip: A }, { ip: B }],
    });
    await waitForItems([A, B]);
    const writes = () => api.calls.filter(({ name }) => name.startsWith('PUT')).length;
    const before = writes();
    writeFileSync(join(state, 'wanted/honeyport.json'), '{"version":1,"jail":"honeyport","bans":[');
    await waitForSaid(/error: .*cannot use .*wanted\/honeyport\.json/);
    rmSync(join(state, 'wanted'), { recursive: true });
    await waitForSaid(/error: .*wanted is not there/);
    assert.equal(writes(), before);
    recordBans(state, [{ ip: B }]);
    await waitForItems([B]);
  });

  test('a directory that was put in the place of the watched one is found', async (context) => {
    const { state, waitForItems, waitForSaid } = await setDome9Stage(context);
    await waitForSaid(/wanted is not there/);
    for (const ip of [A, B]) {
      rmSync(join(state, 'wanted'), { recursive: true, force: true });
      recordBans(state, [{ ip }]);
      await waitForItems([ip]);
    }
  });

  test('two hosts on one list keep their own items and those of nobody', async (context) => {
    const one = await setDome9Stage(context, {
      bans: [{ ip: A }],
      configuration: { list: 'shared' },
      timing: { periodMs: 150 },
    });
    const other = await setDome9Stage(context, {
      api: one.api,
      bans: [{ ip: B }],
      configuration: { list: 'shared', sensor: 'web-10' },
      timing: { periodMs: 150 },
    });
    await waitFor(() => one.api.items('shared').length === 2, { deadlineMs: 10_000, what: 'both' });
    one.api.lists[0]!.items.push(FOREIGN);
    const wanted: { one: string[]; other: string[] } = { one: [A], other: [B] };
    for (let round = 0; round < 8; round++) {
      wanted.one = manyAddresses(5 + round);
      wanted.other = manyAddresses(5 + round, 1000);
      recordBans(
        one.state,
        wanted.one.map((ip) => ({ ip })),
      );
      recordBans(
        other.state,
        wanted.other.map((ip) => ({ ip })),
      );
      // one of them is written while the other is between reading and writing
      one.api.faults.push({ delayMs: 40 }, undefined, { delayMs: 60 });
      await one.waitForItems([FOREIGN.ip, ...wanted.one, ...wanted.other]);
    }
    assert.equal(one.api.lists.filter(({ name }) => name === 'shared').length, 1);
    recordBans(one.state, []);
    await one.waitForItems([FOREIGN.ip, ...wanted.other]);
  });

  test('what others remove of ours is back at the next look, and what they add stays', async (context) => {
    const { api, waitForItems } = await setDome9Stage(context, {
      bans: [{ ip: A }, { ip: B }],
      timing: { periodMs: 150 },
    });
    await waitForItems([A, B]);
    api.lists[0]!.items = [FOREIGN];
    await waitForItems([FOREIGN.ip, A, B]);
    api.lists.splice(0, 1);
    await waitForItems([A, B]);
  });

  test('with nothing to do the account is looked at, and never written', async (context) => {
    const { api, waitForItems } = await setDome9Stage(context, {
      bans: [{ ip: A }],
      timing: { periodMs: 100 },
    });
    await waitForItems([A]);
    const before = api.calls.length;
    await waitFor(() => api.calls.length >= before + 6, { deadlineMs: 10_000, what: 'six looks' });
    const names = new Set(api.calls.slice(before + 1).map(({ name }) => name));
    assert.deepEqual([...names], ['GET /v2/IpList/1']);
  });

  test('a service that was stopped amid each call goes on where it was', async (context) => {
    const stage = await setDome9Stage(context);
    const { api, state, waitForItems } = stage;
    let next = 0;
    for (const isNew of [true, false]) {
      for (const [at, applied] of [0, 1, 2].flatMap((call) => [
        [call, true] as const,
        [call, false] as const,
      ])) {
        if (isNew) api.lists.splice(0);
        next += 2;
        const wanted = manyAddresses(3, next);
        // the service is gone when this call is carried out, or never is
        const fault = { delayMs: 50, applied, status: 500 };
        api.faults.splice(0, 10, ...Array.from({ length: at }, () => undefined), fault);
        recordBans(
          state,
          wanted.map((ip) => ({ ip })),
        );
        await waitFor(() => api.faults.length === 0, { deadlineMs: 5000, what: `call ${at + 1}` });
        await stage.restart();
        await waitForItems(wanted);
        assert.deepEqual(
          api.lists.slice(1).flatMap(({ items }) => items),
          [],
        );
      }
    }
  });

  test('the status is told from what the service keeps, and the key is nowhere in the state', async (context) => {
    const { api, state, waitForItems, configuration } = await setDome9Stage(context, { bans: [{ ip: A }] });
    await waitForItems([A]);
    const status = () => describeStatus(configuration, Date.now());
    await waitFor(() => /present: +1,/.test(status().text), { deadlineMs: 5000, what: () => status().text });
    assert.match(
      status().text,
      /^target: .*honeyport-web-1 at .*\nservice: +runs, process \d+\nwanted: +1\npresent: +1, beside 0 items that are not ours\nlast sync: +\S+Z, \d s ago\n/,
    );
    assert.equal(status().isWell, true);
    const kept = readFileSync(join(state, 'status.json'), 'latin1');
    for (const secret of [api.key.id, api.key.secret])
      assert.ok(!kept.includes(secret), `the key is in ${kept}`);
  });

  test('a configuration that cannot be used is told at a reload, and the one before stays', async (context) => {
    const stage = await setDome9Stage(context, { bans: [{ ip: A }] });
    await stage.waitForItems([A]);
    stage.use({ ca: '/nonexistent/ca.pem', url: stage.api.url.replace('http:', 'https:') });
    stage.service.reload();
    await stage.waitForSaid(/error: cannot read \/nonexistent\/ca\.pem/);
    recordBans(stage.state, [{ ip: B }]);
    await stage.waitForItems([B]);
  });
});

// these change what others rely on, or take the machine for themselves

/** From now on chokidar looks once an hour. */
function blindWatcher(context: TestContext): void {
  const own = { CHOKIDAR_USEPOLLING: '1', CHOKIDAR_INTERVAL: '3600000' };
  Object.assign(process.env, own);
  context.after(() => {
    for (const name of Object.keys(own)) delete process.env[name];
  });
}

test('a change that the system does not tell of is found by looking', async (context) => {
  blindWatcher(context);
  const blind = await setDome9Stage(context, { bans: [{ ip: A }], timing: { lookMs: 3_600_000 } });
  const looking = await setDome9Stage(context, { bans: [{ ip: A }], timing: { lookMs: 100 } });
  for (const { waitForItems } of [blind, looking]) await waitForItems([A]);
  for (const { state } of [blind, looking]) recordBans(state, [{ ip: B }]);
  await looking.waitForItems([B]);
  await setTimeout(300);
  assert.deepEqual(
    blind.api.items('honeyport-web-1').map(({ ip }) => ip),
    [A],
    'the watcher sees: this test shows nothing',
  );
});

test('with nothing to do the next look is in ten to eleven minutes, as chance will have it', async (context) => {
  for (const random of [0, 0.5, 0.999]) {
    const { mock } = context.mock.method(Math, 'random', () => random);
    const { state, waitForItems } = await setDome9Stage(context, { bans: [{ ip: A }] });
    await waitForItems([A]);
    const { nextAttemptAt, lastSyncAt } = await statusWith(state, ({ present }) => present === 1);
    const pauseMs = nextAttemptAt - lastSyncAt!;
    const wantedMs = 600_000 + 60_000 * random;
    assert.ok(Math.abs(pauseMs - wantedMs) < 10_000, `${pauseMs} ms, wanted ${wantedMs} ms`);
    mock.restore();
  }
});

test('a clock that is set back a day holds nothing up', async (context) => {
  const { state, waitForItems } = await setDome9Stage(context, { bans: [{ ip: A }, { ip: B }] });
  await waitForItems([A, B]);
  const real = Date.now;
  context.mock.method(Date, 'now', () => real() - 86_400_000);
  recordBans(state, [{ ip: B }]);
  await waitForItems([B]);
});

test('two jails with 100,000 bans each are brought to the list once, and what is beyond is told', async (context) => {
  const { api, state, waitForItems, waitForSaid } = await setDome9Stage(context, {
    configuration: { maxItems: 3 },
  });
  const bans = (second: number) =>
    Array.from({ length: 100_000 }, (_, index) => ({
      ip: `10.${100 * second + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
      since: 1_700_000_000 - index,
      until: 4_000_000_000,
    }));
  recordBans(state, bans(0), 'other');
  recordBans(state, [...bans(1), { ip: A }, { ip: B }, { ip: C }]);
  await waitForItems([A, B, C]);
  await waitForSaid(/lacks 200000 wanted addresses/);
  const before = api.calls.length;
  await setTimeout(500);
  assert.ok(api.calls.length <= before + 1, `${api.calls.length - before} calls`);
});
