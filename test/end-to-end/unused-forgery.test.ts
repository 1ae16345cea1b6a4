import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { runLoad } from '../support/load.ts';
import { requireProgram } from '../support/programs.ts';
import { SPOOF_KINDS, sendSpoofed } from '../support/spoof.ts';
import { setUnusedStage, type UnusedStage } from '../support/unused-stage.ts';
import { waitFor } from '../support/wait.ts';

const DEADLINE_MS = 15_000;
/** A port of a service, and one of nobody. */
const [SERVICE, NOBODY] = [8000, 4444];

/** Sources of real peers, and what nobody has, so that nobody resets what is opened in its name. */
const FAMILIES = {
  ipv4: { real: '198.19.0.1', forged: '198.18.0.1', sources: '198.19.0.0/16', nobody: '198.18.0.0/16' },
  ipv6: {
    real: '2001:db8:5::1',
    forged: '2001:db8:6::1',
    sources: '2001:db8:5::/64',
    nobody: '2001:db8:6::/64',
  },
} as const;

type Family = keyof typeof FAMILIES;

async function setStage(context: TestContext, family: Family, sysctls: string[] = []): Promise<UnusedStage> {
  const stage = await setUnusedStage(context, { sysctls });
  const { network } = stage;
  network.addSources(FAMILIES[family].sources);
  const route = ['ip', 'route', 'add', FAMILIES[family].nobody, 'via', network.attacker[family]];
  assert.equal(network.run(network.sensor, route).code, 0);
  return stage;
}

/** Real peers knock after all of it, so that what came before would have its line as well. */
async function knockAfterwards({ network, honeyport }: UnusedStage, family: Family): Promise<void> {
  await runLoad({
    address: network.sensor[family],
    ports: NOBODY,
    count: 20,
    concurrency: 1,
    mode: 'fin',
    firstSource: FAMILIES[family].real,
    namespace: network.attacker.namespace,
    wallS: 60,
  });
  const real = () => honeyport.lines().filter((line) => peerOf(line)?.startsWith(prefixOf(family)));
  await waitFor(() => real().length >= 20, {
    deadlineMs: DEADLINE_MS,
    what: () => `20 real peers, got ${real().length}`,
  });
}

const prefixOf = (family: Family) => FAMILIES[family].real.slice(0, -1);
const peerOf = (line: string) => / src=(\S+)/.exec(line)?.[1];

/** Lines of anybody who is no real peer. */
function forgedLines({ honeyport }: UnusedStage, family: Family): string[] {
  return honeyport.lines().filter((line) => {
    const peer = peerOf(line);
    return peer !== undefined && !peer.startsWith(prefixOf(family));
  });
}

function cookiesSent({ network }: UnusedStage): number {
  const { stdout } = network.run(network.sensor, ['cat', '/proc/net/netstat']);
  const [names, values] = stdout
    .split('\n')
    .filter((row) => row.startsWith('TcpExt:'))
    .map((row) => row.split(' '));
  return Number(values![names!.indexOf('SyncookiesSent')]);
}

for (const family of ['ipv4', 'ipv6'] as const) {
  const { forged } = FAMILIES[family];

  test(`${family}: no forged segment of any kind, to a used port or an unused one, is an event`, async (context) => {
    const stage = await setStage(context, family);
    await stage.serve(SERVICE);
    for (const kind of SPOOF_KINDS) {
      for (const ports of [[1, 65_535], SERVICE, 65_535] as const) {
        const { sensor, attacker } = stage.network;
        const { sent } = await sendSpoofed({
          address: sensor[family],
          ports: typeof ports === 'number' ? ports : [ports[0], ports[1]],
          count: 5000,
          kind,
          firstSource: forged,
          sources: 5000,
          namespace: attacker.namespace,
        });
        assert.ok(sent > 4900, `${kind}: ${sent}`);
      }
    }
    await knockAfterwards(stage, family);
    assert.deepEqual(forgedLines(stage, family), []);
    // nor do they make a port one that is in use
    assert.doesNotMatch(stage.ruleset(), new RegExp(`elements = .*\\b${NOBODY}\\b`));
  });

  for (const flags of ['ack', 'psh,ack', 'fin,ack'] as const) {
    test(`${family}: 70,000 guesses of what completes a forged handshake, as ${flags}, complete none, and what only the answer tells does`, async (context) => {
      const stage = await setStage(context, family);
      const { sensor, attacker } = stage.network;
      const argv = [
        requireProgram('python3'),
        '-c',
        SWEEP,
        forged,
        sensor[family],
        `${NOBODY}`,
        flags,
        '70000',
      ];
      const { code, stdout, stderr } = stage.network.run(attacker, argv, { timeoutMs: 60_000 });
      assert.equal(code, 0, stderr);
      // one event, of the true number at the end: the handshake was to be had all the time
      const [guesses, told] = stdout.split('\n');
      assert.deepEqual([guesses, told], ['guessed 70000', 'told']);
      await knockAfterwards(stage, family);
      const forgedEvents = forgedLines(stage, family);
      assert.equal(forgedEvents.length, 1, forgedEvents.join('\n'));
    });
  }

  test(`${family}: who comes in by a cookie is withheld, with his true port`, async (context) => {
    const stage = await setStage(context, family, ['net.ipv4.tcp_syncookies=2']);
    await knockAfterwards(stage, family);
    const lines = stage.events(NOBODY);
    for (const line of lines) assert.match(line, / withheld .* decoy=unused id=\S+ reason=cookie$/);
  });

  test(`${family}: in a flood that has the kernel use cookies, nobody forged is an event, and nobody with a cookie a connect`, async (context) => {
    const sysctls = ['net.ipv4.tcp_syncookies=1', 'net.core.somaxconn=64', 'net.ipv4.tcp_max_syn_backlog=64'];
    const stage = await setStage(context, family, sysctls);
    const { sensor, attacker } = stage.network;
    const flood = sendSpoofed({
      address: sensor[family],
      ports: [1, 65_535],
      count: 60_000,
      rate: 20_000,
      firstSource: forged,
      sources: 60_000,
      namespace: attacker.namespace,
    });
    await waitFor(() => cookiesSent(stage) > 0, {
      deadlineMs: DEADLINE_MS,
      everyMs: 5,
      what: 'a flood in which the kernel sends cookies',
    });
    await knockAfterwards(stage, family);
    await flood;
    assert.deepEqual(forgedLines(stage, family), []);
    assert.ok(
      stage.events().some((line) => line.endsWith(' reason=cookie')),
      'nobody came in by a cookie',
    );
    for (const line of stage.events()) assert.match(line, / connect .* syn=| withheld .* reason=cookie$/);
  });
}

/**
 * A SYN, then guesses of the number by which the sensor answers it, from the same end; and then that number itself,
 * which nobody but who sees the answer knows.
 */
const SWEEP = `
import socket, struct, sys
source, destination, port, flags, count = sys.argv[1:]
family = socket.AF_INET6 if ':' in source else socket.AF_INET
FLAGS = {'fin': 1, 'psh': 8, 'ack': 16}
bits = sum(FLAGS[flag] for flag in flags.split(','))
ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
def fold(total):
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return total
def words(data):
    return sum(struct.unpack('!%dH' % (len(data) // 2), data))
def segment(seq, ack, flags):
    def pack(check): return struct.pack('!HHIIBBHHH', 40000, int(port), seq, ack, 5 << 4, flags, 65535, check, 0)
    return pack(~fold(words(ends) + 6 + 20 + words(pack(0))) & 0xffff)
if family == socket.AF_INET:
    kind, head = 0x0800, struct.pack('!BBHHHBBH', 69, 0, 40, 1, 0, 64, 6, 0) + ends
else:
    kind, head = 0x86dd, struct.pack('!IHBB', 6 << 28, 20, 6, 64) + ends
answers = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
answers.settimeout(10)
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
def send(*parts):
    raw.sendto(head + segment(*parts), (destination, 0))
send(1000, 0, 2)
told = None
while told is None:
    packet = answers.recv(2048)
    tcp = packet[len(head):]
    if len(tcp) >= 20 and tcp[13] == 0x12 and tcp[2:4] == struct.pack('!H', 40000):
        told = (struct.unpack('!I', tcp[4:8])[0] + 1) % 2**32
answers.close()
for guess in range(int(count)):
    # spread over all there are
    number = (guess * 2654435761 + 12345) % 2**32
    send(1001, number if number != told else 0, bits)
print('guessed', count)
send(1001, told, 16)
print('told')
`;
