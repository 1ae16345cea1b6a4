import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Endpoint } from '../../src/capture/listener.ts';
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
}

/** On a kernel that is faked as far as the test says. */
function create(context: TestContext, { modules = {}, uptime = 3600, errno = () => undefined }: Kernel) {
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
  const unused = createUnusedPorts({
    native: calls,
    voice,
    modules: directory,
    uptimeSeconds: () => uptime,
  });
  /** What is listened on of these, and what is said of it. */
  const listen = (...endpoints: Endpoint[]) => {
    said.length = 0;
    const listenable = unused.listenable(endpoints).map(({ decoy }) => decoy);
    unused.tell(endpoints);
    return { listenable, said: [...said] };
  };
  return { listen };
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
    assert.deepEqual(listen(ORDINARY, DARK), { listenable: ['telnet', 'dark'], said });
    assert.deepEqual(listen(ORDINARY, DARK).said, [], 'once');
    assert.deepEqual(listen(ORDINARY), { listenable: ['telnet'], said: [] });
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
  assert.deepEqual(listen(ORDINARY, DARK), { listenable: ['telnet'], said });
  assert.deepEqual(listen(DARK, ORDINARY), { listenable: ['telnet'], said: [] });
  errno = undefined;
  assert.deepEqual(listen(ORDINARY, DARK), { listenable: ['telnet', 'dark'], said: [TAKES] });
});

test('a kernel that does not know the option is no missing right', (context) => {
  const { listen } = create(context, { errno: () => ERRNO.ENOPROTOOPT });
  assert.deepEqual(listen(DARK), {
    listenable: [],
    said: [
      'warning decoy dark does not listen, so unused ports stay closed: IP_TRANSPARENT failed with ENOPROTOOPT',
    ],
  });
});
