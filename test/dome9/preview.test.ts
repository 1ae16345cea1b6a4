import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createBackOff } from '../../src/back-off.ts';
import type { Dome9Configuration } from '../../src/configuration/dome9.ts';
import { openAccount } from '../../src/dome9/account.ts';
import { ApiError } from '../../src/dome9/api-error.ts';
import { hintOf, pauseAfter } from '../../src/dome9/attempt.ts';
import { commentOf } from '../../src/dome9/comment.ts';
import { previewChanges } from '../../src/dome9/preview.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { type Dome9Double, startDome9 } from '../support/dome9-api.ts';
import { recordBans } from '../support/dome9-service.ts';

async function stageOf(context: TestContext, changes: Partial<Dome9Configuration> = {}) {
  const double: Dome9Double = await startDome9();
  context.after(() => double.stop());
  const configuration: Dome9Configuration = {
    file: undefined,
    api: 'v2',
    url: double.url,
    key: double.key,
    ca: undefined,
    sensor: 'web-1',
    list: 'honeyport-web-1',
    state: temporaryDirectory(context),
    maxItems: 500,
    ...changes,
  };
  const notices: string[] = [];
  const preview = () =>
    previewChanges({ configuration, version: '0.0.0', onNotice: (message) => notices.push(message) });
  return { double, configuration, notices, preview };
}

test('a preview names what would be added, removed and changed, and changes nothing', async (context) => {
  const { double, configuration, preview } = await stageOf(context, { maxItems: 4 });
  const since = 1_764_000_000;
  const own = (ip: string) => ({
    ip,
    comment: commentOf({ ip, since, until: null, jail: 'honeyport' }, 'web-1'),
  });
  const list = {
    id: 7,
    name: 'honeyport-web-1',
    description: '',
    items: [{ ip: '203.0.113.1', comment: 'by hand' }, own('192.0.2.1'), own('192.0.2.2')],
  };
  double.lists.push(list);
  const before = structuredClone(list);
  recordBans(configuration.state, [
    { ip: '192.0.2.2', since: since + 5 },
    { ip: '192.0.2.3', since: since + 4 },
    { ip: '192.0.2.4', since: since + 3 },
    { ip: '192.0.2.5', since: since + 2 },
    { ip: '192.0.2.6', since: since + 9, until: since + 10 },
  ]);
  assert.equal(
    await preview(),
    `list honeyport-web-1 at ${double.url}: 2 to add, 1 to remove, 1 to change, 1 wanted addresses have no room, 1 items that are not ours stay
+ 192.0.2.3
+ 192.0.2.4
- 192.0.2.1
~ 192.0.2.2
`,
  );
  assert.deepEqual(double.lists, [before]);
  assert.deepEqual(
    double.calls.map(({ name }) => name),
    ['GET /v2/IpList'],
  );
});

test('a list that is not there yet is not made', async (context) => {
  const { double, configuration, preview } = await stageOf(context);
  recordBans(configuration.state, [{ ip: '192.0.2.1' }]);
  assert.equal(
    await preview(),
    `list honeyport-web-1 at ${double.url}: 1 to add, 0 to remove, 0 to change, 0 items that are not ours stay\n+ 192.0.2.1\n`,
  );
  assert.deepEqual(double.lists, []);
});

test('of v1 a preview asks nobody, and writes no record', async (context) => {
  const { double, configuration, preview } = await stageOf(context, { api: 'v1' });
  recordBans(configuration.state, [{ ip: '192.0.2.1' }]);
  assert.equal(
    await preview(),
    `the v1 blacklist at ${double.url}: 1 to add, 0 to remove, 0 to change\n+ 192.0.2.1\n`,
  );
  assert.deepEqual(double.calls, []);
  assert.deepEqual(readdirSync(configuration.state), ['wanted']);
});

test('before anything was recorded the account is asked, so that the key is tried, and nothing would be changed', async (context) => {
  const { preview, double, notices } = await stageOf(context);
  const own = { ip: '192.0.2.1', comment: 'honeyport/web-1 jail=honeyport' };
  const foreign = { ip: '203.0.113.1', comment: 'by hand' };
  double.lists.push({ id: 7, name: 'honeyport-web-1', description: '', items: [own, foreign] });
  assert.equal(
    await preview(),
    `list honeyport-web-1 at ${double.url}: 0 to add, 0 to remove, 0 to change, 1 items that are not ours stay\n`,
  );
  assert.equal(notices.length, 1, notices.join('\n'));
  assert.match(notices[0]!, /\/wanted is not there: .*; until then nothing is changed in the account$/);
  double.faults.push({ status: 401 });
  await assert.rejects(preview(), { exitCode: 1, message: 'GET /v2/IpList: 401 Unauthorized' });
  assert.deepEqual(double.lists[0]!.items, [own, foreign]);
});

test('with a record that cannot be read a preview fails, says why, and asks nobody', async (context) => {
  const { preview, double, configuration } = await stageOf(context);
  recordBans(configuration.state, []);
  writeFileSync(join(configuration.state, 'wanted/a.json'), '');
  await assert.rejects(preview(), { name: 'UserError', exitCode: 1, message: /cannot use .*\/a\.json: / });
  assert.deepEqual(double.calls, []);
  assert.ok(!existsSync(join(configuration.state, 'status.json')), 'a status was written');
});

test('a preview that the API refuses fails with what to do about it', async (context) => {
  const { double, configuration, preview } = await stageOf(context);
  recordBans(configuration.state, []);
  double.faults.push({ status: 401 }, { status: 503 });
  await assert.rejects(preview(), {
    name: 'UserError',
    exitCode: 1,
    message: 'GET /v2/IpList: 401 Unauthorized',
    hint: /^the key is not accepted/,
  });
  await assert.rejects(preview(), { message: 'GET /v2/IpList: 503 Service Unavailable', hint: undefined });
});

test('two lists of that name are told', async (context) => {
  const { double, configuration, notices, preview } = await stageOf(context);
  recordBans(configuration.state, []);
  for (const id of [10, 9]) double.lists.push({ id, name: 'honeyport-web-1', description: '', items: [] });
  await preview();
  assert.deepEqual(notices, ['the account has 2 lists honeyport-web-1: delete all but 9']);
});

test('an account is of the API that the configuration names', async (context) => {
  for (const [api, wanted] of [
    ['v2', 'GET /v2/IpList'],
    ['v1', 'POST /v1/blacklist/Items/'],
  ] as const) {
    const { double, configuration } = await stageOf(context, { api });
    const account = openAccount(configuration, '1.2.3', () => {});
    await account.target.converge([{ ip: '192.0.2.1', since: 1, until: null, jail: 'a' }]);
    assert.equal(double.calls[0]!.name, wanted);
    assert.equal(double.calls[0]!.headers['user-agent'], 'honeyport/1.2.3');
    assert.equal(account.calls, double.calls.length);
    assert.equal(existsSync(join(configuration.state, 'posted.json')), api === 'v1');
    await account.close();
    await assert.rejects(account.target.converge([{ ip: '192.0.2.2', since: 1, until: null, jail: 'a' }]));
  }
});

test('authorities that cannot be read are told at once', async (context) => {
  const { configuration } = await stageOf(context, { url: 'https://127.0.0.1:1', ca: '/nowhere/ca.pem' });
  assert.throws(() => openAccount(configuration, '0.0.0', () => {}), {
    name: 'UserError',
    message: /^cannot read \/nowhere\/ca\.pem: ENOENT/,
  });
});

const HOUR = 3_600_000;

test('the pause after a failure is the longer the less trying again helps', () => {
  const pause = (error: unknown, random = 0) =>
    pauseAfter(error, createBackOff({ firstMs: 1000, longestMs: 4000, random: () => 1 }), () => random);
  const failed = (failure: ApiError['failure'], retryAfterMs?: number) =>
    new ApiError(failure, 'x', retryAfterMs);
  for (const failure of ['credentials', 'read-only'] as const) assert.equal(pause(failed(failure)), HOUR);
  assert.equal(pause(failed('credentials', 5), 1), HOUR * 1.1);
  for (const failure of ['refused', 'unexpected', 'missing'] as const)
    assert.equal(pause(failed(failure)), HOUR / 6, failure);
  for (const failure of ['limited', 'unavailable'] as const) {
    assert.equal(pause(failed(failure)), 1000, failure);
    assert.equal(pause(failed(failure, 500)), 1000, failure);
    assert.equal(pause(failed(failure, 5000)), 5000, failure);
    assert.equal(pause(failed(failure, 5000), 1), 5500, failure);
  }
  assert.equal(pause(new Error('x')), 1000);
});

test('the pauses after failures that may pass grow, and do not where they are long already', () => {
  const backOff = createBackOff({ firstMs: 1000, longestMs: 4000, random: () => 1 });
  const pauses = Array.from({ length: 4 }, () => pauseAfter(new ApiError('unavailable', 'x'), backOff));
  assert.deepEqual(pauses, [1000, 2000, 4000, 4000]);
  backOff.reset();
  pauseAfter(new ApiError('credentials', 'x'), backOff);
  assert.equal(pauseAfter(new ApiError('limited', 'x'), backOff), 1000);
});

test('there is a hint where trying again does not help, and only there', () => {
  assert.match(hintOf(new ApiError('credentials', 'x')) ?? '', /^the key is not accepted/);
  assert.match(hintOf(new ApiError('read-only', 'x')) ?? '', /^the key may read and seems to lack the right/);
  for (const failure of ['refused', 'unexpected', 'missing'] as const)
    assert.match(hintOf(new ApiError(failure, 'x')) ?? '', /docs\/dome9\.md/);
  for (const error of [new ApiError('limited', 'x'), new ApiError('unavailable', 'x'), new Error('x'), 'x'])
    assert.equal(hintOf(error), undefined);
});
