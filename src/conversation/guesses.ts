/** A protocol that can be told from the first bytes a peer sends. */
export interface Guess {
  /** The value of `guess=` in the log. */
  readonly word: string;
  /** What it is, as docs/guesses.md says. */
  readonly what: string;
  /** How its peers begin, and those of no other protocol do; a character is a byte. */
  readonly greetings: readonly RegExp[];
}

/** A BER length, in its short and long forms: ITU-T X.690, 8.1.3. */
const BER_LENGTH = '(?:[\\0-\\x7f]|\\x81.|\\x82..|\\x83...|\\x84....)';
/** A BER integer of at most four bytes. */
const BER_INTEGER = '\\x02(?:\\x01.|\\x02..|\\x03...|\\x04....)';

/** RFC 1928, 3: methods of authentication, assigned ones from 0 and private ones from 0x80. */
const SOCKS5_METHOD = '[\\0-\\x09\\x80-\\xfe]';
/** No client that is known offers as many. */
const MOST_SOCKS5_METHODS = 10;

/**
 * Every guess: web, mail and calls, remote access and proxies, files and directories, databases, messages, calls of
 * programs, industry, the rest.
 *
 * The patterns exclude each other, so that their order has no meaning. All are anchored, and none repeats what it
 * repeats in another way, so that no peer can make one slow. A comment says which document the bytes are from; without
 * one they are those of the protocol's own clients.
 */
export const GUESSES: readonly Guess[] = [
  {
    word: 'tls',
    what: 'TLS or SSL, as for HTTPS',
    greetings: [
      // RFC 8446, 5.1 and 4.1.2: a record of a handshake, of at most 2^14 bytes, with a client hello
      /^\x16\x03[\0-\x04](?:$|[\0-\x40](?:$|.(?:$|\x01)))/s,
      // RFC 6101, E.1: the client hello of SSL 2, which offers newer versions
      /^[\x80-\x8f].\x01(?:\x03[\0-\x03]|\0\x02)\0.\0[\0\x10\x20]\0[\x10-\x20]/s,
    ],
  },
  {
    word: 'http',
    what: 'HTTP: 0.9, 1 and 2, WebDAV, requests to a proxy',
    greetings: [
      // RFC 9112, 3, and RFC 9113, 3.4, whose preface is such a line, too
      /^[A-Z][A-Z-]{1,31} [^ \r\n]+ HTTP\/\d/,
      // before its version is there only a path tells a request from those of RTSP and SIP
      /^(?:GET|HEAD|POST|PUT|DELETE|PATCH|TRACE) (?:\/|https?:\/\/)(?![^ \r\n]* (?:RTSP|SIP)\/)/,
    ],
  },
  {
    // RFC 5321, 4.1.1
    word: 'smtp',
    what: 'SMTP: mail to a server',
    greetings: [/^(?:EHLO|HELO)(?: \S|\r\n)/i, /^MAIL FROM: ?</i],
  },
  {
    // RFC 1939, 7, RFC 2449, RFC 2595
    word: 'pop3',
    what: 'POP3: mail from a server',
    greetings: [/^(?:CAPA|STLS|UIDL|APOP \S+ [0-9a-f]{32})\r?\n/i],
  },
  {
    // RFC 9051, 6, after a tag as clients and people choose it
    word: 'imap',
    what: 'IMAP: mail on a server',
    greetings: [
      /^(?:[a-z]{0,4}\d{1,8}|[a-z]|\.) (?:CAPABILITY\r?\n|STARTTLS\r?\n|LOGIN \S+ \S|AUTHENTICATE [\w-]+\r?\n)/i,
    ],
  },
  {
    // RFC 3261, 7.1
    word: 'sip',
    what: 'SIP: telephone calls',
    greetings: [
      /^[A-Z]{3,31} [^ \r\n]+ SIP\/2/,
      /^(?:OPTIONS|INVITE|REGISTER|SUBSCRIBE|MESSAGE) sips?:(?![^ \r\n]* HTTP\/)/,
    ],
  },
  {
    // RFC 2326, 6.1
    word: 'rtsp',
    what: 'RTSP: cameras and other streams',
    greetings: [
      /^[A-Z_]{3,31} [^ \r\n]+ RTSP\/\d/,
      /^(?:OPTIONS|DESCRIBE|SETUP|PLAY|ANNOUNCE) rtsps?:\/\/(?![^ \r\n]* HTTP\/)/,
    ],
  },
  {
    // Adobe's specification of RTMP, 5.2: version 3, a time, zero, random bytes
    word: 'rtmp',
    what: 'RTMP: streams of video',
    greetings: [/^\x03.{4}\0{4}(?!\0{8}).{64}/s],
  },
  {
    word: 'irc',
    what: 'IRC: chat, and the control of bots',
    greetings: [
      // RFC 1459, 4.1
      /^(?:PASS [^ \r\n]+\r?\n)?NICK :?[^ \r\n]+\r?\n/i,
      /^USER [^ \r\n]+ [^ \r\n]+ [^ \r\n]+ :/i,
      // https://ircv3.net/specs/extensions/capability-negotiation
      /^CAP LS(?: 30\d)?\r?\n/i,
    ],
  },
  {
    // RFC 6120, 4.2
    word: 'xmpp',
    what: 'XMPP (Jabber): chat',
    greetings: [/^(?:<\?xml [^>]*>\s*)?<stream:stream\s/],
  },
  {
    // RFC 4253, 4.2
    word: 'ssh',
    what: 'SSH',
    greetings: [/^SSH-/],
  },
  {
    // RFC 854, and IANA's list of options; what follows tells it from UTF-16 with a byte order mark
    word: 'telnet',
    what: 'Telnet, where it negotiates options',
    greetings: [/^\xff[\xfb-\xfe][\0-\x31](?:$|[\xff\t\r\n -~])/],
  },
  {
    // MS-RDPBCGR, 2.2.1.1: an X.224 connection request
    word: 'rdp',
    what: 'RDP: Windows Remote Desktop',
    greetings: [
      // with a cookie, or an offer of security
      /^\x03\0.{3}\xe0\0\0..\0(?:Cookie: |\x01[\0-\x0f]\x08\0)/s,
      // with neither, as the oldest clients send it
      /^\x03\0\0\x0b\x06\xe0\0\0..\0$/s,
    ],
  },
  {
    // RFC 6143, 7.1.1
    word: 'vnc',
    what: 'VNC (RFB): remote desktop',
    greetings: [/^RFB 0\d\d\./],
  },
  {
    // X Window System Protocol, 8: the order of bytes, and version 11.0
    word: 'x11',
    what: 'X11: the X Window System',
    greetings: [/^(?:l\0\x0b\0\0\0|B\0\0\x0b\0\0)/],
  },
  {
    word: 'adb',
    what: 'ADB: the Android Debug Bridge',
    greetings: [
      // https://android.googlesource.com/platform/packages/modules/adb: protocol.txt, to a device
      /^CNXN[\0\x01]\0\0\x01/,
      // and OVERVIEW.TXT there, to the server on a developer's machine
      /^[0-9a-f]{4}host[:-]/i,
    ],
  },
  {
    word: 'socks',
    what: 'SOCKS 4, 4A and 5: a proxy',
    greetings: [
      // https://www.openssh.com/txt/socks4.protocol: to a port and an address, for a user
      /^\x04[\x01\x02](?!\0\0).{6}[ -~]{0,255}\0/s,
      // RFC 1928, 3: methods, then nothing until the server chooses, or a hasty request or, RFC 1929, a password
      new RegExp(`^\\x05(?:${socks5Methods()})(?:$|\\x05[\\x01-\\x03]\\0[\\x01\\x03\\x04]|\\x01[^\\0])`),
    ],
  },
  {
    // https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, 2.1 and 2.2
    word: 'proxy-protocol',
    what: 'the PROXY header of a load balancer, versions 1 and 2',
    greetings: [/^PROXY (?:TCP[46] |UNKNOWN)/, /^\r\n\r\n\0\r\nQ/],
  },
  {
    // P_CONTROL_HARD_RESET_CLIENT_V2, without tls-auth, whose signature could be anything
    word: 'openvpn',
    what: 'OpenVPN over TCP',
    greetings: [/^\0\x0e\x38.{8}\0{5}$/s],
  },
  {
    // RFC 2637, 1.4 and 2.1: its magic cookie
    word: 'pptp',
    what: 'PPTP: a VPN',
    greetings: [/^\0\x9c\0\x01\x1a\x2b\x3c\x4d/],
  },
  {
    word: 'smb',
    what: 'SMB: Windows file sharing, also over NetBIOS',
    greetings: [
      // MS-SMB2, 2.1 and 2.2.1, MS-CIFS, 2.2.3.1
      /^\0[\0\x01]..[\xfe\xff]SMB/s,
      // RFC 1002, 4.3.2: the session that it has on port 139
      /^\x81\0\0\x44\x20[A-P]{2}/,
    ],
  },
  {
    // RFC 959, RFC 2389, RFC 4217; of other users a POP3 client says the same
    word: 'ftp',
    what: 'FTP: file transfer',
    greetings: [/^(?:USER (?:anonymous|ftp)|AUTH (?:TLS|SSL)|FEAT|SYST|PASV|EPSV|OPTS UTF8 ON)\r?\n/i],
  },
  {
    word: 'rsync',
    what: 'rsync, its daemon',
    greetings: [/^@RSYNCD:/],
  },
  {
    // gitprotocol-pack(5)
    word: 'git',
    what: 'Git, its daemon',
    greetings: [/^[0-9a-f]{4}git-(?:upload-pack|receive-pack|upload-archive) \//i],
  },
  {
    // RFC 5531, 9 and 11: a call, version 2, in one fragment, of a program below 0x70000
    word: 'rpc',
    what: 'ONC RPC: portmapper and NFS',
    greetings: [/^\x80\0.{6}\0{7}\x02\0[\x01-\x06]/s],
  },
  {
    // DCE 1.1 (C706), 12.6.3.1: bind, version 5.0, little-endian
    word: 'msrpc',
    what: 'DCE/RPC: services of Windows, the endpoint mapper',
    greetings: [/^\x05\0\x0b.\x10\0\0\0/s],
  },
  {
    // RFC 4511, 4.2, 4.5.1 and 4.12: bind, search, extended
    word: 'ldap',
    what: 'LDAP: a directory',
    greetings: [
      new RegExp(`^0${BER_LENGTH}${BER_INTEGER}\`${BER_LENGTH}\\x02\\x01[\\x02\\x03]\\x04`, 's'),
      new RegExp(`^0${BER_LENGTH}${BER_INTEGER}(?:c${BER_LENGTH}\\x04|w${BER_LENGTH}\\x80)`, 's'),
    ],
  },
  {
    // RFC 4120, 5.4.1 and 7.2.2: AS-REQ and TGS-REQ, version 5
    word: 'kerberos',
    what: 'Kerberos 5: logins to a domain',
    greetings: [new RegExp(`^\\0\\0..[jl]${BER_LENGTH}0${BER_LENGTH}\\xa1\\x03\\x02\\x01\\x05`, 's')],
  },
  {
    // RFC 1035, 4.1.1 and 4.2.2, RFC 1995: one question, up to its name; also of a notify or an update
    word: 'dns',
    what: 'DNS over TCP, as for transfers of zones',
    greetings: [
      /^\0[\x11-\xff]..[\0-\x07\x20-\x2f][\0\x10\x20\x30]\0\x01\0\0\0[\0\x01]\0[\0-\x02][\0-\x3f]/s,
    ],
  },
  {
    word: 'redis',
    what: 'Redis, in arrays (RESP) or as typed',
    greetings: [
      // https://redis.io/docs/latest/develop/reference/protocol-spec: an array of strings
      /^\*[1-9]\d{0,6}\r\n\$\d/,
      // inline commands that no other server has
      /^(?:INFO(?: \w+)?|DBSIZE|BGSAVE|FLUSHALL|FLUSHDB|COMMAND|HELLO [23]|CLIENT LIST|MODULE LIST)\r?\n/i,
      /^(?:KEYS|CONFIG GET|CONFIG SET|MODULE LOAD|SLAVEOF|REPLICAOF) [^\r\n]+\r?\n/i,
      // ClamAV has it, too, but its clients say it otherwise
      /^PING\r\n$/,
    ],
  },
  {
    word: 'memcached',
    what: 'memcached, text and binary',
    greetings: [
      // https://github.com/memcached/memcached/blob/master/doc/protocol.txt; get is a command of Redis, too
      /^(?:stats(?: [a-z]+)?|version|flush_all(?: \d+)?|gets [^ \r\n]+|(?:incr|decr) [^ \r\n]+ \d+)\r\n/,
      /^(?:set|add|replace|append|prepend) [^ \r\n]+ \d+ -?\d+ \d+\r\n/,
      // binary: 24 bytes with the lengths of key, extras and body, and of the body only where there is no key
      /^\x80[\0-\x4f]\0\0[\0\x04\x08\x14]\0{4}[\0-\x0f].{14}/s,
      /^\x80[\0-\x4f]\0[\x01-\xfa][\0\x04\x08\x14]\0{4}[\0-\x0f](?!\0\0).{14}/s,
    ],
  },
  {
    word: 'postgres',
    what: 'PostgreSQL',
    greetings: [
      // https://www.postgresql.org/docs/current/protocol-message-formats.html: SSLRequest, GSSENCRequest, CancelRequest
      /^\0\0\0(?:\x08\x04\xd2\x16[\x2f\x30]|\x10\x04\xd2\x16\x2e)/,
      // StartupMessage, of version 3, and its first parameter
      /^\0\0[\0-\x27].\0\x03\0[\0-\x02][a-z_]{2}/s,
    ],
  },
  {
    // https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets.html: the second packet
    // of a login, with 23 reserved bytes, of which MariaDB uses four
    word: 'mysql',
    what: 'MySQL and MariaDB, where the decoy has greeted like one',
    greetings: [/^..\0\x01.{8}[^\0]\0{19}.{4}/s],
  },
  {
    // MS-TDS, 2.2.3.1 and 2.2.6.5: PRELOGIN, whose first option is the version
    word: 'ms-sql',
    what: 'Microsoft SQL Server (TDS)',
    greetings: [/^\x12\x01[\0\x01].\0\0.\0\0\0.\0\x06/s],
  },
  {
    // a connect packet of version 300 to 319
    word: 'oracle',
    what: 'Oracle Database (TNS)',
    greetings: [/^[\0-\x07].\0\0\x01.\0\0\x01[\x2c-\x3f]\x01[\x2c-\x3f]/s],
  },
  {
    // https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol: OP_QUERY, OP_COMPRESSED, OP_MSG, no answer
    word: 'mongodb',
    what: 'MongoDB',
    greetings: [/^.{3}\0.{4}(?:\0{4}|\xff{4})[\xd4\xdc\xdd]\x07\0\0/s],
  },
  {
    // https://cassandra.apache.org/doc/latest/cassandra/reference/native-protocol.html, 2: OPTIONS and STARTUP
    word: 'cassandra',
    what: 'Apache Cassandra (CQL)',
    greetings: [/^[\x03-\x06\x41\x42][\0\x10]..(?:\x05\0{4}$|\x01\0\0..\0.\0\x0bCQL_VERSION)/s],
  },
  {
    word: 'zookeeper',
    what: 'Apache ZooKeeper',
    greetings: [
      // a new session, whose password has 16 bytes
      /^\0\0\0[\x2c\x2d]\0{4}.{20}\0\0\0\x10/s,
      // https://zookeeper.apache.org/doc/current/zookeeperAdmin.html: its words of four letters, but for common ones
      /^(?:ruok|srvr|mntr|envi|isro|crst|srst|wch[scp])\r?\n?$/,
    ],
  },
  {
    // https://kafka.apache.org/protocol: Metadata or ApiVersions, an early request, the client's name or none
    word: 'kafka',
    what: 'Apache Kafka',
    greetings: [/^\0\0..\0[\x03\x12]\0[\0-\x0f]\0...(?:\xff\xff|\0\0|\0[^\0][!-~])/s],
  },
  {
    // MQTT 5.0, 3.1; MQTT 3.1 had a longer name
    word: 'mqtt',
    what: 'MQTT: messages of devices',
    greetings: [/^\x10[\x80-\xff]{0,3}[\0-\x7f]\0(?:\x04MQTT|\x06MQIsdp)/],
  },
  {
    // AMQP 0-9-1, 4.2.2, and AMQP 1.0, 2.2
    word: 'amqp',
    what: 'AMQP: RabbitMQ and other brokers',
    greetings: [/^AMQP[\0-\x03]/],
  },
  {
    // https://stomp.github.io/stomp-specification-1.2.html
    word: 'stomp',
    what: 'STOMP: message brokers',
    greetings: [/^(?:STOMP|CONNECT)\r?\n[a-z-]+:/],
  },
  {
    // https://docs.oracle.com/en/java/javase/21/docs/specs/rmi/protocol.html, 10.2
    word: 'java-rmi',
    what: 'Java RMI, as of JMX',
    greetings: [/^JRMI\0[\x01\x02]/],
  },
  {
    // https://docs.oracle.com/en/java/javase/21/docs/specs/serialization/protocol.html, 6.4.2
    word: 'java-object',
    what: 'a serialised Java object, as in attacks on Java servers',
    greetings: [/^\xac\xed\0\x05/],
  },
  {
    // https://docs.oracle.com/en/java/javase/21/docs/specs/jdwp/jdwp-spec.html
    word: 'jdwp',
    what: 'JDWP: the debugger of Java',
    greetings: [/^JDWP-Handshake/],
  },
  {
    word: 'weblogic-t3',
    what: 'T3: Oracle WebLogic',
    greetings: [/^t3s? \d{1,2}\.\d[^\n]*\n/],
  },
  {
    // https://tomcat.apache.org/connectors-doc/ajp/ajpv13a.html: a ping, or a request that was HTTP
    word: 'ajp',
    what: 'AJP: a web server to Tomcat',
    greetings: [/^\x12\x34\0\x01\x0a$/, /^\x12\x34..\x02[\x01-\x1c\xff]\0.HTTP\//s],
  },
  {
    // CORBA 3.0, 15.4.1
    word: 'giop',
    what: 'GIOP: CORBA',
    greetings: [/^GIOP\x01[\0-\x03]/],
  },
  {
    word: 'json-rpc',
    what: 'JSON-RPC without HTTP: miners, wallets',
    greetings: [
      // https://www.jsonrpc.org/specification
      /^\{(?=.*"jsonrpc"\s?:).*"method"\s?:/s,
      // what miners call, often without a version
      /^\{.*"method"\s?:\s?"(?:mining\.|eth_)/s,
    ],
  },
  {
    word: 'distcc',
    what: 'distcc: distributed compilation',
    greetings: [/^DIST0000000[1-3]ARGC/],
  },
  {
    // MODBUS Messaging on TCP/IP, 3.1: one request, as long as those of its function are
    word: 'modbus',
    what: 'Modbus: industrial controllers',
    greetings: [/^..\0\0\0(?:\x06.[\x01-\x06].{4}|\x02.[\x07\x0b\x0c\x11]|\x05.\x2b\x0e[\x01-\x04].)$/s],
  },
  {
    // RFC 1006, and RFC 905, 13.3: a connection request to an S7 CPU, by kind and slot or by its name
    word: 's7',
    what: 'S7: Siemens controllers',
    greetings: [/^\x03\0.{3}\xe0\0\0...(?:\xc0\x01.|\xc1\x02..)*\xc2(?:\x02[\x01-\x03]|.SIMATIC)/s],
  },
  {
    // IEC 60870-5-104, 5.3: start, stop or test of the transfer
    word: 'iec-104',
    what: 'IEC 60870-5-104: power grids',
    greetings: [/^h\x04[\x07\x13\x43]\0\0\0/],
  },
  {
    // CIP volume 2, 2-3 and 2-4: ListIdentity and RegisterSession, before there is a session
    word: 'ethernet-ip',
    what: 'EtherNet/IP: industrial controllers',
    greetings: [/^(?:c\0\0\0|e\0\x04\0)\0{8}.{8}\0{4}/s],
  },
  {
    // https://developer.bitcoin.org/reference/p2p_networking.html: main and test network, a command padded with zeros
    word: 'bitcoin',
    what: 'Bitcoin, its network of nodes',
    greetings: [/^(?:\xf9\xbe\xb4\xd9|\x0b\x11\x09\x07)[a-z]{3,11}\0/],
  },
  {
    // https://www.bittorrent.org/beps/bep_0003.html
    word: 'bittorrent',
    what: 'BitTorrent, between peers',
    greetings: [/^\x13BitTorrent protocol/],
  },
  {
    // PJL Technical Reference Manual, 2: the universal exit language
    word: 'pjl',
    what: 'PJL: printers',
    greetings: [/^\x1b%-12345X/],
  },
];

/** A count and as many methods, for every count; a method that every client has comes first. */
function socks5Methods(): string {
  const counts = Array.from({ length: MOST_SOCKS5_METHODS }, (_, index) => index + 1);
  return counts
    .map((n) => `\\x${n.toString(16).padStart(2, '0')}[\\0-\\x02]${SOCKS5_METHOD}{${n - 1}}`)
    .join('|');
}
