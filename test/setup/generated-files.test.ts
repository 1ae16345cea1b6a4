import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfiguration } from '../../src/configuration/load.ts';
import {
  jailSettings,
  parseSender,
  SENDER_KINDS,
  sampleConfiguration,
  senderFile,
} from '../../src/setup/generated-files.ts';
import { planInstall } from '../../src/setup/plan-install.ts';
import { install, makeRoot, snapshot, uninstall } from './support.ts';

const portsOf = (text: string) => {
  const { decoys, log } = parseConfiguration(Buffer.from(text), 'sample.yaml');
  assert.equal(log.file.path, '/var/log/honeyport/honeyport.log');
  return decoys.flatMap(({ ports }) => ports);
};

test('the configuration that is written is one that honeyport takes', () => {
  assert.deepEqual(portsOf(sampleConfiguration(() => undefined)).length, 14);
});

test('ports on which something listens are left out of it, and named', () => {
  const busy = new Map([
    [23, 'telnetd'],
    [5901, 'Xvnc'],
    [31337, 'elite'],
  ]);
  const text = sampleConfiguration((port) => busy.get(port));
  const ports = portsOf(text);
  for (const port of busy.keys()) assert.ok(!ports.includes(port), `${port}`);
  assert.equal(ports.length, 11);
  assert.match(text, /^# Left out, since telnetd listens on it: 23$/m);
});

test('the jail is turned on, reads the configured log, and only counts in observe mode', () => {
  assert.equal(jailSettings('/var/log/honeyport/honeyport.log', false), '[honeyport]\nenabled = true\n');
  assert.match(jailSettings('/srv/decoys.log', false), /^logpath = \/srv\/decoys\.log$/m);
  const observing = jailSettings('/var/log/honeyport/honeyport.log', true);
  assert.match(
    observing,
    /^banaction = honeyport_nftables\.py\[log="\/var\/log\/honeyport\/bans\.log", mode=observe\]$/m,
  );
});

test('a receiver is a kind, a host and a port', () => {
  assert.deepEqual(parseSender('siem-tcp=siem.example.net:514'), {
    kind: 'siem-tcp',
    host: 'siem.example.net',
    port: 514,
  });
  assert.equal(parseSender('socket=[2001:db8::1]:6514').host, '2001:db8::1');
  const wrong = ['', 'siem-tcp', 'siem-tcp=host', 'siem-tcp=host:0', 'siem-tcp=host:65536', 'other=host:514'];
  const hostile = ['siem-tcp=a"b:514', 'siem-tcp=a\nb:514', 'siem-tcp=[1.2.3.4]:514', 'siem-tcp=$(x):514'];
  for (const text of [...wrong, ...hostile])
    assert.throws(() => parseSender(text), /expected KIND=HOST:PORT/, text);
});

for (const kind of SENDER_KINDS) {
  test(`the receiver stands in rsyslog's file of the kind ${kind}, and no example does`, () => {
    const settings = senderFile({ kind, host: 'siem.test', port: 1234 }).text.replaceAll(/^\s*#.*$/gm, '');
    assert.match(settings, /(target|server)="siem\.test" (port|serverport)="1234"/);
    assert.doesNotMatch(settings, /\.example/);
  });
}

test('two receivers of one kind are refused, since each kind has one file', async (context) => {
  const root = makeRoot(context);
  const senders = ['one.test', 'two.test'].map((host) => ({ kind: 'siem-tcp', host, port: 514 }) as const);
  const plan = await planInstall({ root, version: '1.0.0', observe: false, sockets: false, senders });
  assert.deepEqual(plan.refusals, ['--rsyslog: expected each kind once, got siem-tcp twice']);
});

test('a receiver that was asked for is installed with its reader, is never overwritten, and goes with honeyport', async (context) => {
  const root = makeRoot(context);
  const before = snapshot(root);
  await install(root, { senders: [{ kind: 'siem-tcp', host: 'one.test', port: 514 }] });
  const first = snapshot(root);
  assert.ok('etc/rsyslog.d/honeyport.conf' in first, 'the reader');
  await install(root, { senders: [{ kind: 'siem-tcp', host: 'two.test', port: 514 }] });
  assert.deepEqual(snapshot(root), first);
  await uninstall(root);
  assert.deepEqual(Object.keys(snapshot(root)), Object.keys(before));
});
