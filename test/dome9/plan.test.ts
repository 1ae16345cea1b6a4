import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { commentOf, isOwnComment } from '../../src/dome9/comment.ts';
import { isDone, type ListItem, planList } from '../../src/dome9/plan.ts';
import { longerWant, newestWants, type Want } from '../../src/dome9/want.ts';

const SENSOR = 'web-1';

/** Few, so that they meet. */
const ADDRESSES = [
  '192.0.2.1',
  '192.0.2.2',
  '192.0.2.3',
  '198.51.100.0/24',
  '2001:db8::1',
  '2001:db8::2',
  '2001:db8:1::/48',
];

function wantOf(ip: string, since = 1_764_000_000, more: Partial<Want> = {}): Want {
  return { ip, since, until: null, jail: 'honeyport', ...more };
}

const wants: fc.Arbitrary<Want[]> = fc.uniqueArray(
  fc.record({
    ip: fc.constantFrom(...ADDRESSES),
    since: fc.integer({ min: 1, max: 5 }),
    until: fc.option(fc.integer({ min: 6, max: 9 })),
    jail: fc.constantFrom('honeyport', 'sshd'),
  }),
  { selector: ({ ip }) => ip },
);

/** How the API may write it. */
function spellings(ip: string): string[] {
  if (ip === '2001:db8::1')
    return [ip, '2001:DB8::1', '2001:0db8:0:0:0:0:0:1', '2001:db8::1/128', '2001:db8:0::0.0.0.1/128'];
  if (ip.includes('/')) return [ip, ip.toUpperCase()];
  return ip.includes(':') ? [ip, `${ip.toUpperCase()}/128`] : [ip, `${ip}/32`, `::ffff:${ip}`];
}

const spelled = fc.constantFrom(...ADDRESSES).chain((ip) => fc.constantFrom(...spellings(ip)));
const item: fc.Arbitrary<ListItem> = fc.oneof(
  fc.record({
    ip: fc.oneof(spelled, fc.string({ maxLength: 5 })),
    comment: fc.option(fc.constantFrom('by hand', '', 'honeyport/web-10 x', 'honeyport/web-1')),
    // whatever else the API has
    addedBy: fc.string({ maxLength: 3 }),
  }),
  fc.record({ ip: spelled }),
  fc.record({
    ip: fc.oneof(spelled, fc.constant('no address')),
    comment: fc.constantFrom('honeyport/web-1 old', commentOf(wantOf('x', 1), SENSOR)),
  }),
);
const lists = fc.array(item, { maxLength: 12 });
const room = fc.integer({ min: 1, max: 12 });

const isOwn = ({ comment }: ListItem) => isOwnComment(comment, SENSOR);

/** For every list, all wants and every room. */
function always(check: (items: ListItem[], wanted: Want[], maxItems: number) => void): void {
  fc.assert(fc.property(lists, wants, room, check), { numRuns: 150 });
}

test('foreign items stay as they are, and in their order', () => {
  always((items, wanted, maxItems) => {
    const foreign = items.filter((each) => !isOwn(each));
    const planned = planList(items, wanted, { sensor: SENSOR, maxItems });
    assert.deepEqual(planned.items.slice(0, foreign.length), foreign);
    assert.ok(
      foreign.every((each, at) => planned.items[at] === each),
      'another object',
    );
    assert.ok(planned.items.slice(foreign.length).every(isOwn), 'a foreign item among ours');
    assert.equal(planned.foreign, foreign.length);
  });
});

test('a list never has more than max_items, unless the foreign ones alone are more', () => {
  always((items, wanted, maxItems) => {
    const planned = planList(items, wanted, { sensor: SENSOR, maxItems });
    assert.ok(planned.items.length <= Math.max(maxItems, planned.foreign), `${planned.items.length} items`);
  });
});

test('every wanted address is present or left out, and left out only where there is no room', () => {
  always((items, wanted, maxItems) => {
    const { present, leftOut, items: after } = planList(items, wanted, { sensor: SENSOR, maxItems });
    assert.equal(present + leftOut, wanted.length);
    assert.ok(leftOut === 0 || after.length >= maxItems, `${leftOut} left out of ${after.length} items`);
  });
});

test('what is planned is done once it is there, also where the API spells it differently', () => {
  always((items, wanted, maxItems) => {
    const options = { sensor: SENSOR, maxItems };
    const first = planList(items, wanted, options);
    const second = planList(first.items, wanted, options);
    assert.ok(isDone(second), JSON.stringify(second));
    assert.deepEqual(second.items, first.items);
    const respelled = first.items.map((each) =>
      isOwn(each) ? { ...each, ip: spellings(each.ip).at(-1)! } : each,
    );
    assert.ok(isDone(planList(respelled, wanted, options)), JSON.stringify(respelled));
    assert.ok(isDone(planList(respelled.toReversed(), wanted, options)), 'in another order');
  });
});

test('no address is in the list twice by us, nor beside a foreign item that names it', () => {
  always((items, wanted, maxItems) => {
    const { items: after } = planList(items, wanted, { sensor: SENSOR, maxItems });
    const own = after.filter(isOwn).map(({ ip }) => ip);
    assert.equal(new Set(own).size, own.length);
    const foreign = new Set(after.filter((each) => !isOwn(each)).map(({ ip }) => ip));
    for (const ip of own)
      assert.ok(!spellings(ip).some((spelling) => foreign.has(spelling)), `${ip} is a foreign item, too`);
  });
});

test('ours are the newest of what is wanted, the newest first', () => {
  always((items, wanted, maxItems) => {
    const { items: after } = planList(items, wanted, { sensor: SENSOR, maxItems });
    const sinceOf = new Map(wanted.map(({ ip, since }) => [ip, since]));
    const taken = after.filter(isOwn).map(({ ip }) => sinceOf.get(ip)!);
    assert.deepEqual(
      taken,
      taken.toSorted((one, other) => other - one),
    );
    const foreign = after.filter((each) => !isOwn(each)).map(({ ip }) => ip);
    const untaken = wanted.filter(
      ({ ip }) =>
        !after.some((each) => each.ip === ip) &&
        !spellings(ip).some((spelling) => foreign.includes(spelling)),
    );
    for (const { since } of untaken) assert.ok(since <= Math.min(...taken, 99), 'an older one was taken');
  });
});

test('the plan tells each difference between what is there and what is to be', () => {
  always((items, wanted, maxItems) => {
    const plan = planList(items, wanted, { sensor: SENSOR, maxItems });
    const before = items.filter(isOwn).length;
    assert.equal(before - plan.removed.length + plan.added.length, plan.items.length - plan.foreign);
  });
});

test('the order in which bans come changes nothing', () => {
  always((items, wanted, maxItems) => {
    const options = { sensor: SENSOR, maxItems };
    assert.deepEqual(planList(items, wanted.toReversed(), options), planList(items, wanted, options));
  });
});

test('an empty list gets what is wanted', () => {
  const wanted = [wantOf('192.0.2.1', 1), wantOf('192.0.2.2', 2)];
  assert.deepEqual(planList([], wanted, { sensor: SENSOR, maxItems: 500 }), {
    items: [wanted[1]!, wanted[0]!].map((want) => ({ ip: want.ip, comment: commentOf(want, SENSOR) })),
    added: ['192.0.2.2', '192.0.2.1'],
    removed: [],
    changed: [],
    foreign: 0,
    present: 2,
    leftOut: 0,
    nextEnd: undefined,
  });
});

test('what is no longer wanted goes, and what is wanted until later is changed', () => {
  const [kept, gone] = [wantOf('192.0.2.1'), wantOf('192.0.2.2')];
  const items = [kept, gone].map((want) => ({ ip: want.ip, comment: commentOf(want, SENSOR) }));
  const plan = planList(items, [{ ...kept, until: 1_764_000_900 }], { sensor: SENSOR, maxItems: 500 });
  assert.deepEqual([plan.added, plan.removed, plan.changed], [[], ['192.0.2.2'], ['192.0.2.1']]);
  assert.ok(!isDone(plan), 'it is done');
  assert.match(plan.items[0]!.comment!, /until=2025-11-24T16:15:00Z/);
});

test('a plan that adds, removes or changes anything is not done', () => {
  const options = { sensor: SENSOR, maxItems: 500 };
  const want = wantOf('192.0.2.1');
  const item = { ip: want.ip, comment: commentOf(want, SENSOR) };
  assert.ok(isDone(planList([item], [want], options)), 'it is not done');
  assert.ok(!isDone(planList([], [want], options)), 'to add');
  assert.ok(!isDone(planList([item], [], options)), 'to remove');
  assert.ok(!isDone(planList([item], [{ ...want, until: 1_764_000_900 }], options)), 'to change');
});

test('an item of ours that is there twice goes once', () => {
  const want = wantOf('2001:db8::1');
  const comment = commentOf(want, SENSOR);
  const items = [
    { ip: '2001:DB8::1', comment },
    { ip: '2001:db8::1/128', comment },
  ];
  const plan = planList(items, [want], { sensor: SENSOR, maxItems: 500 });
  assert.deepEqual(plan.removed, ['2001:db8::1/128']);
  assert.deepEqual(plan.items, [{ ip: '2001:db8::1', comment }]);
});

test('an address that a foreign item names in other words is present, takes no room of its own, and our own item goes', () => {
  const items = [
    { ip: '192.0.2.1/32', comment: 'by hand' },
    { ip: '192.0.2.1', comment: 'honeyport/web-1 old' },
  ];
  const plan = planList(items, [wantOf('192.0.2.1'), wantOf('192.0.2.2')], { sensor: SENSOR, maxItems: 2 });
  assert.deepEqual(
    plan.items.map(({ ip }) => ip),
    ['192.0.2.1/32', '192.0.2.2'],
  );
  assert.deepEqual([plan.present, plan.leftOut, plan.removed], [2, 0, ['192.0.2.1']]);
});

test('foreign items beyond max_items stay, and nothing of ours is added', () => {
  const items = ADDRESSES.map((ip) => ({ ip, comment: null }));
  const plan = planList(items, [wantOf('203.0.113.1')], { sensor: SENSOR, maxItems: 3 });
  assert.deepEqual(plan.items, items);
  assert.deepEqual([plan.present, plan.leftOut], [0, 1]);
  assert.ok(isDone(plan), 'it is not done');
});

test('100,000 wants are planned at once, and the newest 500 are taken', () => {
  const wanted = Array.from({ length: 100_000 }, (_, at) =>
    wantOf(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, at),
  );
  const plan = planList([], wanted, { sensor: SENSOR, maxItems: 500 });
  assert.deepEqual([plan.present, plan.leftOut, plan.items.length], [500, 99_500, 500]);
  assert.equal(plan.items[0]!.ip, wanted.at(-1)!.ip);
  assert.equal(plan.items.at(-1)!.ip, wanted.at(-500)!.ip);
});

test('of two bans of an address the one that lasts longer counts, and else the newer one', () => {
  const short = wantOf('192.0.2.1', 5, { until: 10 });
  const long = wantOf('192.0.2.1', 1, { until: 11 });
  const endless = wantOf('192.0.2.1', 0);
  const newer = wantOf('192.0.2.1', 6, { until: 10 });
  for (const [one, other, wanted] of [
    [short, long, long],
    [long, endless, endless],
    [short, newer, newer],
    [endless, { ...endless, since: 1 }, { ...endless, since: 1 }],
  ] as const) {
    assert.deepEqual(longerWant(one, other), wanted);
    assert.deepEqual(longerWant(other, one), wanted);
  }
});

test('without room there are no newest wants', () => {
  const wanted = [wantOf('192.0.2.1'), wantOf('192.0.2.2')];
  assert.deepEqual(newestWants(wanted, 0), []);
  assert.deepEqual(newestWants(wanted, -1), []);
});
