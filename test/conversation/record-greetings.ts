/**
 * Records what real clients say first, into greetings.json. Run by hand, with the packages that it names:
 *
 *     node --import tsx test/conversation/record-greetings.ts
 *
 * Each client is sent to a listener on 127.0.0.1, from an empty directory of its own. It takes about five minutes, and
 * writes the file only when every client has said something.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { aptLine, missingPackages } from '../support/packages.ts';

/** A client and what its first bytes are to be guessed as. */
interface Client {
  readonly package: string;
  readonly guess: string;
  /** For sh, in a directory of its own; PORT is where the listener is, SPARE a port that is free. */
  readonly command: string;
  /** What the server says first, a character for each byte, to a client that waits for it. */
  readonly banner?: string;
  /** What the directory has in it. */
  readonly files?: (port: number) => Readonly<Record<string, string>>;
}

/** An entry of greetings.json. */
interface Greeting {
  readonly client: string;
  readonly command: string;
  readonly guess: string;
  /** In hexadecimal. */
  readonly bytes: string;
}

const MOST_BYTES = 512;
/** A client that has been silent for so long waits for an answer. */
const QUIET_MS = 300;
const DEADLINE_MS = 20_000;
/** Between SIGTERM and SIGKILL. */
const GRACE_MS = 2_000;
const TARGET = new URL('greetings.json', import.meta.url);

/** What clients need, besides their own packages. */
const OTHER_PACKAGES = ['gcc', 'xvfb', 'xauth'];

const NMAP = 'nmap -n -Pn -sT --unprivileged -p $PORT';

const FTP = '220 ready\r\n';
const SMTP = '220 mail.example ESMTP\r\n';
const POP3 = '+OK ready\r\n';
const IMAP = '* OK ready\r\n';
const VNC = 'RFB 003.008\n';
/** IAC DO TERMINAL-TYPE, IAC DO NAWS */
const TELNET = '\xff\xfd\x18\xff\xfd\x1f';
/** Protocol::HandshakeV10 */
const MYSQL_GREETING =
  '\x0a5.5.5-10.11.0\0\x01\0\0\0abcdefgh\0\xff\xf7\x08\x02\0\xff\x81\x15' +
  `${'\0'.repeat(10)}abcdefghijkl\0mysql_native_password\0`;
const MYSQL = `${String.fromCharCode(MYSQL_GREETING.length)}\0\0\0${MYSQL_GREETING}`;

const CLIENTS: readonly Client[] = [
  says('openssl', 'tls', 'openssl s_client -connect 127.0.0.1:$PORT'),
  says('openssl', 'tls', 'openssl s_client -tls1_2 -connect 127.0.0.1:$PORT'),
  says('curl', 'tls', 'curl --silent https://127.0.0.1:$PORT/'),
  says('curl', 'tls', 'curl --silent ftps://127.0.0.1:$PORT/'),
  says('wget', 'tls', 'wget --quiet --tries=1 https://127.0.0.1:$PORT/'),
  says('ncat', 'tls', 'ncat --ssl 127.0.0.1 $PORT'),

  says('curl', 'http', 'curl --silent http://127.0.0.1:$PORT/'),
  says('curl', 'http', 'curl --silent --head http://127.0.0.1:$PORT/'),
  says('curl', 'http', 'curl --silent --data a=b http://127.0.0.1:$PORT/login'),
  says('curl', 'http', 'curl --silent --request PUT --data a=b http://127.0.0.1:$PORT/a.jsp'),
  says('curl', 'http', 'curl --silent --request OPTIONS http://127.0.0.1:$PORT/'),
  says('curl', 'http', 'curl --silent --request PROPFIND http://127.0.0.1:$PORT/'),
  says('curl', 'http', 'curl --silent --proxy http://127.0.0.1:$PORT https://192.0.2.1/'),
  says('curl', 'http', 'curl --silent --proxy http://127.0.0.1:$PORT http://192.0.2.1/'),
  says('curl', 'http', 'curl --silent --http2-prior-knowledge http://127.0.0.1:$PORT/'),
  says('wget', 'http', 'wget --quiet --tries=1 http://127.0.0.1:$PORT/'),
  says('ncat', 'http', 'ncat --proxy 127.0.0.1:$PORT --proxy-type http 192.0.2.1 80'),
  says('lftp', 'http', "lftp -e 'set net:max-retries 1; ls; exit' http://127.0.0.1:$PORT"),

  says('curl', 'smtp', 'curl --silent smtp://127.0.0.1:$PORT/client.example', SMTP),
  says('swaks', 'smtp', 'swaks --server 127.0.0.1:$PORT --to a@example.org --helo client.example', SMTP),
  says('curl', 'pop3', 'curl --silent pop3://127.0.0.1:$PORT/', POP3),
  says('curl', 'imap', 'curl --silent imap://127.0.0.1:$PORT/', IMAP),
  says('sipsak', 'sip', 'sipsak --transport=tcp -s sip:guest@127.0.0.1:$PORT'),
  says('curl', 'rtsp', 'curl --silent rtsp://127.0.0.1:$PORT/'),
  says('curl', 'rtmp', 'curl --silent rtmp://127.0.0.1:$PORT/live/a'),
  says('ii', 'irc', 'ii -s 127.0.0.1 -p $PORT -n guest -i irc'),
  script('xmpp', 'xmpp-info'),

  says('openssh-client', 'ssh', 'ssh -F none -p $PORT guest@127.0.0.1'),
  says('curl', 'ssh', 'curl --silent --user guest:guest sftp://127.0.0.1:$PORT/'),
  says('inetutils-telnet', 'telnet', 'telnet 127.0.0.1 $PORT', TELNET),
  says('curl', 'telnet', 'curl --silent telnet://127.0.0.1:$PORT', TELNET),
  says(
    'freerdp2-x11',
    'rdp',
    'xvfb-run --auto-servernum xfreerdp /v:127.0.0.1:$PORT /u:guest /p:guest /cert:ignore',
  ),
  says(
    'freerdp2-x11',
    'rdp',
    'xvfb-run --auto-servernum xfreerdp /v:127.0.0.1:$PORT /u:guest /p:guest /sec:rdp',
  ),
  says('rdesktop', 'rdp', 'xvfb-run --auto-servernum rdesktop -u guest 127.0.0.1:$PORT'),
  says('tigervnc-viewer', 'vnc', 'xvfb-run --auto-servernum xtigervncviewer 127.0.0.1::$PORT', VNC),
  says('x11-utils', 'x11', 'xdpyinfo -display 127.0.0.1:$((PORT - 6000))'),
  says('adb', 'adb', 'adb -P $PORT devices'),
  says('adb', 'adb', 'adb -P $SPARE nodaemon server & sleep 1; adb -P $SPARE connect 127.0.0.1:$PORT; wait'),

  says('curl', 'socks', 'curl --silent --socks4 127.0.0.1:$PORT http://192.0.2.1/'),
  says('curl', 'socks', 'curl --silent --socks4a 127.0.0.1:$PORT http://example.org/'),
  says('curl', 'socks', 'curl --silent --socks5 127.0.0.1:$PORT http://192.0.2.1/'),
  says('curl', 'socks', 'curl --silent --socks5 guest:guest@127.0.0.1:$PORT http://192.0.2.1/'),
  says('ncat', 'socks', 'ncat --proxy 127.0.0.1:$PORT --proxy-type socks4 192.0.2.1 80'),
  says('ncat', 'socks', 'ncat --proxy 127.0.0.1:$PORT --proxy-type socks5 192.0.2.1 80'),
  says('curl', 'proxy-protocol', 'curl --silent --haproxy-protocol http://127.0.0.1:$PORT/'),
  { ...says('haproxy', 'proxy-protocol', 'haproxy -db -f haproxy.cfg'), files: haproxyFiles },
  says(
    'openvpn',
    'openvpn',
    'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=guest -keyout key -out cert && ' +
      'openvpn --client --dev null --nobind --proto tcp-client --remote 127.0.0.1 $PORT --ca cert --cert cert --key key',
  ),
  script('pptp', 'pptp-version'),

  says('smbclient', 'smb', 'smbclient -N -p $PORT -L 127.0.0.1'),
  says('smbclient', 'smb', 'smbclient -N -p $PORT -m NT1 --option="client min protocol=NT1" -L 127.0.0.1'),
  says('curl', 'smb', 'curl --silent --user guest:guest smb://127.0.0.1:$PORT/a/b'),
  says('curl', 'ftp', 'curl --silent ftp://127.0.0.1:$PORT/', FTP),
  says('lftp', 'ftp', "lftp -e 'set net:max-retries 1; ls; exit' ftp://127.0.0.1:$PORT", FTP),
  says('tnftp', 'ftp', 'tnftp ftp://127.0.0.1:$PORT/a', FTP),
  says('rsync', 'rsync', 'rsync rsync://127.0.0.1:$PORT/'),
  says('git', 'git', 'git ls-remote git://127.0.0.1:$PORT/a'),
  says(
    'git',
    'git',
    'git init --quiet && ' +
      'git -c user.name=guest -c user.email=guest@example.org commit --quiet --allow-empty --message=a && ' +
      'git push git://127.0.0.1:$PORT/a HEAD:refs/heads/a',
  ),
  says('rpcbind', 'rpc', 'rpcinfo -a 127.0.0.1.$((PORT / 256)).$((PORT % 256)) -T tcp 100003 3'),
  says(
    'python3-impacket',
    'msrpc',
    python(
      'from impacket.dcerpc.v5 import transport, epm',
      'rpc = transport.DCERPCTransportFactory("ncacn_ip_tcp:127.0.0.1[%s]" % PORT).get_dce_rpc()',
      'rpc.connect()',
      'rpc.bind(epm.MSRPC_UUID_PORTMAP)',
    ),
  ),
  says('ldap-utils', 'ldap', 'ldapsearch -x -H ldap://127.0.0.1:$PORT'),
  says('ldap-utils', 'ldap', 'ldapsearch -x -Z -H ldap://127.0.0.1:$PORT'),
  says('curl', 'ldap', 'curl --silent ldap://127.0.0.1:$PORT/'),
  { ...says('krb5-user', 'kerberos', 'KRB5_CONFIG=krb5.conf kinit guest@EXAMPLE.ORG'), files: kerberosFiles },
  says('bind9-dnsutils', 'dns', 'dig @127.0.0.1 -p $PORT +tcp example.org'),
  says('bind9-dnsutils', 'dns', 'dig @127.0.0.1 -p $PORT example.org AXFR'),
  says('bind9-dnsutils', 'dns', 'dig @127.0.0.1 -p $PORT example.org IXFR=1'),
  says('knot-dnsutils', 'dns', 'kdig @127.0.0.1 -p $PORT +tcp example.org'),

  says('redis-tools', 'redis', 'redis-cli -p $PORT ping'),
  says('redis-tools', 'redis', 'redis-cli -3 -p $PORT ping'),
  says('libmemcached-tools', 'memcached', 'memcstat --servers=127.0.0.1:$PORT'),
  says('libmemcached-tools', 'memcached', 'memcstat --binary --servers=127.0.0.1:$PORT'),
  says('postgresql-client', 'postgres', 'psql "host=127.0.0.1 port=$PORT user=guest"'),
  says(
    'postgresql-client',
    'postgres',
    'psql "host=127.0.0.1 port=$PORT user=guest sslmode=disable gssencmode=disable"',
  ),
  says('mariadb-client', 'mysql', 'mariadb --host=127.0.0.1 --port=$PORT --user=guest', MYSQL),
  says('freetds-bin', 'ms-sql', 'tsql -H 127.0.0.1 -p $PORT -U guest -P guest'),
  says(
    'python3-pymongo',
    'mongodb',
    python(
      // it tells the server which kernel it runs on
      'import platform',
      'platform.release = lambda: "6.1.0"',
      'import pymongo',
      'client = pymongo.MongoClient("127.0.0.1", PORT, serverSelectionTimeoutMS=5000)',
      'client.admin.command("ping")',
    ),
  ),
  says(
    'python3-cassandra',
    'cassandra',
    python('from cassandra.cluster import Cluster', 'Cluster(["127.0.0.1"], port=PORT).connect()'),
  ),
  says(
    'python3-kazoo',
    'zookeeper',
    python('from kazoo.client import KazooClient', 'KazooClient("127.0.0.1:%s" % PORT).start(5)'),
  ),
  says('kcat', 'kafka', 'kcat -b 127.0.0.1:$PORT -L'),

  says('mosquitto-clients', 'mqtt', 'mosquitto_pub -h 127.0.0.1 -p $PORT -t a -m b'),
  says('mosquitto-clients', 'mqtt', 'mosquitto_pub -V mqttv31 -h 127.0.0.1 -p $PORT -t a -m b'),
  says('mosquitto-clients', 'mqtt', 'mosquitto_pub -V mqttv5 -h 127.0.0.1 -p $PORT -t a -m b'),
  says('curl', 'mqtt', 'curl --silent mqtt://127.0.0.1:$PORT/a'),
  says('amqp-tools', 'amqp', 'amqp-get --url=amqp://127.0.0.1:$PORT -q a'),
  says(
    'python3-stomp',
    'stomp',
    python('import stomp', 'stomp.Connection([("127.0.0.1", PORT)]).connect("guest", "guest", wait=True)'),
  ),
  script('jdwp', 'jdwp-version'),
  script('weblogic-t3', 'weblogic-t3-info'),
  script('ajp', 'ajp-methods'),
  script('giop', 'giop-info'),
  says(
    'distcc',
    'distcc',
    'mkdir state && echo >a.c && ' +
      'DISTCC_DIR=state DISTCC_HOSTS=127.0.0.1:$PORT DISTCC_FALLBACK=0 distcc gcc -c a.c -o a.o',
  ),

  says('mbpoll', 'modbus', 'mbpoll -1 -m tcp -p $PORT 127.0.0.1'),
  script('modbus', 'modbus-discover'),
  script('s7', 's7-info'),
  script('iec-104', 'iec-identify'),
  script('ethernet-ip', 'enip-info'),
  script('bitcoin', 'bitcoin-info'),

  // what several protocols say, or one that has no word here: no other word may take it
  says('curl', 'unknown', 'curl --silent --user guest:guest ftp://127.0.0.1:$PORT/', FTP),
  says('curl', 'unknown', 'curl --silent gopher://127.0.0.1:$PORT/1/'),
  says('curl', 'unknown', 'curl --silent dict://127.0.0.1:$PORT/d:word'),
];

process.exitCode = await main();

async function main(): Promise<number> {
  const missing = missingPackages([...new Set(CLIENTS.map((client) => client.package)), ...OTHER_PACKAGES]);
  if (missing.length > 0) return complain(`these packages are missing:\n  ${aptLine(missing)}`);
  const greetings: Greeting[] = [];
  const silent: string[] = [];
  for (const client of CLIENTS) {
    const bytes = await record(client);
    process.stderr.write(`${bytes.length} bytes: ${client.command}\n`);
    if (bytes.length === 0) silent.push(client.command);
    greetings.push(greetingOf(client, bytes));
  }
  if (silent.length > 0)
    return complain(`nothing is written, for these said nothing:\n  ${silent.join('\n  ')}`);
  writeFileSync(TARGET, `${JSON.stringify(greetings, undefined, 2)}\n`);
  return 0;
}

function complain(text: string): number {
  process.stderr.write(`record-greetings: ${text}\n`);
  return 1;
}

function greetingOf(client: Client, bytes: Buffer): Greeting {
  const { command, guess } = client;
  const name = `${client.package} ${upstreamVersion(client.package)}`;
  return { client: name, command, guess, bytes: bytes.toString('hex') };
}

/** A package's version without what Debian adds to it. */
function upstreamVersion(name: string): string {
  const { stdout } = spawnSync('dpkg', ['--status', name], { encoding: 'utf8' });
  return /^Version: (?:\d+:)?([^-+~\n]+)/m.exec(stdout)![1]!;
}

/** The first bytes that a client sends; none when it has sent none before the deadline. */
async function record(client: Client): Promise<Buffer> {
  const directory = mkdtempSync(join(tmpdir(), 'honeyport-greeting-'));
  const server = await listen();
  try {
    const { port } = server.address() as AddressInfo;
    const files = Object.entries(client.files?.(port) ?? {});
    for (const [name, text] of files) writeFileSync(join(directory, name), text);
    const stop = start(client.command, directory, port, await sparePort());
    const bytes = await firstBytes(server, Buffer.from(client.banner ?? '', 'latin1'));
    await stop();
    return bytes;
  } finally {
    server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function listen(): Promise<Server> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function sparePort(): Promise<number> {
  const server = await listen();
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a command in a process group of its own, with no settings of whoever records; the result ends the group. */
function start(command: string, directory: string, port: number, spare: number): () => Promise<void> {
  const child = spawn('sh', ['-c', command], {
    cwd: directory,
    detached: true,
    // telnet ends with its input
    stdio: ['pipe', 'ignore', 'ignore'],
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: directory,
      TMPDIR: directory,
      USER: 'guest',
      LANG: 'C.UTF-8',
      TERM: 'dumb',
      PORT: `${port}`,
      SPARE: `${spare}`,
    },
  });
  const group = -child.pid!;
  return async () => {
    signalGroup(group, 'SIGTERM');
    for (let waitedMs = 0; waitedMs < GRACE_MS && signalGroup(group, 0); waitedMs += 50) await delay(50);
    signalGroup(group, 'SIGKILL');
  };
}

/** Whether there is such a group. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(group, signal);
    return true;
  } catch {
    return false;
  }
}

/** Of the first connection that has any; a scanner may connect before that only to look whether it can. */
function firstBytes(server: Server, banner: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const sockets: Socket[] = [];
    let speaker: Socket | undefined;
    let bytes = Buffer.alloc(0);
    let timer = setTimeout(finish, DEADLINE_MS);
    server.on('connection', (socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      socket.on('data', (data) => hear(socket, data));
      socket.write(banner);
    });

    function hear(socket: Socket, data: Buffer): void {
      speaker ??= socket;
      if (speaker !== socket) return;
      bytes = Buffer.concat([bytes, data]).subarray(0, MOST_BYTES);
      clearTimeout(timer);
      timer = setTimeout(finish, bytes.length < MOST_BYTES ? QUIET_MS : 0);
    }

    function finish(): void {
      for (const socket of sockets) socket.destroy();
      resolve(bytes);
    }
  });
}

function says(name: string, guess: string, command: string, banner = ''): Client {
  return { package: name, guess, command, banner };
}

/** One of nmap's scripts, which the plus makes run whatever the port. */
function script(guess: string, name: string): Client {
  return says('nmap', guess, `${NMAP} --script +${name} 127.0.0.1`);
}

function python(...lines: readonly string[]): string {
  return `python3 -c '${['import os', 'PORT = int(os.environ["PORT"])', ...lines].join('; ')}'`;
}

function haproxyFiles(port: number): Record<string, string> {
  const lines = [
    'defaults',
    ' mode tcp',
    ' timeout connect 2s',
    ' timeout client 2s',
    ' timeout server 2s',
    'listen greeting',
    ' bind unix@haproxy.socket',
    ` server recorder 127.0.0.1:${port} check inter 300 send-proxy-v2`,
  ];
  return { 'haproxy.cfg': `${lines.join('\n')}\n` };
}

function kerberosFiles(port: number): Record<string, string> {
  const lines = [
    '[libdefaults]',
    ' dns_lookup_kdc = false',
    ' udp_preference_limit = 1',
    '[realms]',
    ' EXAMPLE.ORG = {',
    `  kdc = 127.0.0.1:${port}`,
    ' }',
  ];
  return { 'krb5.conf': `${lines.join('\n')}\n` };
}
