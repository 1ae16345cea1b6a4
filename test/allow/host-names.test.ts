import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createHostNames } from '../../src/allow/host-names.ts';
import type { Resolution } from '../../src/resolve-host-name.ts';

interface Question {
  readonly name: string;
  readonly signal: AbortSignal;
  answer(resolution: Partial<Resolution>): Promise<void>;
  fail(error: Error): Promise<void>;
}

/** A time that passes when the test says so. Node's own mock of timers warns that it is experimental. */
function startClock(context: TestContext) {
  let now = 0;
  const timers = new Map<object, { readonly at: number; readonly run: () => void }>();
  context.mock.method(Date, 'now', () => now);
  context.mock.method(globalThis, 'setTimeout', (run: () => void, milliseconds: number) => {
    const timer = { unref: () => timer };
    timers.set(timer, { at: now + milliseconds, run });
    return timer;
  });
  context.mock.method(globalThis, 'clearTimeout', (timer: object) => timers.delete(timer));
  return {
    tick(milliseconds: number): void {
      const end = now + milliseconds;
      for (;;) {
        const [next] = [...timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
        if (next === undefined) break;
        const [timer, { at, run }] = next;
        timers.delete(timer);
        now = Math.max(now, at);
        run();
      }
      now = end;
    },
  };
}

/** Everything that promises have to say to each other; no time passes. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

const MINUTE_MS = 60_000;
const resolution = (answer: Partial<Resolution>): Resolution => ({
  ipv4: [],
  ipv6: [],
  ttlSeconds: 60,
  failure: undefined,
  ...answer,
});

/** Host names whose questions the test answers, at a time that passes when the test says so. */
function startHostNames(context: TestContext, known: Readonly<Record<string, readonly string[]>> = {}) {
  const clock = startClock(context);
  const questions: Question[] = [];
  const told: string[] = [];
  const names = createHostNames({
    resolve: (name, signal) =>
      new Promise((resolve, reject) => {
        const answer = (given: Partial<Resolution>) => {
          resolve(resolution(given));
          return settle();
        };
        const fail = (error: Error) => {
          reject(error);
          return settle();
        };
        questions.push({ name, signal, answer, fail });
      }),
    known: new Map(Object.entries(known)),
    onChange: () => told.push('change'),
    onTrouble: (message) => told.push(message),
    onRecovery: (message) => told.push(message),
  });
  context.after(() => names.close());
  /** The questions since the last call. */
  const takeQuestions = () => questions.splice(0);
  const asked = () => takeQuestions().map(({ name }) => name);
  const takeTold = () => told.splice(0);
  const pass = async (milliseconds: number) => {
    clock.tick(milliseconds);
    await settle();
  };
  return { names, takeQuestions, asked, takeTold, pass };
}

test('names are asked for at once, and stand for what the answer says', async (context) => {
  const { names, takeQuestions, takeTold } = startHostNames(context);
  names.use(['a.example', 'B.example']);
  const [a, b] = takeQuestions();
  assert.deepEqual([a!.name, b!.name], ['a.example', 'B.example']);
  assert.deepEqual(names.addressesOf('a.example'), []);
  await a!.answer({ ipv4: ['192.0.2.2', '192.0.2.1'], ipv6: ['2001:db8::1'] });
  await b!.answer({ ipv6: ['2001:db8::2'] });
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.1', '192.0.2.2', '2001:db8::1']);
  assert.deepEqual(names.addressesOf('b.EXAMPLE'), ['2001:db8::2']);
  assert.deepEqual(names.addressesOf('c.example'), []);
  assert.deepEqual(takeTold(), ['change', 'change']);
});

test('names are known once each had an answer for both families, which is told although it has no address', async (context) => {
  const { names, takeQuestions, takeTold, pass } = startHostNames(context, { 'old.example': ['192.0.2.9'] });
  assert.equal(names.areKnown, true, 'no name');
  names.use(['old.example']);
  assert.equal(names.areKnown, true, 'known from before');
  names.use(['old.example', 'a.example', 'b.example']);
  assert.equal(names.areKnown, false);
  const [, a, b] = takeQuestions();
  await a!.answer({ ipv4: ['192.0.2.1'], ipv6: undefined });
  await b!.answer({});
  assert.deepEqual(takeTold(), ['change', 'change']);
  assert.equal(names.areKnown, false, 'half of one');
  await pass(MINUTE_MS);
  const [again] = takeQuestions().filter(({ name }) => name === 'a.example');
  await again!.answer({ ipv4: ['192.0.2.1'], ipv6: [] });
  assert.deepEqual(takeTold(), ['change']);
  assert.equal(names.areKnown, true);
});

test('the same name in other letters is asked for once', (context) => {
  const { names, asked } = startHostNames(context);
  names.use(['a.example', 'A.EXAMPLE', 'a.example']);
  assert.equal(asked().length, 1);
});

test('a name is asked for again when its time to live is over, at the earliest after 30 seconds and within the hour', async (context) => {
  for (const [ttlSeconds, waitMs] of [
    [0, 30_000],
    [30, 30_000],
    [31, 31_000],
    [300, 300_000],
    [3600, 3_600_000],
    [86_400, 3_600_000],
  ] as const) {
    const { names, takeQuestions, asked, pass } = startHostNames(context);
    names.use(['a.example']);
    await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ttlSeconds });
    await pass(waitMs - 1);
    assert.deepEqual(asked(), [], `${ttlSeconds}`);
    await pass(1);
    assert.deepEqual(asked(), ['a.example'], `${ttlSeconds}`);
    names.close();
    context.mock.restoreAll();
  }
});

test('a change is told when the addresses change, and not when they come in another order', async (context) => {
  const { names, takeQuestions, takeTold, pass } = startHostNames(context);
  names.use(['a.example']);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1', '192.0.2.2'] });
  assert.deepEqual(takeTold(), ['change']);
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.2', '192.0.2.1'] });
  assert.deepEqual(takeTold(), []);
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.2'] });
  assert.deepEqual(takeTold(), ['change']);
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.2']);
});

test('a name that stops resolving keeps its addresses; that is told once, and so is its recovery', async (context) => {
  const { names, takeQuestions, takeTold, pass } = startHostNames(context);
  names.use(['a.example']);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ipv6: ['2001:db8::1'], ttlSeconds: 3600 });
  takeTold();
  await pass(3_600_000);
  await takeQuestions()[0]!.answer({
    ipv4: undefined,
    ipv6: undefined,
    failure: 'ENOTFOUND',
    ttlSeconds: 3600,
  });
  assert.deepEqual(takeTold(), [
    'host name a.example does not resolve (ENOTFOUND); its last addresses stay allowed: 192.0.2.1, 2001:db8::1',
  ]);
  for (let time = 0; time < 3; time++) {
    await pass(30_000);
    await takeQuestions()[0]!.fail(new Error('out of order'));
  }
  assert.deepEqual(takeTold(), []);
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.1', '2001:db8::1']);
  await pass(30_000);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ipv6: ['2001:db8::1'] });
  assert.deepEqual(takeTold(), ['host name a.example resolves again']);
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ipv6: ['2001:db8::1'] });
  assert.deepEqual(takeTold(), []);
});

test('a name that never resolved allows nobody, and is told with the reason', async (context) => {
  const { names, takeQuestions, takeTold } = startHostNames(context);
  names.use(['a.example', 'b.example']);
  const [a, b] = takeQuestions();
  await a!.fail(new Error('out of order'));
  await b!.answer({ ipv4: [], ipv6: [], failure: 'ENODATA' });
  assert.deepEqual(takeTold(), [
    'host name a.example does not resolve (out of order); it allows nobody until it does',
    'host name b.example does not resolve (ENODATA); it allows nobody until it does',
  ]);
});

test('a single address and more than eight are told in few words', async (context) => {
  const nine = Array.from({ length: 9 }, (_, n) => `192.0.2.${n + 1}`);
  const { names, takeQuestions, takeTold } = startHostNames(context, { one: ['::1'], nine });
  names.use(['one', 'nine']);
  for (const question of takeQuestions()) await question.answer({ failure: 'ETIMEOUT' });
  assert.deepEqual(takeTold(), [
    'host name one does not resolve (ETIMEOUT); its last address stays allowed: ::1',
    `host name nine does not resolve (ETIMEOUT); its last addresses stay allowed: ${nine.slice(0, 8).join(', ')}`,
  ]);
});

test('a family without an answer keeps its last addresses, and one that is gone loses them', async (context) => {
  const { names, takeQuestions, pass } = startHostNames(context);
  names.use(['a.example']);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ipv6: ['2001:db8::1'] });
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.2'], ipv6: undefined });
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.2', '2001:db8::1']);
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: undefined, ipv6: ['2001:db8::2'] });
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.2', '2001:db8::2']);
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: [], ipv6: ['2001:db8::2'] });
  assert.deepEqual(names.addressesOf('a.example'), ['2001:db8::2']);
});

test('both families gone at once keep both: a name without an address is a failure', async (context) => {
  const { names, takeQuestions, pass } = startHostNames(context);
  names.use(['a.example']);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ipv6: ['2001:db8::1'] });
  await pass(MINUTE_MS);
  await takeQuestions()[0]!.answer({ ipv4: [], ipv6: [], failure: 'ENODATA' });
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.1', '2001:db8::1']);
});

test('addresses known from before count at once, and until the answer', async (context) => {
  const { names, takeQuestions, takeTold } = startHostNames(context, {
    'a.example': ['2001:db8::1', '192.0.2.1'],
    'other.example': ['192.0.2.9'],
  });
  names.use(['A.example']);
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.1', '2001:db8::1']);
  assert.deepEqual(names.addressesOf('other.example'), []);
  await takeQuestions()[0]!.answer({ ipv4: ['192.0.2.1'], ipv6: ['2001:db8::1'] });
  assert.deepEqual(takeTold(), []);
});

test('of a thousand names eight are asked for at a time, and all in the end', async (context) => {
  const { names, takeQuestions } = startHostNames(context);
  const wanted = Array.from({ length: 1000 }, (_, n) => `n${n}.example`);
  names.use(wanted);
  const open = takeQuestions();
  const asked = new Set<string>();
  while (open.length > 0) {
    assert.ok(open.length <= 8, `${open.length} questions at a time`);
    const question = open.shift()!;
    assert.ok(!asked.has(question.name), question.name);
    asked.add(question.name);
    await question.answer({ ipv4: ['192.0.2.1'], ttlSeconds: 3600 });
    open.push(...takeQuestions());
  }
  assert.deepEqual([...asked].sort(), wanted.toSorted());
});

test('names that are soon due again do not keep the others from being asked', async (context) => {
  const { names, takeQuestions, pass } = startHostNames(context);
  const wanted = Array.from({ length: 200 }, (_, n) => `n${n}.example`);
  names.use(wanted);
  const asked = new Set<string>();
  // each question takes four seconds, as without an answer: in the half minute until the next try there is time for 60
  for (let turn = 0; turn < 50; turn++) {
    const open = takeQuestions();
    await pass(4000);
    for (const question of open) {
      asked.add(question.name);
      await question.answer({ ipv4: undefined, ipv6: undefined, failure: 'ETIMEOUT' });
    }
  }
  assert.equal(asked.size, wanted.length);
});

test('a question that never ends holds up no other name', async (context) => {
  const { names, takeQuestions, asked, pass } = startHostNames(context);
  names.use(['hung.example', 'a.example']);
  const [, a] = takeQuestions();
  await a!.answer({ ipv4: ['192.0.2.1'], ttlSeconds: 30 });
  for (let time = 0; time < 3; time++) {
    await pass(30_000);
    const [again] = takeQuestions();
    assert.equal(again?.name, 'a.example');
    await again!.answer({ ipv4: ['192.0.2.1'], ttlSeconds: 30 });
  }
  await pass(29_999);
  assert.deepEqual(asked(), []);
});

test('a reload asks for all names at once, and keeps the addresses of those that stay', async (context) => {
  const { names, takeQuestions, asked } = startHostNames(context);
  names.use(['a.example', 'b.example']);
  for (const question of takeQuestions()) await question.answer({ ipv4: ['192.0.2.1'], ttlSeconds: 3600 });
  names.use(['b.example', 'c.example']);
  assert.deepEqual(asked(), ['b.example', 'c.example']);
  assert.deepEqual(names.addressesOf('a.example'), []);
  assert.deepEqual(names.addressesOf('b.example'), ['192.0.2.1']);
});

test('a name that a reload drops while it is asked for changes nothing and says nothing', async (context) => {
  const { names, takeQuestions, takeTold, asked, pass } = startHostNames(context);
  names.use(['a.example', 'b.example']);
  const [a, b] = takeQuestions();
  names.use([]);
  await a!.answer({ ipv4: ['192.0.2.1'] });
  await b!.answer({ failure: 'ENOTFOUND' });
  assert.deepEqual(names.addressesOf('a.example'), []);
  assert.deepEqual(takeTold(), []);
  await pass(3_600_000);
  assert.deepEqual(asked(), []);
});

test('a name that reloads drop and take back while it is asked for is asked for anew, and the old answer is not used', async (context) => {
  const { names, takeQuestions, takeTold } = startHostNames(context);
  names.use(['a.example']);
  const [old] = takeQuestions();
  names.use([]);
  names.use(['a.example']);
  const [anew] = takeQuestions();
  assert.equal(anew?.name, 'a.example');
  await old!.answer({ failure: 'ENOTFOUND' });
  assert.deepEqual(takeTold(), []);
  await anew!.answer({ ipv4: ['192.0.2.2'] });
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.2']);
  assert.deepEqual(takeTold(), ['change']);
});

test('a name that a reload keeps while it is asked for is not asked for twice', async (context) => {
  const { names, takeQuestions, asked } = startHostNames(context);
  names.use(['a.example']);
  const [a] = takeQuestions();
  names.use(['a.example']);
  assert.deepEqual(asked(), []);
  await a!.answer({ ipv4: ['192.0.2.1'] });
  assert.deepEqual(names.addressesOf('a.example'), ['192.0.2.1']);
});

test('dropped names keep their places among the eight until they are answered', async (context) => {
  const { names, takeQuestions, asked } = startHostNames(context);
  names.use(Array.from({ length: 8 }, (_, n) => `old${n}`));
  const old = takeQuestions();
  names.use(['a.example']);
  assert.deepEqual(asked(), []);
  await old[0]!.answer({});
  assert.deepEqual(asked(), ['a.example']);
});

test('close ends every question, and none follows', async (context) => {
  const { names, takeQuestions, takeTold, asked, pass } = startHostNames(context);
  names.use(['a.example', 'b.example', 'c.example']);
  const [a, b, c] = takeQuestions();
  await a!.answer({ ipv4: ['192.0.2.1'] });
  takeTold();
  names.close();
  assert.ok(b!.signal.aborted);
  await b!.answer({ ipv4: ['192.0.2.2'] });
  await c!.fail(new Error('cancelled'));
  await pass(3_600_000);
  assert.deepEqual(asked(), []);
  assert.deepEqual(takeTold(), []);
});
