import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { type TestContext, test } from 'node:test';
import {
  createNetworkNamespace,
  joinByWire,
  type NetworkNamespace,
  removeAbandonedNamespaces,
} from '../../src/system/network-namespace.ts';
import { requireProgram } from '../support/programs.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 10_000;
/** Above the largest that Linux gives. */
const DEAD_PID = 99_999_999;
requireProgram('ip');

async function create(context: TestContext, role: string, pid = process.pid): Promise<NetworkNamespace> {
  const namespace = await createNetworkNamespace(`honeyport-test-${role}-${pid}`);
  context.after(() => namespace.remove());
  return namespace;
}

function start(namespace: NetworkNamespace, argv: readonly string[]): ChildProcess {
  const [program, ...args] = namespace.command(argv);
  return spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

const LISTEN =
  "require('node:net').createServer((socket) => socket.end('hello')).listen(7, '::', () => console.log('ready'))";
const CONNECT =
  "require('node:net').connect({ host: process.argv[1], port: 7 }).on('error', ({ code }) => console.log(code)).pipe(process.stdout)";

async function listen(namespace: NetworkNamespace): Promise<ChildProcess> {
  const child = start(namespace, [process.execPath, '-e', LISTEN]);
  let said = '';
  child.stdout!.on('data', (text) => (said += text));
  await waitFor(() => said.includes('ready'), { deadlineMs: DEADLINE_MS, what: 'the listener' });
  return child;
}

function connect(namespace: NetworkNamespace | undefined, address: string): string {
  const argv = [process.execPath, '-e', CONNECT, address];
  const [program, ...args] = namespace?.command(argv) ?? argv;
  return execFileSync(program!, args, { encoding: 'utf8', timeout: DEADLINE_MS }).trim();
}

test('two networks on a wire reach each other at once with both families, and nobody else', async (context) => {
  const one = await create(context, 'one');
  const other = await create(context, 'other');
  await joinByWire(
    { namespace: one, device: 'wire', addresses: ['192.0.2.1/24', '2001:db8::1/64'] },
    { namespace: other, device: 'wire', addresses: ['192.0.2.2/24', '2001:db8::2/64'] },
  );
  await listen(one);
  for (const address of ['192.0.2.1', '2001:db8::1']) assert.equal(connect(other, address), 'hello', address);
  assert.equal(connect(one, '127.0.0.1'), 'hello');
  assert.equal(connect(other, '198.51.100.1'), 'ENETUNREACH');
});

test("this process's own network can be an end, and the wire goes with the namespace", async (context) => {
  const namespace = await create(context, 'one');
  const device = `hp${process.pid}`;
  const here = { namespace: undefined, device, addresses: ['198.18.255.5/30', '2001:db8:5::1/64'] };
  const there = { namespace, device: 'wire', addresses: ['198.18.255.6/30', '2001:db8:5::2/64'] };
  await joinByWire(there, here);
  await listen(namespace);
  for (const address of ['198.18.255.6', '2001:db8:5::2']) assert.equal(connect(undefined, address), 'hello');
  assert.ok(device in networkInterfaces(), device);
  await namespace.remove();
  assert.ok(!(device in networkInterfaces()), `${device} is gone`);
});

test('removing ends what runs there, also what ignores signals, and twice is once', async (context) => {
  const namespace = await create(context, 'one');
  const child = start(namespace, [
    'sh',
    '-c',
    'trap "" TERM INT HUP; echo ready; while :; do sleep 60; done',
  ]);
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  context.after(() => child.kill('SIGKILL'));
  await namespace.remove();
  await waitFor(() => child.signalCode === 'SIGKILL', { deadlineMs: DEADLINE_MS, what: 'its end' });
  assert.ok(!existsSync(`/run/netns/${namespace.name}`), namespace.name);
  await namespace.remove();
});

test('namespaces of dead processes are removed, with what runs there, and no others', async (context) => {
  const dead = await create(context, 'dead', DEAD_PID);
  const living = await create(context, 'living', process.ppid);
  const foreign = await createNetworkNamespace(`honeyport-testing-${DEAD_PID}`);
  context.after(() => foreign.remove());
  const child = start(dead, ['sh', '-c', 'echo ready; exec sleep 60']);
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  await removeAbandonedNamespaces('honeyport-test-');
  const left = readdirSync('/run/netns').filter((name) => name.startsWith('honeyport-test'));
  for (const { name } of [living, foreign]) assert.ok(left.includes(name), name);
  assert.ok(!left.includes(dead.name), dead.name);
  await waitFor(() => child.signalCode === 'SIGKILL', { deadlineMs: DEADLINE_MS, what: 'its end' });
});

test('what ip(8) refuses is an error that quotes it', async (context) => {
  const { name } = await create(context, 'one');
  await assert.rejects(createNetworkNamespace(name), {
    name: 'UserError',
    message: new RegExp(`^ip netns add ${name}: .*File exists`),
    exitCode: 1,
  });
});
