import { FACILITIES, SYSLOG_FORMATS } from '../format/syslog.ts';
import { absolutePath, DEFAULTS, filePath, mapping, orOff, type SchemaNode } from './schema-nodes.ts';

const logFile = mapping('a mapping with the keys path and mode', {
  path: {
    ...absolutePath,
    title: 'Log file',
    description: 'Absolute path of the log, the file that fail2ban reads.',
    default: DEFAULTS.logPath,
    examples: [DEFAULTS.logPath],
  },
  mode: {
    title: 'Permissions',
    description: 'Permission bits that the log is made with, in octal and in quotes.',
    default: DEFAULTS.logMode,
    examples: [DEFAULTS.logMode],
    type: 'string',
    pattern: '^0?[0-7]{3}$',
    expected: 'octal permission bits in quotes such as "0640"',
  },
});

/** What of an address the schema can say; syslog.ts reads the rest. */
const receiverAddress: SchemaNode = {
  title: 'Address',
  description:
    'Where events are sent: udp, tcp or tls with host and port, or unix with the path of a stream socket.',
  examples: ['tls://siem.example:6514', 'udp://[2001:db8::5]:514', 'unix:///run/honeyport/syslog.sock'],
  type: 'string',
  pattern: '^(?:udp|tcp|tls|unix)://[\\x21-\\x7e]{1,263}$',
  expected: 'a receiver such as tls://siem.example:6514 or unix:///run/honeyport/syslog.sock',
};

const receiverTls = mapping('a mapping with the keys ca, certificate, key and name', {
  ca: {
    ...filePath,
    title: 'Authorities',
    description:
      "PEM file of the authorities that may have signed the receiver's certificate. Without it, those that this host trusts.",
    examples: ['/etc/honeyport/siem-ca.pem'],
    expected: 'an absolute path such as /etc/honeyport/siem-ca.pem',
  },
  certificate: {
    ...filePath,
    title: 'Client certificate',
    description: 'PEM file of the certificate that honeyport shows to the receiver.',
    examples: ['/etc/honeyport/client.pem'],
    expected: 'an absolute path such as /etc/honeyport/client.pem',
  },
  key: {
    ...filePath,
    title: 'Client key',
    description: "PEM file of the client certificate's private key.",
    examples: ['/etc/honeyport/client.key'],
    expected: 'an absolute path such as /etc/honeyport/client.key',
  },
  name: {
    title: 'Name',
    description: "The name that the receiver's certificate must bear. Without it, the host of the address.",
    examples: ['siem.internal'],
    type: 'string',
    pattern: '^[A-Za-z0-9._:-]{1,253}$',
    expected: 'a host name or an address',
  },
});

const syslog = orOff(
  {
    type: 'array',
    items: mapping(
      'a mapping with the key address',
      {
        address: receiverAddress,
        format: {
          title: 'Format',
          description: 'The shape that events are sent in.',
          default: DEFAULTS.syslogFormat,
          examples: ['rfc5424'],
          enum: SYSLOG_FORMATS,
          expected: `${SYSLOG_FORMATS.slice(0, -1).join(', ')} or ${SYSLOG_FORMATS.at(-1)}`,
        },
        facility: {
          title: 'Facility',
          description: 'The syslog facility of the messages.',
          default: DEFAULTS.facility,
          examples: ['local0', 'authpriv'],
          enum: Object.keys(FACILITIES),
          expected: 'a facility such as local0',
        },
        framing: {
          title: 'Framing',
          description:
            'How messages are told apart on tcp, tls and unix: octet-counting puts the length before each, lf a line feed after it.',
          default: DEFAULTS.framing,
          examples: ['octet-counting', 'lf'],
          enum: ['octet-counting', 'lf'],
          expected: 'octet-counting or lf',
        },
        enterprise: {
          title: 'Enterprise number',
          description:
            'The private enterprise number in the names of RFC 5424 structured data. The default is that of examples.',
          default: DEFAULTS.enterprise,
          examples: [32_473],
          type: 'integer',
          minimum: 1,
          maximum: 4_294_967_295,
          expected: 'an enterprise number between 1 and 4294967295',
        },
        tls: {
          ...receiverTls,
          title: 'TLS',
          description: 'Certificates of a tls:// receiver. They are read again when they have changed.',
          examples: [{ ca: '/etc/honeyport/siem-ca.pem' }],
        },
      },
      ['address'],
    ),
    expected: 'a list of receivers',
  },
  {
    title: 'Syslog',
    description: 'Receivers that every event is sent to over syslog, besides the log file.',
    examples: [[{ address: 'tls://siem.example:6514', format: 'rfc5424' }]],
  },
);

export const log = mapping('a mapping with the keys file, console and syslog', {
  file: {
    ...logFile,
    title: 'File',
    description: 'The log file.',
    examples: [{ path: DEFAULTS.logPath, mode: DEFAULTS.logMode }],
  },
  console: {
    title: 'Console',
    description: 'What is written to standard output. Without it, pretty on a terminal, else off.',
    examples: ['pretty', 'line', 'json', 'off'],
    enum: ['pretty', 'line', 'json', 'off'],
    expected: 'pretty, line, json or off',
  },
  syslog,
});
