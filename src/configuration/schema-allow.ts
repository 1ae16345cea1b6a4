import {
  DEFAULTS,
  duration,
  filePath,
  mapping,
  orOff,
  port,
  portList,
  portRange,
  type SchemaNode,
} from './schema-nodes.ts';

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

export const allow = orOff(
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

export const guard: SchemaNode = {
  title: 'Guard',
  description: 'Allows own addresses, gateways, resolvers and logged-in administrators by itself.',
  default: DEFAULTS.guard,
  examples: ['on', 'off'],
  enum: ['on', 'off'],
  expected: 'on or off',
};

export const brake = orOff(
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
