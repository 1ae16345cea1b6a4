import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readDefaultGateways } from '../../src/guard/gateways.ts';
import { temporaryDirectory } from '../support/directory.ts';

const IPV4_HEAD =
  'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       ';

/** An address as the kernel writes it in /proc/net/route: a number of this machine. */
function hexOf(address: string): string {
  const bytes = Buffer.from(address.split('.').map(Number));
  return (endianness() === 'LE' ? bytes.reverse() : bytes).toString('hex').toUpperCase();
}

interface Route {
  readonly to?: string;
  readonly mask?: string;
  readonly over?: string;
  readonly flags?: string;
}

const ipv4Route = ({ to = '0.0.0.0', mask = '0.0.0.0', over = '0.0.0.0', flags = '0003' }: Route) =>
  `eth0\t${hexOf(to)}\t${hexOf(over)}\t${flags}\t0\t0\t100\t${hexOf(mask)}\t0\t0\t0                             `;

const ZEROS = '0'.repeat(32);

function ipv6Route({ to = ZEROS, length = '00', over = ZEROS, flags = '00000003' }): string {
  return `${to} ${length} ${ZEROS} 00 ${over} 00000400 00000001 00000000 ${flags}     eth0`;
}

/** The gateways of a /proc with these files. */
function gatewaysOf(
  context: TestContext,
  files: { readonly route?: string[]; readonly ipv6_route?: string[] },
) {
  const proc = temporaryDirectory(context);
  mkdirSync(join(proc, 'net'));
  for (const [name, lines] of Object.entries(files)) {
    writeFileSync(join(proc, 'net', name), lines.map((line) => `${line}\n`).join(''));
  }
  return readDefaultGateways(proc);
}

test('a host without routes, and one without the files, has no gateways', (context) => {
  assert.deepEqual(gatewaysOf(context, {}), []);
  assert.deepEqual(gatewaysOf(context, { route: [IPV4_HEAD], ipv6_route: [] }), []);
});

test("the kernel's own table of a host with a default route gives its router", (context) => {
  // as Debian's 6.1 writes it on x64
  const sample = [
    IPV4_HEAD,
    'eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0                                                                               ',
    'eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0                                                                               ',
  ];
  if (endianness() === 'LE') assert.deepEqual(gatewaysOf(context, { route: sample }), ['172.17.0.1']);
  const made = [
    IPV4_HEAD,
    ipv4Route({ over: '172.17.0.1' }),
    ipv4Route({ to: '172.17.0.0', mask: '255.255.0.0' }),
  ];
  assert.deepEqual(gatewaysOf(context, { route: made }), ['172.17.0.1']);
});

test('of several default routes of both families each router is a gateway', (context) => {
  assert.deepEqual(
    gatewaysOf(context, {
      route: [IPV4_HEAD, ipv4Route({ over: '192.0.2.1' }), ipv4Route({ over: '198.51.100.254' })],
      ipv6_route: [
        ipv6Route({ over: 'fe800000000000000000000000000001' }),
        ipv6Route({ over: '20010db8000000000000000000000001', flags: '00450003' }),
      ],
    }),
    ['192.0.2.1', '198.51.100.254', 'fe80::1', '2001:db8::1'],
  );
});

test('routes to networks over other routers have no gateway', (context) => {
  assert.deepEqual(
    gatewaysOf(context, {
      route: [
        IPV4_HEAD,
        ipv4Route({ to: '10.0.0.0', mask: '255.0.0.0', over: '192.0.2.1' }),
        ipv4Route({ to: '0.0.0.0', mask: '128.0.0.0', over: '192.0.2.2' }),
        ipv4Route({ to: '128.0.0.0', mask: '128.0.0.0', over: '192.0.2.3' }),
      ],
      ipv6_route: [
        ipv6Route({
          to: `20010db8${'0'.repeat(24)}`,
          length: '20',
          over: 'fe800000000000000000000000000001',
        }),
        ipv6Route({ length: '01', over: 'fe800000000000000000000000000002' }),
      ],
    }),
    [],
  );
});

test('default routes that lead nowhere, or straight to the link, have no gateway', (context) => {
  assert.deepEqual(
    gatewaysOf(context, {
      route: [
        IPV4_HEAD,
        ipv4Route({ flags: '0001' }),
        ipv4Route({ over: '192.0.2.1', flags: '0203' }),
        ipv4Route({ flags: '0200' }),
      ],
      ipv6_route: [
        ipv6Route({ flags: '00000001' }),
        ipv6Route({ flags: '00200200' }),
        ipv6Route({ over: 'fe800000000000000000000000000001', flags: '00200203' }),
      ],
    }),
    [],
  );
});

test('what is no table gives no gateways', (context) => {
  const lines = [
    '',
    ' ',
    'eth0',
    'eth0 x y z',
    `eth0\t00000000\tzz\t0003\t0\t0\t0\t00000000`,
    '\xff'.repeat(50),
  ];
  assert.deepEqual(gatewaysOf(context, { route: lines, ipv6_route: lines }), []);
});

test('default routes come first, so that the beginning of a huge table is enough', (context) => {
  const others = Array.from({ length: 20_000 }, (_, n) =>
    ipv4Route({ to: `10.${n >> 8}.${n & 255}.0`, mask: '255.255.255.0', over: '192.0.2.9' }),
  );
  assert.deepEqual(gatewaysOf(context, { route: [IPV4_HEAD, ipv4Route({ over: '192.0.2.1' }), ...others] }), [
    '192.0.2.1',
  ]);
});
