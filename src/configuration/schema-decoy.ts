import {
  COMMAND_WORD_PATTERN,
  DEFAULTS,
  duration,
  filePath,
  mapping,
  network,
  orOff,
  port,
  portList,
  portOrRange,
  portRange,
  type SchemaNode,
} from './schema-nodes.ts';

const bannerFile = mapping(
  'a mapping with the key file',
  {
    file: {
      ...filePath,
      description: 'File with the banner, of at most 64 KiB, which are sent as they are.',
    },
  },
  ['file'],
);

const banner = orOff(
  {
    anyOf: [
      { type: 'string', minLength: 1, maxLength: 4096, expected: 'a text of 1 to 4096 characters' },
      bannerFile,
    ],
    expected: 'a text or a mapping with the key file',
  },
  {
    title: 'Banner',
    description:
      'What the decoy sends as soon as a peer has connected: a text, sent as UTF-8, or the file that has it.',
    examples: ['SSH-2.0-OpenSSH_9.6\r\n', { file: '/etc/honeyport/ssh.banner' }],
  },
);

const capture = orOff(
  { type: 'integer', minimum: 1, maximum: 65_536, expected: 'a number of bytes between 1 and 65536' },
  {
    title: 'Capture',
    description:
      'Bytes of what the peer sends that are recorded as a data event; once they are there, the conversation ends.',
    examples: [512],
  },
);

const hold = orOff(duration, {
  title: 'Hold',
  description:
    'The longest that a conversation lasts, at most 7d; without it 10s, of a tarpit 1d. Where it is written, a decoy without capture stays open so long, unless the peer ends it.',
  examples: ['10s'],
});

const response = orOff(
  mapping(
    'a mapping with the keys command and timeout',
    {
      command: {
        title: 'Command',
        description: 'The program, by its absolute path, and its arguments; no shell is between.',
        examples: [['/etc/honeyport/response.sh']],
        type: 'array',
        items: {
          type: 'string',
          pattern: COMMAND_WORD_PATTERN,
          maxLength: 4095,
          expected: 'a text of at most 4095 characters, none of them NUL',
        },
        minItems: 1,
        maxItems: 64,
        expected: 'a list of 1 to 64 texts, a program and its arguments',
      },
      timeout: {
        ...duration,
        title: 'Time limit',
        description: 'How long the program may run, at most 1h.',
        default: DEFAULTS.responseTimeout,
        examples: [DEFAULTS.responseTimeout],
      },
    },
    ['command'],
  ),
  {
    title: 'Response',
    description:
      'A program whose output answers the peer. It reads and answers by itself: without banner, capture, hold and tarpit.',
    examples: [{ command: ['/etc/honeyport/response.sh'], timeout: '5s' }],
  },
);

const tarpit = orOff(
  { type: 'boolean', expected: 'true or false' },
  {
    title: 'Tarpit',
    description:
      'Keeps the peer busy with a slow answer for as long as it stays and hold lasts. Without banner: that answer is its banner.',
    default: false,
    examples: [true],
  },
);

const proxyProtocol = orOff(
  {
    type: 'array',
    items: network,
    minItems: 1,
    maxItems: 1000,
    expected: 'a list of 1 to 1000 addresses and networks such as 10.0.0.0/8',
  },
  {
    title: 'PROXY protocol',
    description: 'Proxies that may name the true peer in a PROXY protocol header, by address or network.',
    examples: [['10.0.0.0/8']],
  },
);

const EXCEPTION = 'a port between 1 and 65535, a range such as 5900-5910, or ephemeral';
const exceptions = [
  port,
  { ...portRange, expected: EXCEPTION },
  { const: 'ephemeral', expected: 'ephemeral' },
] as const;

const except = orOff(
  {
    anyOf: [
      ...exceptions,
      {
        type: 'array',
        items: { anyOf: exceptions, expected: EXCEPTION },
        expected: 'a list of ports, ranges and ephemeral',
      },
    ],
    expected: 'a port, a range such as 5900-5910, ephemeral, or a list of them',
  },
  {
    title: 'Except',
    description:
      'Ports that `ports: unused` leaves alone; `ephemeral` are those that outgoing connections take. What is written here replaces the default.',
    default: DEFAULTS.except,
    examples: [[80, 113, 443, 'ephemeral'], 'ephemeral', []],
  },
);

const UNUSED = 'unused';

/** A list is of ports that are known by their numbers; editors refuse the word there as well. */
const misplacedUnused: SchemaNode = {
  const: UNUSED,
  not: {},
  expected: 'ports: unused in a decoy of its own, without a list',
};

const listOfPorts: SchemaNode = {
  ...portList,
  items: { ...portOrRange, anyOf: [misplacedUnused, ...(portOrRange.anyOf ?? [])] },
};

export const decoy = mapping(
  'a mapping with the key ports',
  {
    name: {
      title: 'Name',
      description:
        'Stands in each line of the log as decoy=. No two decoys share one. Without it, port- and the first port, or unused.',
      examples: ['ssh'],
      type: 'string',
      pattern: '^[a-z0-9._-]{1,32}$',
      expected: '1 to 32 of the characters a-z 0-9 . _ -',
    },
    ports: {
      title: 'Ports',
      description:
        'A port, a range, or a list of them; or `unused`, every TCP port that no local service and no other decoy has.',
      examples: [22, '5900-5910', [23, 2323, '5900-5910'], 'unused'],
      anyOf: [
        port,
        { ...portRange, expected: 'a port between 1 and 65535, a range such as 5900-5910, or unused' },
        listOfPorts,
        { const: UNUSED, expected: UNUSED },
      ],
      expected: 'a port, a range such as 5900-5910, a list of them, or unused',
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
