import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openApi } from '../../src/dome9/api.ts';
import { accountMark, countRecorded, createBlacklist } from '../../src/dome9/blacklist.ts';
import { commentOf } from '../../src/dome9/comment.ts';
import type { Want } from '../../src/dome9/want.ts';
import { openStateFile } from '../../src/system/state-file.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { type Dome9Double, startDome9 } from '../support/dome9-api.ts';
import { manyAddresses } from '../support/dome9-service.ts';

const NOW = 1_764_000_000;

function wantOf(ip: string, more: Partial<Want> = {}): Want {
  return { ip, since: NOW, until: null, jail: 'honeyport', ...more };
}

interface Stage {
  readonly double: Dome9Double;
  readonly directory: string;
  readonly notices: string[];
  /** In seconds; what the blacklist takes for now. */
  now: number;
  /** A new one, as after a restart. */
  open(): ReturnType<typeof createBlacklist>;
  readRecord(): Record<string, { until: number | null; isConfirmed: boolean }>;
}

async function stageOf(context: TestContext, maxItems = 500): Promise<Stage> {
  const double = await startDome9();
  const directory = temporaryDirectory(context);
  const notices: string[] = [];
  const apis: ReturnType<typeof openApi>[] = [];
  context.after(async () => {
    for (const api of apis) await api.close();
    await double.stop();
  });
  const record = () => openStateFile(join(directory, 'posted.json'));
  const stage: Stage = {
    double,
    directory,
    notices,
    now: NOW,
    open() {
      const api = openApi({ url: double.url, key: double.key, ca: undefined, version: '0.0.0' });
      apis.push(api);
      return createBlacklist({
        api,
        account: 'an account',
        sensor: 'web-1',
        maxItems,
        record: record(),
        now: () => stage.now * 1000,
        onNotice: (message) => notices.push(message),
      });
    },
    readRecord: () =>
      (record().read() as { posted: ReturnType<Stage['readRecord']> } | undefined)?.posted ?? {},
  };
  return stage;
}

const namesOf = ({ double }: Stage) => double.calls.map(({ name }) => name);

test('a ban is posted with address, comment and the seconds that are left, and a permanent one without these', async (context) => {
  const stage = await stageOf(context);
  const [timed, endless] = [
    wantOf('192.0.2.1', { until: NOW + 3600.2, decoyPort: 23 }),
    wantOf('2001:db8::1'),
  ];
  assert.deepEqual(await stage.open().converge([timed, endless]), {
    present: 2,
    leftOut: 0,
    foreign: undefined,
    nextEnd: NOW + 3600.2,
    isUnfinished: false,
  });
  assert.deepEqual(namesOf(stage), ['POST /v1/blacklist/Items/', 'POST /v1/blacklist/Items/']);
  for (const { headers } of stage.double.calls)
    assert.equal(headers['content-type'], 'application/x-www-form-urlencoded');
  assert.deepEqual(
    stage.double.calls.map(({ body }) => Object.fromEntries(new URLSearchParams(body))),
    [
      { IP: '192.0.2.1', Comment: commentOf(timed, 'web-1'), TTL: '3601' },
      { IP: '2001:db8::1', Comment: commentOf(endless, 'web-1') },
    ],
  );
});

test('what is there already is not posted again, also after a restart', async (context) => {
  const stage = await stageOf(context);
  const wants = [wantOf('192.0.2.1'), wantOf('192.0.2.2', { until: NOW + 60 })];
  const first = stage.open();
  await first.converge(wants);
  await first.converge(wants);
  const outcome = await stage.open().converge(wants);
  assert.equal(stage.double.calls.length, 2);
  assert.equal(outcome.present, 2);
});

test('another end is posted again, and an unban deleted', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  await target.converge([wantOf('192.0.2.1', { until: NOW + 60 }), wantOf('198.51.100.0/24')]);
  stage.double.calls.length = 0;
  await target.converge([wantOf('192.0.2.1', { until: NOW + 600 })]);
  assert.deepEqual(namesOf(stage), [
    'DELETE /v1/blacklist/items/198.51.100.0%2F24',
    'POST /v1/blacklist/Items/',
  ]);
  assert.deepEqual([...stage.double.blacklist.keys()], ['192.0.2.1']);
  assert.equal(stage.double.blacklist.get('192.0.2.1')?.ttl, 600);
  assert.deepEqual(Object.keys(stage.readRecord()), ['192.0.2.1']);
});

test('what has ended the service has ended itself: nothing is deleted', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  await target.converge([wantOf('192.0.2.1', { until: NOW + 60 })]);
  stage.now = NOW + 60;
  assert.deepEqual(await target.preview([]), {
    added: [],
    changed: [],
    removed: [],
    leftOut: 0,
    foreign: undefined,
  });
  await target.converge([]);
  await stage.open().converge([]);
  assert.equal(stage.double.calls.length, 1);
});

test('a ban that ends while it waits is posted for a second at least', async (context) => {
  const stage = await stageOf(context);
  stage.now = NOW + 10;
  await stage.open().converge([wantOf('192.0.2.1', { until: NOW + 9 })]);
  assert.equal(stage.double.blacklist.get('192.0.2.1')?.ttl, 1);
});

test('what is not in the record is never deleted', async (context) => {
  const stage = await stageOf(context);
  stage.double.blacklist.set('192.0.2.9', { comment: 'honeyport/web-1 by hand', ttl: undefined });
  const target = stage.open();
  await target.converge([wantOf('192.0.2.1')]);
  await target.converge([]);
  await stage.open().converge([]);
  assert.deepEqual([...stage.double.blacklist.keys()], ['192.0.2.9']);
});

test('what is gone there already is forgotten', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  await target.converge([wantOf('192.0.2.1')]);
  stage.double.blacklist.clear();
  await target.converge([]);
  await target.converge([]);
  assert.deepEqual(namesOf(stage).slice(1), ['DELETE /v1/blacklist/items/192.0.2.1']);
  assert.deepEqual(stage.readRecord(), {});
});

test('fifty calls at once are the most, and what is left is told', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  const wants = manyAddresses(60).map((ip, at) => wantOf(ip, { since: NOW - at }));
  const first = await target.converge(wants);
  assert.deepEqual([stage.double.calls.length, first.present, first.isUnfinished], [50, 50, true]);
  assert.deepEqual(
    [...stage.double.blacklist.keys()],
    wants.slice(0, 50).map(({ ip }) => ip),
  );
  const last = await target.converge(wants);
  assert.deepEqual([stage.double.calls.length, last.present, last.isUnfinished], [60, 60, false]);
  const emptied = await target.converge([]);
  assert.deepEqual([stage.double.blacklist.size, emptied.isUnfinished], [10, true]);
});

test('more than there is room for is left out, and the newest are taken', async (context) => {
  const stage = await stageOf(context, 2);
  const wants = [1, 3, 2].map((n) => wantOf(`192.0.2.${n}`, { since: NOW + n }));
  const outcome = await stage.open().converge(wants);
  assert.deepEqual([outcome.present, outcome.leftOut], [2, 1]);
  assert.deepEqual([...stage.double.blacklist.keys()], ['192.0.2.3', '192.0.2.2']);
});

for (const status of [401, 403]) {
  test(`${status} is about the key, and ends the attempt`, async (context) => {
    const stage = await stageOf(context);
    stage.double.always = { status };
    await assert.rejects(stage.open().converge([wantOf('192.0.2.1'), wantOf('192.0.2.2')]), {
      failure: 'credentials',
    });
    assert.equal(stage.double.calls.length, 1);
  });
}

test('a key that is not the one of the account is refused as such', async (context) => {
  const stage = await stageOf(context);
  const api = openApi({
    url: stage.double.url,
    key: { ...stage.double.key, id: 'somebody@example.org' },
    ca: undefined,
    version: '0.0.0',
  });
  context.after(() => api.close());
  const call = { method: 'POST', path: '/v1/blacklist/Items/', body: { form: { IP: '192.0.2.1' } } } as const;
  await assert.rejects(api.send(call), { failure: 'credentials' });
});

test('a refused address is left out and told once, and the others are posted', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  const [good, bad] = [wantOf('192.0.2.1'), wantOf('192.0.2.2', { since: NOW + 1 })];
  stage.double.faults.push({ status: 400, body: '{"message":"invalid IP"}' });
  const outcome = await target.converge([good, bad]);
  assert.deepEqual([outcome.present, outcome.leftOut], [1, 1]);
  assert.deepEqual(await target.converge([good, bad]), outcome);
  assert.equal(stage.double.calls.length, 2);
  assert.equal(stage.notices.length, 1);
  assert.match(stage.notices[0]!, /^192\.0\.2\.2 is left out: POST .*: 400 Bad Request: .*invalid IP/);
  assert.deepEqual(Object.keys(stage.readRecord()), ['192.0.2.1']);
  await target.converge([good, { ...bad, until: NOW + 60 }]);
  assert.equal(stage.double.calls.length, 3);
});

test('a refused address is tried again after its end', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  const want = wantOf('192.0.2.1', { until: NOW + 60 });
  stage.double.faults.push({ status: 400 });
  await target.converge([want]);
  stage.now = NOW + 61;
  await target.converge([]);
  stage.now = NOW;
  await target.converge([want]);
  assert.equal(stage.double.calls.length, 2);
});

test('an address that is refused a second time stays as it was', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  const want = wantOf('192.0.2.1', { until: NOW + 60 });
  await target.converge([want]);
  stage.double.faults.push({ status: 400 });
  await target.converge([{ ...want, until: NOW + 600 }]);
  assert.deepEqual(stage.readRecord(), { '192.0.2.1': { until: NOW + 60, isConfirmed: true } });
});

test('each wanted address is present or left out, also a refused one beyond the room', async (context) => {
  const stage = await stageOf(context, 1);
  const target = stage.open();
  const old = wantOf('192.0.2.1');
  stage.double.faults.push({ status: 400 });
  await target.converge([old]);
  const { present, leftOut } = await target.converge([old, wantOf('192.0.2.2', { since: NOW + 1 })]);
  assert.deepEqual({ present, leftOut }, { present: 1, leftOut: 1 });
});

test('each wanted address is present or left out, also one of which another end is refused', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  await target.converge([wantOf('192.0.2.1', { until: NOW + 60 })]);
  stage.double.faults.push({ status: 400 });
  const { present, leftOut } = await target.converge([wantOf('192.0.2.1', { until: NOW + 600 })]);
  assert.equal(present + leftOut, 1, `${present} present and ${leftOut} left out of one`);
});

/** Ends at which a call can break off. */
const BREAKS = [
  ['before it is carried out', { reset: true }],
  ['after it is carried out', { reset: true, applied: true }],
] as const;

for (const [when, fault] of BREAKS) {
  test(`whoever is killed at any call, ${when}, leaves nothing behind`, async (context) => {
    const before = [wantOf('192.0.2.1'), wantOf('192.0.2.2'), wantOf('192.0.2.3', { until: NOW + 60 })];
    const after = [wantOf('192.0.2.3', { until: NOW + 600 }), wantOf('192.0.2.4'), wantOf('192.0.2.5')];
    const stage = await stageOf(context);
    for (let at = 0; at < 5; at++) {
      stage.double.blacklist.clear();
      rmSync(join(stage.directory, 'posted.json'), { force: true });
      await stage.open().converge(before);
      stage.double.faults.push(...Array<undefined>(at).fill(undefined), fault);
      await assert.rejects(stage.open().converge(after));
      for (const ip of stage.double.blacklist.keys())
        assert.ok(Object.hasOwn(stage.readRecord(), ip), `${ip} is there and not in the record`);
      const { present } = await stage.open().converge(after);
      assert.equal(present, 3);
      assert.deepEqual([...stage.double.blacklist.keys()].sort(), ['192.0.2.3', '192.0.2.4', '192.0.2.5']);
      assert.equal(stage.double.blacklist.get('192.0.2.3')?.ttl, 600);
      // unbanned while nobody ran
      await stage.open().converge([]);
      assert.deepEqual([...stage.double.blacklist.keys()], []);
    }
  });
}

test('what was posted without an answer and unbanned meanwhile is deleted', async (context) => {
  const stage = await stageOf(context);
  stage.double.faults.push({ reset: true, applied: true });
  await assert.rejects(stage.open().converge([wantOf('192.0.2.1')]), { failure: 'unavailable' });
  assert.deepEqual(stage.readRecord(), { '192.0.2.1': { until: null, isConfirmed: false } });
  await stage.open().converge([]);
  assert.deepEqual([...stage.double.blacklist.keys()], []);
});

test('what the record says is the time at which it was killed: before the call, too', async (context) => {
  const stage = await stageOf(context);
  let seen: unknown;
  stage.double.faults.push({ meanwhile: () => (seen = stage.readRecord()) });
  await stage.open().converge([wantOf('192.0.2.1')]);
  assert.deepEqual(seen, { '192.0.2.1': { until: null, isConfirmed: false } });
  assert.deepEqual(stage.readRecord(), { '192.0.2.1': { until: null, isConfirmed: true } });
});

test('what cannot be recorded is not posted, until it can be', async (context) => {
  const stage = await stageOf(context);
  const target = stage.open();
  const obstacle = join(stage.directory, 'posted.json.new');
  mkdirSync(join(obstacle, 'full'), { recursive: true });
  await assert.rejects(target.converge([wantOf('192.0.2.1')]), /^Error: cannot write .*\/posted\.json: /);
  await assert.rejects(target.converge([wantOf('192.0.2.1')]), /cannot write/);
  assert.equal(stage.double.calls.length, 0);
  rmSync(obstacle, { recursive: true });
  assert.equal((await target.converge([wantOf('192.0.2.1')])).present, 1);
});

test('a preview tells what would be done, and does nothing', async (context) => {
  const stage = await stageOf(context, 3);
  const target = stage.open();
  await target.converge([wantOf('192.0.2.1', { until: NOW + 60 }), wantOf('192.0.2.2')]);
  const record = stage.readRecord();
  const wants = [
    wantOf('192.0.2.1', { until: NOW + 90 }),
    wantOf('192.0.2.3'),
    wantOf('192.0.2.4'),
    wantOf('192.0.2.5', { since: 1 }),
  ];
  assert.deepEqual(await stage.open().preview(wants), {
    added: ['192.0.2.3', '192.0.2.4'],
    changed: ['192.0.2.1'],
    removed: ['192.0.2.2'],
    leftOut: 1,
    foreign: undefined,
  });
  assert.equal(stage.double.calls.length, 2);
  assert.deepEqual(stage.readRecord(), record);
});

test('a record that says nonsense of an item is one of an item that may be there', async (context) => {
  const stage = await stageOf(context);
  openStateFile(join(stage.directory, 'posted.json')).write({
    version: 1,
    posted: { '192.0.2.1': null, '192.0.2.2': { until: 'x', isConfirmed: 'yes' } },
  });
  await stage.open().converge([wantOf('192.0.2.2')]);
  assert.deepEqual(namesOf(stage), ['DELETE /v1/blacklist/items/192.0.2.1', 'POST /v1/blacklist/Items/']);
});

test('the record of another account is refused, so that nothing there is left behind in silence', async (context) => {
  const stage = await stageOf(context);
  await stage.open().converge([wantOf('192.0.2.1')]);
  const api = openApi({ url: stage.double.url, key: stage.double.key, ca: undefined, version: '0.0.0' });
  context.after(() => api.close());
  const options = { api, account: accountMark('https://elsewhere', 'id'), sensor: 'web-1', maxItems: 5 };
  const record = openStateFile(join(stage.directory, 'posted.json'));
  const open = () => createBlacklist({ ...options, record, now: Date.now, onNotice: () => {} });
  assert.throws(open, /posted\.json has what was put into another account: url or key has changed/);
  assert.notEqual(accountMark('https://elsewhere', 'id'), accountMark('https://elsewhere', 'other'));
  assert.equal(countRecorded(record, Date.now()), 1);
});
