import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startHoneyport } from '../support/listener.ts';
import { createNetwork } from '../support/namespaces.ts';
import { waitFor } from '../support/wait.ts';

const PORT = 4450;

/** One SYN with data, which asks for no cookie and brings none: TCP Fast Open where the host demands no proof. */
const SPOOF = `
import socket, struct, sys
source, destination, port = '198.51.100.77', sys.argv[1], int(sys.argv[2])
def checksum(data):
    data += b'\\0' * (len(data) % 2)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
addresses = socket.inet_aton(source) + socket.inet_aton(destination)
options, data = b'\\x02\\x04\\x05\\xb4\\x22\\x02\\x01\\x01', b'GET / HTTP/1.0\\r\\n\\r\\n'
def segment(check):
    return struct.pack('!HHIIBBHHH', 1234, port, 1, 0, 7 << 4, 2, 65535, check, 0) + options + data
tcp = segment(checksum(addresses + struct.pack('!BBH', 0, 6, len(segment(0))) + segment(0)))
ip = struct.pack('!BBHHHBBH', 69, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + addresses
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(ip + tcp, (destination, 0))
`;

test('where the host accepts Fast Open without a cookie, a forged SYN with data is still no connection', async (context) => {
  const network = createNetwork();
  context.after(() => network.dispose());
  network.run(network.sensor, ['sysctl', '-qw', 'net.ipv4.tcp_fastopen=1539']);
  network.run(network.sensor, ['ip', 'route', 'add', '198.51.100.0/24', 'via', network.attacker.ipv4]);
  const honeyport = await startHoneyport({
    config: `decoys: [{ ports: ${PORT} }]\nlog: { file: { path: LOG }, console: off }\n`,
    namespace: network.sensor.namespace,
  });
  context.after(() => honeyport.stop());
  const argv = ['/usr/bin/python3', '-c', SPOOF, network.sensor.ipv4, `${PORT}`];
  assert.equal(network.run(network.attacker, argv).code, 0);
  // a real knock after it proves that the listener has seen what came before
  await network.connect({ from: network.attacker.ipv4, to: network.sensor.ipv4, port: PORT });
  await honeyport.waitForLine(new RegExp(` src=${network.attacker.ipv4} `));
  await waitFor(() => honeyport.lines().length === 2, {
    deadlineMs: 5000,
    what: () => honeyport.lines().join('\n'),
  });
});
