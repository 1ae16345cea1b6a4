import { allow, brake, guard } from './schema-allow.ts';
import { decoy } from './schema-decoy.ts';
import { log } from './schema-log.ts';
import { DEFAULTS, mapping, orOff, orOffUntilBuilt, type RootSchema, rate, sensor } from './schema-nodes.ts';

const limits = mapping('a mapping of limits', {
  conversations: {
    title: 'Conversations',
    description: 'Conversations at a time; beyond that a decoy logs and closes.',
    default: DEFAULTS.conversations,
    examples: [DEFAULTS.conversations],
    type: 'integer',
    minimum: 1,
    maximum: 1_000_000,
    expected: 'a number between 1 and 1000000',
  },
  responses: {
    title: 'Responses',
    description: 'Programs that answer, at a time; beyond that a decoy logs and closes.',
    default: DEFAULTS.responses,
    examples: [DEFAULTS.responses],
    type: 'integer',
    minimum: 1,
    maximum: 1024,
    expected: 'a number between 1 and 1024',
  },
  lines_per_source: orOff(rate, {
    title: 'Lines per source',
    description: 'Lines that one source gets in the log; beyond that its connections are counted.',
    default: DEFAULTS.linesPerSource,
    examples: [DEFAULTS.linesPerSource, 'off'],
  }),
  lines: orOff(rate, {
    title: 'Lines',
    description: 'Lines in all; beyond that connections are counted.',
    default: DEFAULTS.lines,
    examples: [DEFAULTS.lines, 'off'],
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

const mark = orOff(
  { type: 'integer', minimum: 1, maximum: 0xffff_ffff, expected: 'a mark between 0x1 and 0xffffffff' },
  {
    title: 'Mark',
    description: 'The socket mark by which the kernel knows decoys, for the quarantine.',
    default: DEFAULTS.mark,
    examples: [DEFAULTS.mark, 'off'],
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

const user = orOff(
  { type: 'string', pattern: '^[a-z_][a-z0-9_-]{0,31}$', expected: 'the name of a user' },
  {
    title: 'User',
    description: 'Only when started as root: the user to become at once. Without it, root stays.',
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
      sensor,
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
