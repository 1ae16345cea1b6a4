import { FACILITIES, SYSLOG_FORMATS } from '../format/syslog.ts';

/** A node of the JSON Schema, with the two keywords of our own. */
export interface SchemaNode {
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly SchemaNode[];
  readonly pattern?: string;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: SchemaNode;
  readonly minItems?: number;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
  /** What a problem says after `expected`. Stands on each node that can refuse a value. */
  readonly expected: string;
  /** The part is not built yet: every value but `off` is refused, or, given a list, these values alone. */
  readonly notAvailableYet?: true | readonly string[];
}

/** What `honeyport schema` prints. */
export interface RootSchema extends SchemaNode {
  readonly $schema: string;
}

/** Defaults of the keys that are available; the schema names them, and loading fills them in. */
export const DEFAULTS = {
  logPath: '/var/log/honeyport/honeyport.log',
  logMode: '0640',
  pendingLines: 100_000,
  cookies: 'withhold',
  guard: 'on',
  syslogFormat: 'rfc5424',
  facility: 'local0',
  framing: 'octet-counting',
  enterprise: 32_473,
} as const;

const OFF: SchemaNode = { const: 'off', expected: 'off' };

const port: SchemaNode = {
  type: 'integer',
  minimum: 1,
  maximum: 65_535,
  expected: 'a port between 1 and 65535',
};

/** Which end is the greater one is beyond JSON Schema; decoys.ts looks at that. */
const portRange: SchemaNode = {
  type: 'string',
  pattern: '^[0-9]+-[0-9]+$',
  expected: 'a port between 1 and 65535 or a range such as 5900-5910',
};

const portOrRange: SchemaNode = { anyOf: [port, portRange], expected: portRange.expected };

const portList: SchemaNode = {
  type: 'array',
  items: portOrRange,
  minItems: 1,
  expected: 'at least one port',
};

const absolutePath: SchemaNode = {
  type: 'string',
  // No control character, and no slash at the end: it is a file.
  pattern: '^/(?:[^\\u0000-\\u001f\\u007f]*[^/\\u0000-\\u001f\\u007f])$',
  maxLength: 4095,
  expected: 'an absolute path such as /var/log/honeyport/honeyport.log',
};

const duration: SchemaNode = {
  type: 'string',
  pattern: '^[1-9][0-9]{0,8}(?:ms|s|m|h|d)$',
  expected: 'a duration such as 500ms, 10s or 5m',
};

const rate: SchemaNode = {
  type: 'string',
  pattern: '^[1-9][0-9]{0,8}/[1-9][0-9]{0,8}(?:ms|s|m|h|d)$',
  expected: 'a rate such as 100/10s',
};

const network: SchemaNode = {
  type: 'string',
  pattern: '^[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?$',
  expected: 'an address or a network such as 10.0.0.0/8',
};

const NOT_YET = { notAvailableYet: true } as const;

function orOff(node: SchemaNode, about: Partial<SchemaNode>): SchemaNode {
  return { ...about, anyOf: [OFF, node], expected: `${node.expected}, or off` };
}

/** A key whose part is not built yet takes `off` beside its own values. */
function orOffUntilBuilt(node: SchemaNode, about: Partial<SchemaNode>): SchemaNode {
  return { ...orOff(node, about), ...NOT_YET };
}

function mapping(
  expected: string,
  properties: Record<string, SchemaNode>,
  required: string[] = [],
): SchemaNode {
  return { type: 'object', additionalProperties: false, properties, required, expected };
}

const filePath: SchemaNode = {
  ...absolutePath,
  title: 'File',
  description: 'Absolute path of a file to read instead of writing the value here.',
  examples: ['/etc/honeyport/ssh.banner'],
  expected: 'an absolute path such as /etc/honeyport/ssh.banner',
};

const banner = orOffUntilBuilt(
  {
    anyOf: [
      { type: 'string', maxLength: 4096, expected: 'a text of at most 4096 characters' },
      mapping('a mapping with the key file', { file: filePath }, ['file']),
    ],
    expected: 'a text or a mapping with the key file',
  },
  {
    title: 'Banner',
    description: 'What the decoy sends as soon as a peer has connected: a text, or the file that has it.',
    examples: ['SSH-2.0-OpenSSH_9.6\r\n', { file: '/etc/honeyport/ssh.banner' }],
  },
);

const capture = orOffUntilBuilt(
  { type: 'integer', minimum: 1, maximum: 65_536, expected: 'a number of bytes between 1 and 65536' },
  {
    title: 'Capture',
    description: 'Bytes of what the peer sends that are recorded as a data event.',
    examples: [512],
  },
);

const hold = orOffUntilBuilt(duration, {
  title: 'Hold',
  description: 'The longest that a conversation lasts.',
  examples: ['10s'],
});

const response = orOffUntilBuilt(
  mapping(
    'a mapping with the keys command and timeout',
    {
      command: {
        title: 'Command',
        description: 'The program, by its absolute path, and its arguments; no shell is between.',
        examples: [['/etc/honeyport/response.sh']],
        type: 'array',
        items: { type: 'string', maxLength: 4095, expected: 'a text' },
        minItems: 1,
        expected: 'a list of a program and its arguments',
      },
      timeout: {
        ...duration,
        title: 'Time limit',
        description: 'How long the program may run.',
        default: '5s',
        examples: ['5s'],
      },
    },
    ['command'],
  ),
  {
    title: 'Response',
    description: 'A program whose output answers the peer.',
    examples: [{ command: ['/etc/honeyport/response.sh'], timeout: '5s' }],
  },
);

const tarpit = orOffUntilBuilt(
  { type: 'boolean', expected: 'true or false' },
  {
    title: 'Tarpit',
    description: 'Keeps the peer busy with a slow answer for as long as it stays.',
    default: false,
    examples: [true],
  },
);

const proxyProtocol = orOffUntilBuilt(
  { type: 'array', items: network, minItems: 1, expected: 'a list of networks such as 10.0.0.0/8' },
  {
    title: 'PROXY protocol',
    description: 'Proxies that may name the true peer in a PROXY protocol header, by address or network.',
    examples: [['10.0.0.0/8']],
  },
);

const except = orOffUntilBuilt(
  {
    type: 'array',
    items: {
      anyOf: [...(portOrRange.anyOf ?? []), { const: 'ephemeral', expected: 'ephemeral' }],
      expected: 'a port, a range such as 5900-5910, or ephemeral',
    },
    expected: 'a list of ports, ranges and ephemeral',
  },
  {
    title: 'Except',
    description: 'Ports that `ports: unused` leaves alone. What is written here replaces the default.',
    default: [80, 113, 443, 'ephemeral'],
    examples: [[80, 113, 443, 'ephemeral']],
  },
);

const decoy = mapping(
  'a mapping with the key ports',
  {
    name: {
      title: 'Name',
      description:
        'Stands in each line of the log as decoy=. No two decoys share one. Without it, port- and the first port.',
      examples: ['ssh'],
      type: 'string',
      pattern: '^[a-z0-9._-]{1,32}$',
      expected: '1 to 32 of the characters a-z 0-9 . _ -',
    },
    ports: {
      title: 'Ports',
      description:
        'A port, a range, or a list of them. `unused` is every TCP port that no local service uses; not available yet.',
      examples: [22, '5900-5910', [23, 2323, '5900-5910']],
      anyOf: [port, portRange, portList, { const: 'unused', expected: 'unused' }],
      expected: 'a port, a range such as 5900-5910, or a list of them',
      notAvailableYet: ['unused'],
    },
    address: {
      title: 'Address',
      description:
        'The local address to listen on; 0.0.0.0 is all of IPv4, :: all of IPv6. Without it, all addresses of both families.',
      examples: ['192.0.2.10', '2001:db8::10'],
      type: 'string',
      expected: 'an IPv4 or IPv6 address',
    },
    banner,
    capture,
    hold,
    response,
    tarpit,
    proxy_protocol: proxyProtocol,
    except,
  },
  ['ports'],
);

/** What a source may consist of; whether it is one, allow.ts looks at. */
export const ALLOW_SOURCE_PATTERN = '^[A-Za-z0-9._:/-]{1,253}$';
export const ALLOW_UNTIL_PATTERN = '^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$';

const allowSource: SchemaNode = {
  type: 'string',
  pattern: ALLOW_SOURCE_PATTERN,
  expected: 'an address, a network or a host name',
};

const allowEntry = mapping(
  'a mapping with the key source',
  {
    source: {
      ...allowSource,
      title: 'Source',
      description: 'An address, a network or a host name.',
      examples: ['scanner.example.net'],
    },
    ports: {
      title: 'Ports',
      description: 'Ports that the entry is limited to.',
      examples: [[22]],
      anyOf: [port, portRange, portList],
      expected: 'a port, a range such as 5900-5910, or a list of them',
    },
    until: {
      title: 'Until',
      description: 'The last day on which the entry counts, in UTC.',
      examples: ['2027-01-31'],
      type: 'string',
      pattern: ALLOW_UNTIL_PATTERN,
      expected: 'a day such as 2027-01-31',
    },
    comment: {
      title: 'Comment',
      description: 'Why the source is allowed.',
      examples: ['weekly scan'],
      type: 'string',
      maxLength: 255,
      expected: 'a text of at most 255 characters',
    },
  },
  ['source'],
);

const allowFile = mapping(
  'a mapping with the key file',
  {
    file: {
      ...filePath,
      description: 'A file with one source a line: `192.0.2.7 ports=22,80-90 until=2027-01-31 # comment`.',
      examples: ['/etc/honeyport/allow.list'],
      expected: 'an absolute path such as /etc/honeyport/allow.list',
    },
  },
  ['file'],
);

const allow = orOff(
  {
    type: 'array',
    items: {
      anyOf: [allowSource, allowEntry, allowFile],
      expected: 'an address, a network, a host name, or a mapping with the key source or file',
    },
    expected: 'a list of sources',
  },
  {
    title: 'Allow list',
    description: 'Sources whose connections are recorded as allowed and are never bannable.',
    examples: [['192.0.2.0/24', { file: '/etc/honeyport/allow.list' }]],
  },
);

const guard: SchemaNode = {
  title: 'Guard',
  description: 'Allows own addresses, gateways, resolvers and logged-in administrators by itself.',
  default: DEFAULTS.guard,
  examples: ['on', 'off'],
  enum: ['on', 'off'],
  expected: 'on or off',
};

const brake = orOff(
  mapping(
    'a mapping with the keys sources and window',
    {
      sources: {
        title: 'Sources',
        description: 'Distinct sources within the window from which on connections are withheld.',
        examples: [200],
        type: 'integer',
        minimum: 1,
        maximum: 1_000_000,
        expected: 'a number of sources between 1 and 1000000',
      },
      window: {
        ...duration,
        title: 'Window',
        description: 'The time over which sources are counted.',
        examples: ['1m'],
      },
    },
    ['sources', 'window'],
  ),
  {
    title: 'Brake',
    description: 'Withholds from banning what comes while more sources than usual turn up at once.',
    default: 'off',
    examples: ['off', { sources: 200, window: '1m' }],
  },
);

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

const log = mapping('a mapping with the keys file, console and syslog', {
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

const limits = mapping('a mapping of limits', {
  conversations: orOffUntilBuilt(
    { type: 'integer', minimum: 1, maximum: 1_000_000, expected: 'a number between 1 and 1000000' },
    {
      title: 'Conversations',
      description: 'Conversations at a time; beyond that the oldest is closed.',
      default: 1024,
      examples: [1024],
    },
  ),
  lines_per_source: orOffUntilBuilt(rate, {
    title: 'Lines per source',
    description: 'Lines that one source gets in the log; beyond that its connections are counted.',
    default: '100/10s',
    examples: ['100/10s', 'off'],
  }),
  lines: orOffUntilBuilt(rate, {
    title: 'Lines',
    description: 'Lines in all; beyond that connections are counted.',
    default: '20000/1s',
    examples: ['20000/1s', 'off'],
  }),
  pending_lines: {
    title: 'Pending lines',
    description:
      'Lines that wait for the log file, and events that wait for each receiver; beyond that they are counted and left out.',
    default: DEFAULTS.pendingLines,
    examples: [DEFAULTS.pendingLines],
    type: 'integer',
    minimum: 1000,
    maximum: 1_000_000,
    expected: 'a number of lines between 1000 and 1000000',
  },
});

const mark = orOffUntilBuilt(
  { type: 'integer', minimum: 1, maximum: 0xffff_ffff, expected: 'a mark between 0x1 and 0xffffffff' },
  {
    title: 'Mark',
    description: 'The socket mark that the kernel rules look for.',
    default: 0x686f_6e65,
    examples: [0x686f_6e65],
  },
);

const metrics = orOffUntilBuilt(
  mapping(
    'a mapping with the key address',
    {
      address: {
        title: 'Address',
        description: 'The address and port that metrics are served on.',
        examples: ['127.0.0.1:9464'],
        type: 'string',
        pattern: '^(?:[0-9.]{7,15}|\\[[0-9A-Fa-f:.]{2,45}\\]):[0-9]{1,5}$',
        expected: 'an address and port such as 127.0.0.1:9464',
      },
    },
    ['address'],
  ),
  {
    title: 'Metrics',
    description: 'Serves counters for Prometheus.',
    examples: [{ address: '127.0.0.1:9464' }],
  },
);

const user = orOffUntilBuilt(
  { type: 'string', pattern: '^[a-z_][a-z0-9_-]{0,31}$', expected: 'the name of a user' },
  {
    title: 'User',
    description: 'Only when started as root: the user to become after binding. Without it, root stays.',
    examples: ['honeyport'],
  },
);

/**
 * The whole configuration file as JSON Schema, draft 2020-12. Keys whose part is not built yet stand in it, so that no
 * name changes later; `notAvailableYet` marks them.
 */
export const CONFIGURATION_SCHEMA: RootSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'honeyport configuration',
  description: 'The configuration file of honeyport, /etc/honeyport/honeyport.yaml.',
  ...mapping(
    'a mapping with the key decoys',
    {
      sensor: {
        title: 'Sensor',
        description: "The name of this host in every line of the log. Without it, the host's name.",
        examples: ['web-1'],
        type: 'string',
        pattern: '^[A-Za-z0-9._-]{1,255}$',
        expected: '1 to 255 of the characters A-Z a-z 0-9 . _ -',
      },
      decoys: {
        title: 'Decoys',
        description: 'Groups of ports that share a behaviour.',
        examples: [[{ name: 'telnet', ports: [23, 2323] }]],
        type: 'array',
        items: decoy,
        minItems: 1,
        expected: 'a list of at least one decoy',
      },
      allow,
      guard,
      brake,
      log: {
        ...log,
        title: 'Log',
        description: 'Where events are written.',
        examples: [{ file: { path: DEFAULTS.logPath, mode: DEFAULTS.logMode }, console: 'off' }],
      },
      limits: {
        ...limits,
        title: 'Limits',
        description: 'Bounds; what goes beyond them is counted in the log. `off` lifts a rate.',
        examples: [{ pending_lines: DEFAULTS.pendingLines }],
      },
      cookies: {
        title: 'SYN cookies',
        description:
          'What a connection accepted from a SYN cookie becomes: withhold makes it a withheld event, count a connect like any other.',
        default: DEFAULTS.cookies,
        examples: ['withhold', 'count'],
        enum: ['withhold', 'count'],
        expected: 'withhold or count',
      },
      mark,
      metrics,
      user,
    },
    ['decoys'],
  ),
};
