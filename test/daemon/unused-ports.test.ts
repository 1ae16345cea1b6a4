import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Endpoint, ListenError } from '../../src/capture/listener.ts';
import { ListenErrors } from '../../src/capture/listeners.ts';
import { createUnusedPorts } from '../../src/daemon/unused-ports.ts';
import { ERRNO } from '../../src/native/constants.ts';
import { loadNative } from '../../src/native/native.ts';
import { temporaryDirectory } from '../support/directory.ts';

const native = loadNative();
const ORDINARY: Endpoint = { decoy: 'telnet', port: 23, address: undefined };
const DARK: Endpoint = { decoy: 'dark', port: 65_535, address: undefined, isTransparent: true };

interface Kernel {
  /** Text of each file below /sys/module. */
  readonly modules?: Readonly<Record<string, string>>;
  readonly uptime?: number;
  /** Why sockets cannot be made transparent. */
  readonly errno?: () => number | undefined;
  /** Whether somebody else has the port. */
  readonly isTaken?: () => boolean;
}

/** On a kernel that is faked as far as the test says. */
function create(
  context: TestContext,
  { modules = {}, uptime = 3600, errno = () => undefined, isTaken = () => false }: Kernel,
) {
  const directory = temporaryDirectory(context);
  for (const [name, text] of Object.entries(modules)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  const said: string[] = [];
  const voice = {
    say: (text: string) => said.push(`say ${text}`),
    warning: (text: string) => said.push(`warning ${text}`),
    error: (text: string) => said.push(`error ${text}`),
    hint: (text: string) => said.push(`hint ${text}`),
  };
  const calls = {
    ...native,
    setsockopt: () => (errno() === undefined ? 0 : -1),
    errno: () => errno() ?? native.errno(),
  };
  let retries = 0;
  const unused = createUnusedPorts({
    native: calls,
    voice,
    onRetry: () => {
      retries += 1;
    },
    modules: directory,
    uptimeSeconds: () => uptime,
  });
  context.after(unused.close);
  /** What is listened on of these, and what is said of it. */
  const listen = (...endpoints: Endpoint[]) => {
    said.length = 0;
    let listening: string[] = [];
    unused.listen(endpoints, (wanted) => {
      const taken = isTaken() ? wanted.filter(({ isTransparent }) => isTransparent === true) : [];
      if (taken.length > 0)
        throw new ListenErrors(taken.map((endpoint) => new ListenError(endpoint, ERRNO.EADDRINUSE, 'bind')));
      listening = wanted.map(({ decoy }) => decoy);
    });
    return { listening, said: [...said] };
  };
  return { listen, retries: () => retries, close: unused.close };
}

const LOAD = 'systemctl enable --now honeyport-rules.timer, or by hand: honeyport rules | nft -f -';
const TAKES = `say decoy dark takes at port 65535 what the kernel's rules hand over; to load them: ${LOAD}`;
const MISSING = [
  'warning decoy dark waits at port 65535, but no rule of the kernel hands unused ports over',
  `hint ${LOAD}`,
];

const KERNELS: readonly (readonly [title: string, kernel: Kernel, said: readonly string[]])[] = [
  ['rules use the module', { modules: { 'nft_tproxy/refcnt': '2\n' } }, [TAKES]],
  ['no rule uses the module', { modules: { 'nft_tproxy/refcnt': '0\n' } }, MISSING],
  ['only that of another part is loaded', { modules: { 'nf_tables/refcnt': '70\n' } }, MISSING],
  ['nothing is a module', {}, [TAKES]],
  ['it has just booted', { modules: { 'nft_tproxy/refcnt': '0\n' }, uptime: 30 }, [TAKES]],
];

for (const [title, kernel, said] of KERNELS) {
  test(`it is told how unused ports come to a decoy, on a kernel where ${title}`, (context) => {
    const { listen } = create(context, kernel);
    assert.deepEqual(listen(ORDINARY, DARK), { listening: ['telnet', 'dark'], said });
    assert.deepEqual(listen(ORDINARY, DARK).said, [], 'once');
    assert.deepEqual(listen(ORDINARY), { listening: ['telnet'], said: [] });
    assert.deepEqual(listen(ORDINARY, DARK).said, said, 'again when it is new again');
  });
}

test('without the right only the other decoys are listened on, which is said once until it changes', (context) => {
  let errno: number | undefined = ERRNO.EPERM;
  const { listen } = create(context, { errno: () => errno });
  const said = [
    'warning decoy dark does not listen, so unused ports stay closed: CAP_NET_RAW is missing',
    'hint AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW for the service; with user:, a restart',
  ];
  assert.deepEqual(listen(ORDINARY, DARK), { listening: ['telnet'], said });
  assert.deepEqual(listen(DARK, ORDINARY), { listening: ['telnet'], said: [] });
  errno = undefined;
  assert.deepEqual(listen(ORDINARY, DARK), { listening: ['telnet', 'dark'], said: [TAKES] });
});

test('a kernel that does not know the option is no missing right', (context) => {
  const { listen } = create(context, { errno: () => ERRNO.ENOPROTOOPT });
  assert.deepEqual(listen(DARK), {
    listening: [],
    said: [
      'warning decoy dark does not listen, so unused ports stay closed: IP_TRANSPARENT failed with ENOPROTOOPT',
    ],
  });
});

test('a port that somebody else has keeps no other decoy from listening, and is tried again until it is free', (context) => {
  const timers = new Set<() => void>();
  context.mock.method(globalThis, 'setTimeout', (run: () => void, milliseconds: number) => {
    assert.equal(milliseconds, 60_000);
    timers.add(run);
    return { unref: () => run };
  });
  context.mock.method(globalThis, 'clearTimeout', (run: () => void) => timers.delete(run));
  let taken = true;
  const { listen, retries, close } = create(context, { isTaken: () => taken });
  const { listening, said } = listen(ORDINARY, DARK);
  assert.deepEqual(listening, ['telnet']);
  assert.match(
    said[0]!,
    /^warning decoy dark does not listen, .* cannot listen on port 65535, .*: in use by /,
  );
  assert.match(said[1]!, /^hint it is tried again each minute; except: \[80, 113, 443, ephemeral, 65535\] /);
  assert.equal(said.length, 2);
  for (const run of timers) run();
  assert.equal(retries(), 1);
  assert.deepEqual(listen(ORDINARY, DARK), { listening: ['telnet'], said: [] });
  assert.equal(timers.size, 1, 'tried again once a minute');
  taken = false;
  assert.deepEqual(listen(ORDINARY, DARK), { listening: ['telnet', 'dark'], said: [TAKES] });
  assert.equal(timers.size, 0);
  taken = true;
  listen(ORDINARY, DARK);
  close();
  assert.equal(timers.size, 0, 'not after the end');
});

test('what keeps other decoys from listening is thrown', () => {
  const errors = new ListenErrors([
    new ListenError(ORDINARY, ERRNO.EADDRINUSE, 'bind'),
    new ListenError(DARK, ERRNO.EADDRINUSE, 'bind'),
  ]);
  const unused = createUnusedPorts({
    native,
    voice: { say() {}, warning() {}, error() {}, hint() {} },
    onRetry() {},
  });
  assert.throws(
    () =>
      unused.listen([ORDINARY, DARK], () => {
        throw errors;
      }),
    errors,
  );
});
