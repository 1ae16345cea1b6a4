import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Api, openApi } from '../../src/dome9/api.ts';
import { commentOf } from '../../src/dome9/comment.ts';
import { createIpList } from '../../src/dome9/ip-list.ts';
import type { Target } from '../../src/dome9/target.ts';
import type { Want } from '../../src/dome9/want.ts';
import { type Dome9Double, type DoubleItem, type Fault, startDome9 } from '../support/dome9-api.ts';
import { manyAddresses } from '../support/dome9-service.ts';

const NAME = 'honeyport-web-1';
const SINCE = 1_764_000_000;

function wantOf(ip: string, more: Partial<Want> = {}): Want {
  return { ip, since: SINCE, until: null, jail: 'honeyport', ...more };
}

function ownItem(ip: string, sensor = 'web-1'): DoubleItem {
  return { ip, comment: commentOf(wantOf(ip), sensor) };
}

const WANTS = ['192.0.2.1', '192.0.2.2'].map((ip) => wantOf(ip));
const FOREIGN = { ip: '203.0.113.1', comment: 'by hand' };

interface Stage {
  readonly double: Dome9Double;
  readonly notices: string[];
  /** A new one, as after a restart. */
  open(sensor?: string, wrap?: (api: Api) => Api): Target;
  /** The calls since it was asked last. */
  callsSince(): string[];
  addresses(): string[];
}

async function stageOf(context: TestContext, maxItems = 500): Promise<Stage> {
  const double = await startDome9();
  const notices: string[] = [];
  const apis: Api[] = [];
  context.after(async () => {
    for (const api of apis) await api.close();
    await double.stop();
  });
  return {
    double,
    notices,
    open(sensor = 'web-1', wrap = (api) => api) {
      const api = openApi({ url: double.url, key: double.key, ca: undefined, version: '0.0.0' });
      apis.push(api);
      const onNotice = (message: string) => void notices.push(message);
      return createIpList({ api: wrap(api), name: NAME, sensor, maxItems, onNotice });
    },
    callsSince: () => double.calls.splice(0).map(({ name }) => name),
    addresses: () => double.items(NAME).map(({ ip }) => ip),
  };
}

function addList(double: Dome9Double, items: DoubleItem[], more: object = {}): DoubleItem[] {
  double.lists.push({ id: 100 + double.lists.length, name: NAME, description: 'Ours', items, ...more });
  return items;
}

test('a missing list is made, and then filled', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  assert.deepEqual(await open().converge(WANTS), {
    present: 2,
    leftOut: 0,
    foreign: 0,
    nextEnd: undefined,
    isUnfinished: false,
  });
  assert.deepEqual(callsSince(), [
    'GET /v2/IpList',
    'POST /v2/IpList',
    'GET /v2/IpList',
    'PUT /v2/IpList/1',
    'GET /v2/IpList/1',
  ]);
  assert.deepEqual(double.lists, [
    {
      id: 1,
      name: NAME,
      description: 'Kept by honeyport of web-1',
      items: WANTS.map((want) => ({ ip: want.ip, comment: commentOf(want, 'web-1') })),
    },
  ]);
});

test('a missing list is made also where nothing is wanted, so that a rule can refer to it', async (context) => {
  const { double, open } = await stageOf(context);
  await open().converge([]);
  assert.deepEqual(
    double.lists.map(({ name, items }) => [name, items]),
    [[NAME, []]],
  );
});

test('a list that is as it should be is looked at with one call, and written with none', async (context) => {
  const { open, callsSince } = await stageOf(context);
  const target = open();
  await target.converge(WANTS);
  callsSince();
  const outcome = await target.converge(WANTS.toReversed());
  assert.deepEqual(callsSince(), ['GET /v2/IpList/1']);
  assert.equal(outcome.present, 2);
  await open().converge(WANTS);
  assert.deepEqual(callsSince(), ['GET /v2/IpList']);
});

test('a list of that name is used, the others of the account are not touched', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  const others = [`${NAME}0`, NAME.toUpperCase(), NAME.slice(0, -1)].map((name, at) => ({
    id: at,
    name,
    description: '',
    items: [ownItem('198.51.100.1')],
  }));
  double.lists.push(...structuredClone(others));
  addList(double, [FOREIGN]);
  await open().converge(WANTS);
  assert.deepEqual(callsSince(), ['GET /v2/IpList', 'PUT /v2/IpList/103', 'GET /v2/IpList/103']);
  assert.deepEqual(double.lists.slice(0, 3), others);
});

test('what other lists look like is their own business', async (context) => {
  const { double, open } = await stageOf(context);
  double.always = { status: 200, body: '[null, 5, {"name":"x"}, {"name":"y","items":5}]' };
  double.faults.push(double.always);
  const preview = await open().preview(WANTS);
  assert.equal(preview.added.length, 2);
});

test('a change takes three calls, and the name is never sent again', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  const target = open();
  await target.converge(WANTS);
  callsSince();
  await target.converge([WANTS[0]!]);
  const put = double.calls.find(({ name }) => name.startsWith('PUT'))!;
  assert.deepEqual(Object.keys(JSON.parse(put.body)), ['description', 'items']);
  assert.match(put.headers['content-type'] ?? '', /^application\/json/);
  assert.deepEqual(callsSince(), ['GET /v2/IpList/1', 'PUT /v2/IpList/1', 'GET /v2/IpList/1']);
});

/** What can become of an answer, whether or not the call was carried out. */
const LOST: readonly (readonly [string, Fault])[] = [
  ['500 before it', { status: 500 }],
  ['500 after it', { status: 500, applied: true }],
  ['a reset before it', { reset: true }],
  ['a reset after it', { reset: true, applied: true }],
  ['429 with Retry-After', { status: 429, headers: { 'retry-after': '7' } }],
];

for (const [title, fault] of LOST) {
  test(`${title} at any call leads to one list with everything in it, and a foreign item is kept`, async (context) => {
    const { double, open } = await stageOf(context);
    for (const isRestarted of [false, true]) {
      for (let at = 0; at < 4; at++) {
        double.lists.length = 0;
        let target = open();
        double.faults.push(...Array<undefined>(at).fill(undefined), fault);
        await assert.rejects(target.converge(WANTS), (error: { failure: string; retryAfterMs?: number }) => {
          assert.equal(error.failure, fault.status === 429 ? 'limited' : 'unavailable');
          assert.equal(error.retryAfterMs, fault.status === 429 ? 7000 : undefined);
          return true;
        });
        double.lists[0]?.items.unshift(FOREIGN);
        const foreign = double.lists.length;
        if (isRestarted) target = open();
        const outcome = await target.converge(WANTS);
        assert.deepEqual(outcome, {
          present: 2,
          leftOut: 0,
          foreign,
          nextEnd: undefined,
          isUnfinished: false,
        });
        assert.equal(double.lists.length, 1);
        assert.deepEqual(
          double.items(NAME).map(({ ip }) => ip),
          [...(foreign === 1 ? [FOREIGN.ip] : []), ...WANTS.map(({ ip }) => ip)],
        );
      }
    }
  });
}

test('somebody who writes between our looks loses nothing that stands there at the next one', async (context) => {
  const { double, open, addresses } = await stageOf(context);
  const items = addList(double, [FOREIGN]);
  // after the PUT, before the GET that looks whether it is so
  double.faults.push(undefined, undefined, {
    meanwhile: () => double.lists[0]!.items.splice(1, 1, { ip: '203.0.113.2', comment: null }),
  });
  const outcome = await open().converge(WANTS);
  assert.deepEqual([outcome.present, outcome.foreign], [2, 2]);
  assert.deepEqual(addresses(), ['203.0.113.1', '203.0.113.2', '192.0.2.1', '192.0.2.2']);
  assert.equal(items.length, 1);
});

test('what somebody adds between our reading and our writing is lost, and what they remove is back: the API replaces a list as a whole', async (context) => {
  const { double, open, addresses } = await stageOf(context);
  addList(double, [FOREIGN]);
  const added = { ip: '203.0.113.9', comment: 'of a person who was unlucky' };
  double.faults.push(undefined, { meanwhile: () => double.lists[0]!.items.splice(0, 1, added) });
  const target = open();
  assert.equal((await target.converge(WANTS)).foreign, 1);
  await target.converge(WANTS);
  assert.deepEqual(addresses(), [FOREIGN.ip, '192.0.2.1', '192.0.2.2']);
  // added once more, it stays
  double.lists[0]!.items.push(added);
  assert.equal((await target.converge(WANTS.slice(1))).foreign, 2);
  assert.deepEqual(addresses(), [FOREIGN.ip, added.ip, '192.0.2.2']);
});

for (const status of [401, 403]) {
  test(`a key that is taken for a look and refused with ${status} for a change is one that may only read`, async (context) => {
    const { double, open } = await stageOf(context);
    double.faults.push(undefined, { status });
    await assert.rejects(open().converge(WANTS), {
      failure: 'read-only',
      message: new RegExp(`^POST /v2/IpList: ${status} `),
    });
    addList(double, [FOREIGN]);
    double.faults.push(undefined, { status });
    await assert.rejects(open().converge(WANTS), {
      failure: 'read-only',
      message: new RegExp(`^PUT /v2/IpList/\\d+: ${status} `),
    });
    double.faults.push({ status });
    await assert.rejects(open().converge(WANTS), { failure: 'credentials' });
  });
}

test('a list that never stays as it is written is given up after three times, and tried again later', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  addList(double, []);
  const undo = { meanwhile: () => double.lists[0]!.items.splice(0) };
  double.always = undo;
  const target = open();
  await assert.rejects(target.converge(WANTS), {
    failure: 'unavailable',
    message: `list ${NAME} does not stay as it is written`,
  });
  assert.equal(callsSince().filter((name) => name.startsWith('PUT')).length, 3);
  double.always = undefined;
  assert.equal((await target.converge(WANTS)).present, 2);
});

test('a list that is deleted between two looks is made again', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  const target = open();
  await target.converge(WANTS);
  double.lists.length = 0;
  callsSince();
  assert.equal((await target.converge(WANTS)).present, 2);
  assert.deepEqual(callsSince(), [
    'GET /v2/IpList/1',
    'GET /v2/IpList',
    'POST /v2/IpList',
    'GET /v2/IpList',
    'PUT /v2/IpList/2',
    'GET /v2/IpList/2',
  ]);
});

for (const at of [1, 2]) {
  test(`a list that is deleted before call ${at + 1} of a change is made at the next attempt`, async (context) => {
    const { double, open, addresses } = await stageOf(context);
    addList(double, [FOREIGN]);
    const target = open();
    const remove = { meanwhile: () => double.lists.splice(0) };
    double.faults.push(...Array<undefined>(at).fill(undefined), remove);
    await assert.rejects(target.converge(WANTS), {
      failure: 'unavailable',
      message: /was deleted meanwhile/,
    });
    assert.equal((await target.converge(WANTS)).present, 2);
    assert.deepEqual(addresses(), ['192.0.2.1', '192.0.2.2']);
  });
}

test('where there is no such API at all, the call is missing and no list is', async (context) => {
  const { double, open } = await stageOf(context);
  double.always = { status: 404 };
  await assert.rejects(open().converge(WANTS), { failure: 'missing', message: /^GET \/v2\/IpList: 404/ });
});

test('ids may be texts with any characters', async (context) => {
  const { double, open, addresses, callsSince } = await stageOf(context);
  addList(double, [], { id: 'a-1' });
  const target = open();
  await target.converge(WANTS);
  assert.deepEqual(addresses(), ['192.0.2.1', '192.0.2.2']);
  callsSince();
  double.lists[0]!.id = 'a/b?c#d' as unknown as number;
  await target.converge(WANTS).catch(() => {});
  await open()
    .converge([])
    .catch(() => {});
  const paths = callsSince().filter((name) => name.includes('%'));
  assert.ok(paths.includes('PUT /v2/IpList/a%2Fb%3Fc%23d'), paths.join());
});

test('a list whose items are null is an empty one', async (context) => {
  const { double, open, addresses } = await stageOf(context);
  addList(double, [], { items: null });
  await open().converge(WANTS);
  assert.deepEqual(addresses(), ['192.0.2.1', '192.0.2.2']);
});

test('where the overview leaves out items, or all answers do, no item is lost', async (context) => {
  const { double, open, addresses, callsSince } = await stageOf(context);
  addList(double, [{ ip: '203.0.113.9', comment: 'mine' }]);
  const { id, name } = double.lists[0]!;
  double.faults.push({ status: 200, body: JSON.stringify([{ id, name }]) });
  await open().converge(WANTS);
  assert.deepEqual(addresses(), ['203.0.113.9', '192.0.2.1', '192.0.2.2']);
  callsSince();
  double.faults.push({ status: 200, body: JSON.stringify([{ id, name }]) });
  double.faults.push({ status: 200, body: JSON.stringify({ id, name }) });
  await assert.rejects(open().converge([]), { failure: 'unexpected' });
  assert.equal(callsSince().filter((call) => call.startsWith('PUT')).length, 0);
});

test('items of another sensor that should have ended are told once, and stay', async (context) => {
  const { double, open, addresses, notices } = await stageOf(context);
  const at = (ms: number) => new Date(Date.now() + ms).toISOString().replace(/\.\d+Z/, 'Z');
  const comment = (sensor: string, ms: number) =>
    `honeyport/${sensor} port=23 time=${at(-9e9)} until=${at(ms)} jail=a`;
  addList(double, [
    { ip: '203.0.113.1', comment: comment('old-name', -2 * 3_600_000) },
    { ip: '203.0.113.2', comment: comment('old-name', -3 * 3_600_000) },
    { ip: '203.0.113.3', comment: comment('alive', 3_600_000) },
    { ip: '203.0.113.4', comment: comment('late', -60_000) },
    { ip: '203.0.113.5', comment: `honeyport/ever time=${at(0)} until=never jail=a` },
  ]);
  await open().converge(WANTS);
  assert.equal(addresses().length, 7);
  assert.equal(notices.length, 1, notices.join('\n'));
  assert.match(notices[0]!, /items of sensor old-name that should have ended/);
});

test('foreign items are sent back as they came, and so is the description', async (context) => {
  const { double, open } = await stageOf(context);
  const foreign = [
    { ip: '203.0.113.9/32', comment: null, addedBy: { name: 'ä' }, tags: [1, null] },
    { ip: '2001:DB8::1' },
    { ip: '203.0.113.1', comment: '' },
    { ip: '203.0.113.1', comment: '' },
    { ip: '203.0.113.2', comment: 'honeyport/web-10 x' },
    { ip: '203.0.113.3', comment: 'honeyport/web-1' },
  ];
  addList(double, structuredClone(foreign), { description: 'What "we" say\n' });
  await open().converge(WANTS);
  assert.deepEqual(double.lists[0]!.items.slice(0, -2), foreign);
  assert.equal(double.lists[0]!.description, 'What "we" say\n');
});

test('what is no longer wanted goes, and nothing else', async (context) => {
  const { double, open, addresses } = await stageOf(context);
  addList(double, [ownItem('192.0.2.8'), FOREIGN, ownItem('192.0.2.9'), ownItem('192.0.2.7', 'web-2')]);
  await open().converge([]);
  assert.deepEqual(addresses(), [FOREIGN.ip, '192.0.2.7']);
});

/** Items with a colon in their address are refused, as the whole list then is. */
function refuseIpv6(double: Dome9Double): void {
  double.always = {
    get status() {
      const { name, body } = double.calls.at(-1)!;
      return (/^P/.test(name) && /"ip":"[^"]*:/.test(body) ? 400 : undefined)!;
    },
    body: '{"message":"IPv6 is not supported"}',
  };
}

test('a list that refuses IPv6 is given the IPv4 addresses, that is told once, and it is not tried again', async (context) => {
  const { double, open, addresses, notices, callsSince } = await stageOf(context);
  refuseIpv6(double);
  const target = open();
  const wants = [...WANTS, wantOf('2001:db8::1'), wantOf('2001:db8::/32')];
  assert.deepEqual(await target.converge(wants), {
    present: 2,
    leftOut: 2,
    foreign: 0,
    nextEnd: undefined,
    isUnfinished: false,
  });
  assert.deepEqual(addresses(), ['192.0.2.1', '192.0.2.2']);
  assert.match(
    notices.join('\n'),
    /^the list does not take IPv6 addresses, .*400 Bad Request: .*not supported/,
  );
  callsSince();
  assert.equal((await target.converge(wants)).leftOut, 2);
  assert.deepEqual(callsSince(), ['GET /v2/IpList/1']);
  assert.equal(notices.length, 1);
});

test('a refusal that is not about IPv6 is the error, and IPv6 is tried again', async (context) => {
  const { double, open, addresses, notices } = await stageOf(context);
  addList(double, []);
  const target = open();
  const wants = [...WANTS, wantOf('2001:db8::1')];
  const refused = (body: string) => [undefined, { status: 400, body }];
  double.faults.push(...refused('first'), ...refused('second'), ...refused('third'));
  await assert.rejects(target.converge(wants), { failure: 'refused', message: /400 Bad Request: second$/ });
  assert.equal((await target.converge(wants)).present, 3);
  assert.ok(addresses().includes('2001:db8::1'), 'IPv6 is missing');
  double.faults.push(...refused('first'), ...refused('second'), undefined, { status: 503 });
  await assert.rejects(target.converge([...wants, wantOf('192.0.2.3')]), { failure: 'unavailable' });
  assert.equal((await target.converge([...wants, wantOf('192.0.2.3')])).present, 4);
  assert.deepEqual(notices, []);
});

test('a single refusal of a list with IPv6, and one of another call, take no address out', async (context) => {
  const { double, open, addresses, notices } = await stageOf(context);
  const target = open();
  const wants = [...WANTS, wantOf('2001:db8::1')];
  await target.converge(wants);
  double.faults.push({ status: 400 });
  await assert.rejects(target.converge(wants), { failure: 'refused' });
  double.faults.push(undefined, { status: 400 });
  assert.equal((await target.converge([...wants, wantOf('192.0.2.3')])).present, 4);
  assert.ok(addresses().includes('2001:db8::1'), 'IPv6 is missing');
  assert.deepEqual(notices, []);
});

test('a refusal of IPv4 addresses alone is the error', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  addList(double, []);
  double.faults.push(undefined, { status: 400 });
  await assert.rejects(open().converge(WANTS), { failure: 'refused' });
  assert.equal(callsSince().length, 2);
});

test('of several lists of one name the oldest is used, ours is taken out of the others, and they are told', async (context) => {
  const { double, open, notices } = await stageOf(context);
  addList(double, [ownItem('192.0.2.9'), FOREIGN], { id: 10 });
  addList(double, [], { id: 9 });
  addList(double, [{ ip: '203.0.113.5', comment: null }], { id: 11 });
  await open().converge(WANTS);
  const itemsOf = (id: number) => double.lists.find((list) => list.id === id)!.items.map(({ ip }) => ip);
  assert.deepEqual(
    [itemsOf(9), itemsOf(10), itemsOf(11)],
    [['192.0.2.1', '192.0.2.2'], [FOREIGN.ip], ['203.0.113.5']],
  );
  assert.deepEqual(notices, [`the account has 3 lists ${NAME}: delete all but 9`]);
});

for (const [title, body] of [
  ['no JSON', '<html>'],
  ['nothing', ''],
  ['a mapping', '{}'],
  ['a list without id', `[{"name":"${NAME}","items":[]}]`],
  ['a list with an id of another kind', `[{"id":null,"name":"${NAME}","items":[]}]`],
  ['items that are none', `[{"id":1,"name":"${NAME}","items":{}}]`],
  ['an item without an address', `[{"id":1,"name":"${NAME}","items":[{"comment":"x"}]}]`],
  ['an item that is a text', `[{"id":1,"name":"${NAME}","items":["192.0.2.1"]}]`],
  ['an item that is null', `[{"id":1,"name":"${NAME}","items":[null]}]`],
] as const) {
  test(`an answer with ${title} is not one of this API, and nothing is written`, async (context) => {
    const { double, open, callsSince } = await stageOf(context);
    double.always = { status: 200, body };
    await assert.rejects(open().converge(WANTS), {
      failure: 'unexpected',
      message: /^the answer is not .*: is url the one of the API\?$/,
    });
    assert.deepEqual(callsSince(), ['GET /v2/IpList']);
  });
}

test('a list that was made is looked up, whatever the answer to its making says, and no second one is made', async (context) => {
  const { double, open } = await stageOf(context);
  double.faults.push(undefined, { status: 200, applied: true, body: '{"id":1}' });
  const target = open();
  await target.converge(WANTS);
  await open().converge(WANTS);
  assert.deepEqual(
    double.lists.map(({ items }) => items.length),
    [WANTS.length],
  );
});

test('1,000 wants in ten parts take three calls for each part at most', async (context) => {
  const { open, callsSince, addresses } = await stageOf(context, 1000);
  const target = open();
  await target.converge([]);
  callsSince();
  const all = manyAddresses(1000);
  for (let part = 1; part <= 10; part++)
    await target.converge(all.slice(0, part * 100).map((ip) => wantOf(ip)));
  assert.ok(callsSince().length <= 30, 'more calls');
  assert.deepEqual(addresses().sort(), all.toSorted());
});

test('of 100,000 wants the newest are in the list, beside what is foreign, with four calls', async (context) => {
  const { double, open, addresses, callsSince } = await stageOf(context, 500);
  addList(double, [FOREIGN]);
  const wants = Array.from({ length: 100_000 }, (_, at) =>
    wantOf(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, { since: SINCE + at }),
  );
  const outcome = await open().converge(wants);
  assert.deepEqual(outcome, {
    present: 499,
    leftOut: 99_501,
    foreign: 1,
    nextEnd: undefined,
    isUnfinished: false,
  });
  assert.deepEqual(addresses(), [
    FOREIGN.ip,
    ...wants
      .slice(-499)
      .map(({ ip }) => ip)
      .reverse(),
  ]);
  assert.ok(callsSince().length <= 4, 'more calls');
});

test('a list of 5,000 items is written and read', async (context) => {
  const { double, open } = await stageOf(context, 5_000);
  addList(double, []);
  const wants = Array.from({ length: 5_000 }, (_, at) =>
    wantOf(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`),
  );
  assert.equal((await open().converge(wants)).present, 5_000);
});

test('a preview makes no list, and writes nothing', async (context) => {
  const { double, open, callsSince } = await stageOf(context);
  assert.deepEqual((await open().preview(WANTS)).added, ['192.0.2.1', '192.0.2.2']);
  addList(double, [ownItem('192.0.2.9'), FOREIGN]);
  const { added, removed, changed, foreign } = await open().preview(WANTS);
  assert.deepEqual(
    { added, removed, changed, foreign },
    {
      added: ['192.0.2.1', '192.0.2.2'],
      removed: ['192.0.2.9'],
      changed: [],
      foreign: 1,
    },
  );
  assert.deepEqual(callsSince(), ['GET /v2/IpList', 'GET /v2/IpList']);
});

/** Lets calls pass one at a time, each one when it is the turn of whose it is; after the last turn as they come. */
function createTurns(order: readonly string[]) {
  const waiting = new Map<string, () => void>();
  const ended = new Set<string>();
  let at = 0;
  const next = () => {
    while (at < order.length && ended.has(order[at]!)) at += 1;
    if (at >= order.length) {
      for (const go of waiting.values()) go();
      waiting.clear();
      return;
    }
    const go = waiting.get(order[at]!);
    waiting.delete(order[at]!);
    go?.();
  };
  return {
    through:
      (name: string) =>
      (api: Api): Api => ({
        get calls() {
          return api.calls;
        },
        close: () => api.close(),
        async send(call) {
          if (at < order.length) {
            const turn = new Promise<void>((resolve) => void waiting.set(name, resolve));
            next();
            await turn;
          }
          try {
            return await api.send(call);
          } finally {
            at += 1;
            next();
          }
        },
      }),
    end(name: string) {
      ended.add(name);
      next();
    },
  };
}

/** All orders of so many calls of two. */
function ordersOf(length: number): string[][] {
  return Array.from({ length: 2 ** length }, (_, bits) =>
    Array.from({ length }, (_, at) => ((bits >> at) & 1 ? 'web-1' : 'web-2')),
  );
}

/** What two sensors bring to one list, with their calls in that order, and after one more attempt of each. */
async function bringBoth(stage: Stage, order: readonly string[]): Promise<void> {
  const turns = createTurns(order);
  const sensors = [
    ['web-1', ['192.0.2.1', '192.0.2.11']],
    ['web-2', ['192.0.2.2', '192.0.2.12']],
  ] as const;
  const targets = sensors.map(([sensor, ips]) => ({
    sensor,
    target: stage.open(sensor, turns.through(sensor)),
    wants: ips.map((ip) => wantOf(ip)),
  }));
  await Promise.allSettled(
    targets.map(({ sensor, target, wants }) => target.converge(wants).finally(() => turns.end(sensor))),
  );
  for (const { target, wants } of targets) await target.converge(wants);
}

test('two sensors on one list: in whatever order their calls come, both are there in the end and what is foreign is kept', async (context) => {
  const stage = await stageOf(context);
  // the other half is the same with the names exchanged
  for (const order of ordersOf(5).map((rest) => ['web-1', ...rest])) {
    stage.double.lists.length = 0;
    addList(stage.double, [
      FOREIGN,
      ownItem('192.0.2.1'),
      ownItem('198.51.100.1', 'web-1'),
      ownItem('198.51.100.2', 'web-2'),
    ]);
    await bringBoth(stage, order);
    assert.deepEqual(
      stage.addresses().sort(),
      ['192.0.2.1', '192.0.2.11', '192.0.2.12', '192.0.2.2', FOREIGN.ip],
      order.join(' '),
    );
  }
});

test('two sensors that start together without a list are on one list in the end', async (context) => {
  const stage = await stageOf(context);
  for (const order of ordersOf(4).map((rest) => ['web-1', ...rest])) {
    stage.double.lists.length = 0;
    await bringBoth(stage, order);
    assert.deepEqual(
      stage.addresses().sort(),
      ['192.0.2.1', '192.0.2.11', '192.0.2.12', '192.0.2.2'],
      `${order.join(' ')}: ${stage.double.lists.length} lists`,
    );
  }
});
