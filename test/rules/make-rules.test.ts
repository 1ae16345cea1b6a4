import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseConfiguration } from '../../src/configuration/load.ts';
import { UserError } from '../../src/errors.ts';
import { makeRules } from '../../src/rules/make-rules.ts';
import { temporaryDirectory } from '../support/directory.ts';

const LISTENING = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
`;

interface Proc {
  /** How many connections are tracked; undefined: the kernel does not tell. */
  readonly tracked?: number;
  readonly uptime?: string;
  readonly tcp?: string | undefined;
}

function procOf(
  context: TestContext,
  { uptime = '60.00 1.00\n', tcp = LISTENING, tracked }: Proc = {},
): string {
  const proc = temporaryDirectory(context);
  for (const directory of ['net', 'sys/net/ipv4']) mkdirSync(join(proc, directory), { recursive: true });
  writeFileSync(join(proc, 'uptime'), uptime);
  writeFileSync(join(proc, 'sys/net/ipv4/ip_local_port_range'), '32768\t60999\n');
  if (tracked !== undefined) {
    mkdirSync(join(proc, 'sys/net/netfilter'), { recursive: true });
    writeFileSync(join(proc, 'sys/net/netfilter/nf_conntrack_count'), `${tracked}\n`);
  }
  if (tcp !== '') writeFileSync(join(proc, 'net/tcp'), tcp);
  return proc;
}

function make(proc: string, decoys = '{ ports: unused }', memory?: string) {
  const configuration = parseConfiguration(Buffer.from(`decoys: [${decoys}]\n`), 'honeyport.yaml');
  return makeRules({ configuration, memory, proc });
}

test('a configuration and a host make the rules', (context) => {
  const { script, warnings } = make(procOf(context), '{ ports: 65535 }, { ports: unused }');
  assert.deepEqual(warnings, []);
  assert.match(script, / tproxy to :65534 /);
  assert.match(script, / socket mark != 0x686f6e65 /);
  assert.match(script, / tcp dport \{ 80, 113, 443, 32768-60999 \} accept/);
  assert.match(script, /^add element \S+ \S+ inuse \{ 22 \}$/m);
  assert.doesNotMatch(script, /element .* remembered/);
});

test('DNAT is asked of only where connections are tracked already', (context) => {
  assert.match(make(procOf(context, { tracked: 3 })).script, / ct status dnat /);
  for (const proc of [procOf(context), procOf(context, { tracked: 0 })])
    assert.doesNotMatch(make(proc).script, /\bct /);
});

test('with a memory, DNAT is asked of, too, where connections were tracked a while ago', (context) => {
  const memory = join(temporaryDirectory(context), 'ports.json');
  const script = (tracked: number) => make(procOf(context, { tracked }), undefined, memory).script;
  assert.doesNotMatch(script(0), /\bct /);
  for (const tracked of [1, 0]) assert.match(script(tracked), / ct status dnat /);
});

test('with a memory, what it remembers is in them', (context) => {
  const memory = join(temporaryDirectory(context), 'ports.json');
  make(procOf(context), undefined, memory);
  const { script } = make(procOf(context, { tcp: LISTENING.replace(':0016', ':0017') }), undefined, memory);
  assert.match(script, /^add element \S+ \S+ inuse \{ 23 \}$/m);
  assert.match(script, /^add element \S+ \S+ remembered \{ 22 timeout 86[34]\d\ds \}$/m);
});

test('without such a decoy, they are taken away, and that is said', (context) => {
  const proc = procOf(context, { uptime: '1 1' });
  const { script, warnings } = make(proc, '{ ports: 23 }');
  assert.match(script, /^delete table inet honeyport_unused$/m);
  assert.deepEqual(warnings, ['no decoy has ports: unused, so these rules take away what was loaded']);
});

test('none are made in the first minute after boot', (context) => {
  for (const uptime of ['0.01 0.00\n', '59.99 100\n'])
    assert.throws(
      () => make(procOf(context, { uptime })),
      (error) =>
        error instanceof UserError &&
        error.exitCode === 1 &&
        /^expected a minute since boot, in which services take their ports, got \d+ s$/.test(error.message) &&
        /honeyport-rules\.timer/.test(error.hint ?? ''),
      uptime,
    );
});

test('none are made where the kernel does not tell what is in use, or since when it runs', (context) => {
  for (const proc of ['/nonexistent', procOf(context, { tcp: '' }), procOf(context, { uptime: 'x' })])
    assert.throws(
      () => make(proc),
      (error) => error instanceof UserError && error.exitCode === 1,
    );
});
