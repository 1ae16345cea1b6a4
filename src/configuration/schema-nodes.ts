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
  /** Refuses what the rest of the node is about, in the words of its `expected`. */
  readonly not?: object;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: SchemaNode;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
  /** What a problem says after `expected`. Stands on each node that can refuse a value. */
  readonly expected: string;
  /** The part is not built yet: every value but `off` is refused. */
  readonly notAvailableYet?: true;
}

/** A whole file's schema: what `honeyport schema` prints. */
export interface RootSchema extends SchemaNode {
  readonly $schema: string;
}

/** Defaults of the keys that are available; the schema names them, and loading fills them in. */
export const DEFAULTS = {
  logPath: '/var/log/honeyport/honeyport.log',
  logMode: '0640',
  hold: '10s',
  tarpitHold: '1d',
  responseTimeout: '5s',
  conversations: 1024,
  responses: 64,
  linesPerSource: '100/10s',
  lines: '20000/1s',
  pendingLines: 100_000,
  cookies: 'withhold',
  mark: 0x686f_6e65,
  guard: 'on',
  except: [80, 113, 443, 'ephemeral'],
  syslogFormat: 'rfc5424',
  facility: 'local0',
  framing: 'octet-counting',
  enterprise: 32_473,
} as const;

const OFF: SchemaNode = { const: 'off', expected: 'off' };

export const port: SchemaNode = {
  type: 'integer',
  minimum: 1,
  maximum: 65_535,
  expected: 'a port between 1 and 65535',
};

/** Which end is the greater one is beyond JSON Schema; decoys.ts looks at that. */
export const portRange: SchemaNode = {
  type: 'string',
  pattern: '^[0-9]+-[0-9]+$',
  expected: 'a port between 1 and 65535 or a range such as 5900-5910',
};

export const portOrRange: SchemaNode = { anyOf: [port, portRange], expected: portRange.expected };

export const portList: SchemaNode = {
  type: 'array',
  items: portOrRange,
  minItems: 1,
  expected: 'at least one port',
};

export const sensor: SchemaNode = {
  title: 'Sensor',
  description: "The name of this host in every line of the log. Without it, the host's name.",
  examples: ['web-1'],
  type: 'string',
  pattern: '^[A-Za-z0-9._-]{1,255}$',
  expected: '1 to 255 of the characters A-Z a-z 0-9 . _ -',
};

/** No control character, and no slash at the end: it is a file. */
export const ABSOLUTE_PATH_PATTERN = '^/(?:[^\\u0000-\\u001f\\u007f]*[^/\\u0000-\\u001f\\u007f])$';

export const absolutePath: SchemaNode = {
  type: 'string',
  pattern: ABSOLUTE_PATH_PATTERN,
  maxLength: 4095,
  expected: 'an absolute path such as /var/log/honeyport/honeyport.log',
};

/** What the kernel can hand to a program. */
export const COMMAND_WORD_PATTERN = '^[^\\u0000]*$';

const DURATION = '[1-9][0-9]{0,8}(?:ms|s|m|h|d)';
export const DURATION_PATTERN = `^${DURATION}$`;

/** Which is too long for a key, its own part of the configuration looks at. */
export const duration: SchemaNode = {
  type: 'string',
  pattern: DURATION_PATTERN,
  expected: 'a duration such as 500ms, 10s or 5m',
};

export const RATE_PATTERN = `^([1-9][0-9]{0,8})/(${DURATION})$`;

/** Its bounds are beyond JSON Schema; limits.ts looks at them. */
export const rate: SchemaNode = {
  type: 'string',
  pattern: RATE_PATTERN,
  expected: 'a rate such as 100/10s',
};

export const NETWORK_PATTERN = '^[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?$';

/** What it may consist of; whether it is a network, proxies.ts looks at. */
export const network: SchemaNode = {
  type: 'string',
  pattern: NETWORK_PATTERN,
  expected: 'an address or a network such as 10.0.0.0/8',
};

const NOT_YET = { notAvailableYet: true } as const;

export function orOff(node: SchemaNode, about: Partial<SchemaNode>): SchemaNode {
  return { ...about, anyOf: [OFF, node], expected: `${node.expected}, or off` };
}

/** A key whose part is not built yet takes `off` beside its own values. */
export function orOffUntilBuilt(node: SchemaNode, about: Partial<SchemaNode>): SchemaNode {
  return { ...orOff(node, about), ...NOT_YET };
}

export function mapping(
  expected: string,
  properties: Record<string, SchemaNode>,
  required: string[] = [],
): SchemaNode {
  return { type: 'object', additionalProperties: false, properties, required, expected };
}

export const filePath: SchemaNode = {
  ...absolutePath,
  title: 'File',
  description: 'Absolute path of a file to read instead of writing the value here.',
  examples: ['/etc/honeyport/ssh.banner'],
  expected: 'an absolute path such as /etc/honeyport/ssh.banner',
};
