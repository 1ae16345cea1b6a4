import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfiguration } from '../../src/configuration/load.ts';
import { problemsOf } from './support.ts';

const FILE_HEAD = 'decoys: [{ ports: 22 }]\nlog:\n  syslog:\n';

function receiversOf(items: string) {
  return parseConfiguration(Buffer.from(FILE_HEAD + items), 'F').log.syslog;
}

test('a receiver is completed with every default', () => {
  assert.deepEqual(receiversOf('    - address: udp://siem.example:514\n'), [
    {
      address: 'udp://siem.example:514',
      target: { wire: 'udp', host: 'siem.example', port: 514 },
      format: 'rfc5424',
      facility: 'local0',
      framing: 'octet-counting',
      enterprise: 32_473,
      tls: {},
    },
  ]);
});

test('every wire has its target', () => {
  const targets = receiversOf(`
    - address: tcp://192.0.2.5:65535
    - address: tls://[2001:db8::5]:6514
    - address: unix:///run/honeyport/syslog.sock
    - { address: "udp://[::1]:514", format: cef }
    - { address: "udp://[::1]:514", format: leef }
`).map(({ target }) => target);
  assert.deepEqual(targets, [
    { wire: 'tcp', host: '192.0.2.5', port: 65_535 },
    { wire: 'tls', host: '2001:db8::5', port: 6514 },
    { wire: 'unix', path: '/run/honeyport/syslog.sock' },
    { wire: 'udp', host: '::1', port: 514 },
    { wire: 'udp', host: '::1', port: 514 },
  ]);
});

test('syslog: off is no receiver', () => {
  assert.deepEqual(
    parseConfiguration(Buffer.from('decoys: [{ ports: 22 }]\nlog: { syslog: off }'), 'F').log.syslog,
    [],
  );
});

const NETWORK =
  'expected a host, a colon and a port, as tcp://siem.example:514 or tcp://[2001:db8::5]:514, got';
const SOCKET =
  'expected unix:// and the path of a socket, at most 107 bytes, as unix:///run/honeyport/syslog.sock, got';

for (const [address, problem] of [
  ['tcp://siem.example', `${NETWORK} "tcp://siem.example"`],
  ['tcp://siem.example:0', `${NETWORK} "tcp://siem.example:0"`],
  ['tcp://siem.example:65536', `${NETWORK} "tcp://siem.example:65536"`],
  ['tcp://2001:db8::5:514', `${NETWORK} "tcp://2001:db8::5:514"`],
  ['tcp://[192.0.2.1]:514', `${NETWORK} "tcp://[192.0.2.1]:514"`],
  ['tcp://[fe80::1%eth0]:514', `${NETWORK} "tcp://[fe80::1%eth0]:514"`],
  ['tcp://[fe80::1]:514', `${NETWORK} "tcp://[fe80::1]:514"`],
  ['tcp://999.1.1.1:514', `${NETWORK} "tcp://999.1.1.1:514"`],
  ['tcp://1.2.3:514', `${NETWORK} "tcp://1.2.3:514"`],
  ['tcp://a..b:514', `${NETWORK} "tcp://a..b:514"`],
  ['tcp://-:514', `${NETWORK} "tcp://-:514"`],
  ['tcp://user@siem:514', `${NETWORK} "tcp://user@siem:514"`],
  ['tcp://siem:514/x', `${NETWORK} "tcp://siem:514/x"`],
  ['unix://run/x', `${SOCKET} "unix://run/x"`],
  ['unix:///run/', `${SOCKET} "unix:///run/"`],
] as const) {
  test(`the address ${address} is refused`, () => {
    const problems = problemsOf(`${FILE_HEAD}    - address: "${address}"\n`);
    assert.deepEqual(problems, [`F:4:16: log.syslog[0].address: ${problem}`]);
  });
}

test('a path of 107 bytes is taken, one of 108 is not', () => {
  const item = (length: number) => `    - address: unix:///${'x'.repeat(length - 1)}\n`;
  assert.equal(receiversOf(item(107)).length, 1);
  assert.equal(problemsOf(FILE_HEAD + item(108)).length, 1);
});

test('an unknown wire is refused by the schema, once', () => {
  assert.deepEqual(problemsOf(`${FILE_HEAD}    - address: http://siem:80\n`), [
    'F:4:16: log.syslog[0].address: expected a receiver such as tls://siem.example:6514 or unix:///run/honeyport/syslog.sock, got "http://siem:80"',
  ]);
});

test('keys that would do nothing are refused', () => {
  const problems = problemsOf(`${FILE_HEAD}
    - { address: "udp://siem:514", framing: lf }
    - { address: "tcp://siem:514", tls: { ca: /ca.pem } }
    - { address: "tcp://siem:515", format: cef, enterprise: 1 }
    - { address: "tls://siem:516", tls: { key: /key.pem } }
    - { address: "tls://siem:517", tls: { certificate: /c.pem } }
`);
  assert.deepEqual(
    problems.map((problem) => problem.replace(/^F:\d+:\d+: /, '')),
    [
      'log.syslog[0].framing: expected no key framing, as each datagram of udp:// is a message',
      'log.syslog[1].tls: expected no key tls, as the address is not tls://',
      'log.syslog[2].enterprise: expected no key enterprise, as only rfc5424 has structured data',
      'log.syslog[3].tls.key: expected a key certificate beside key',
      'log.syslog[4].tls.certificate: expected a key key beside certificate',
    ],
  );
});

test('a receiver that stands there twice, and a ninth one, are refused', () => {
  const twice = `${FILE_HEAD}    - address: udp://a:1\n    - { address: "udp://a:1", format: rfc5424 }\n`;
  assert.deepEqual(problemsOf(twice), [
    'F:5:18: log.syslog[1].address: expected each receiver once, got udp://a:1 again',
  ]);
  const items = Array.from({ length: 9 }, (_, index) => `    - address: udp://a:${index + 1}\n`).join('');
  assert.deepEqual(problemsOf(FILE_HEAD + items), ['F:4:5: log.syslog: expected at most 8 receivers, got 9']);
});
