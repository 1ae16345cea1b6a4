import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkKernel } from '../../src/doctor/check-kernel.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { configurationOf, hostOf, listenerOf, told, writeTree } from './support.ts';

const SYS = {
  'net/ipv4/tcp_syncookies': '1\n',
  'net/core/somaxconn': '4096\n',
  'net/ipv4/ip_local_port_range': '32768\t60999\n',
  'net/ipv4/ip_local_reserved_ports': '\n',
  'net/ipv6/conf/all/disable_ipv6': '0\n',
};

const OK = /^ok: Linux 6\.1\.0: queue, descriptors and SYN cookies are as honeyport needs them$/;
const CASES: readonly [
  string,
  { sys?: Record<string, string>; text?: string; kernel?: string; files?: number },
  RegExp,
][] = [
  ['all is as it should be', {}, OK],
  [
    'everything is a cookie',
    { sys: { 'net/ipv4/tcp_syncookies': '2\n' } },
    /^finding: tcp_syncookies is 2: every connection .* withheld from banning \| sysctl -w net\.ipv4\.tcp_syncookies=1/,
  ],
  [
    'cookies may count',
    { sys: { 'net/ipv4/tcp_syncookies': '2\n' }, text: 'decoys: [{ ports: 23 }]\ncookies: count' },
    OK,
  ],
  [
    'a flood is not withstood',
    { sys: { 'net/ipv4/tcp_syncookies': '0\n' } },
    /^note: tcp_syncookies is 0: /m,
  ],
  [
    'the queue is short',
    { sys: { 'net/core/somaxconn': '128\n' } },
    /^note: somaxconn is 128: .* \| sysctl -w net\.core\.somaxconn=4096/m,
  ],
  [
    'descriptors are too few',
    { files: 100, text: 'decoys: [{ ports: 2000-2099 }]' },
    /^finding: the listener may open 100 files, and needs up to 164: .* \| write LimitNOFILE=256 /,
  ],
  [
    'conversations need descriptors',
    { files: 1000, text: 'decoys: [{ ports: 23, capture: 64 }]' },
    /^finding: the listener may open 1000 files, and needs up to 1089: /,
  ],
  ['the kernel is too old', { kernel: '4.2.8-generic' }, /^finding: Linux 4\.2\.8-generic saves no SYN/],
  [
    'IPv6 is off',
    {
      sys: { 'net/ipv6/conf/all/disable_ipv6': '1\n' },
      text: 'decoys: [{ ports: 23, address: "2001:db8::1" }]',
    },
    /^finding: IPv6 is disabled, and decoy port-23 has an IPv6 address/,
  ],
  [
    'outgoing connections may take the port',
    { text: 'decoys: [{ ports: [31337, 40000-40002] }]' },
    /^note: port 40000-40002 is among those that outgoing connections take \(32768-60999\): .* \| sysctl -w net\.ipv4\.ip_local_reserved_ports=40000-40002,/m,
  ],
  [
    'reserved ports are safe',
    { text: 'decoys: [{ ports: 40001 }]', sys: { 'net/ipv4/ip_local_reserved_ports': '22,40000-40002\n' } },
    OK,
  ],
  [
    'what cannot be read is not claimed',
    { sys: Object.fromEntries(Object.keys(SYS).map((name) => [name, 'x'.repeat(500)])) },
    OK,
  ],
];

for (const [what, { sys = {}, text, kernel = '6.1.0', files = 4096 }, expected] of CASES) {
  test(`the kernel check tells that ${what}`, (context) => {
    const root = temporaryDirectory(context);
    const all = Object.entries({ ...SYS, ...sys }).map(([name, value]) => [`proc/sys/${name}`, value]);
    writeTree(root, Object.fromEntries(all));
    const listeners = [listenerOf({ mostOpenFiles: files })];
    const results = checkKernel({
      host: hostOf(root),
      configuration: configurationOf(text),
      listeners,
      kernel,
    });
    assert.match(told(results).join('\n'), expected);
  });
}
