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

/** A whole file's schema: what `honeyport schema` prints. */
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

export const absolutePath: SchemaNode = {
  type: 'string',
  // No control character, and no slash at the end: it is a file.
  pattern: '^/(?:[^\\u0000-\\u001f\\u007f]*[^/\\u0000-\\u001f\\u007f])$',
  maxLength: 4095,
  expected: 'an absolute path such as /var/log/honeyport/honeyport.log',
};

export const duration: SchemaNode = {
  type: 'string',
  pattern: '^[1-9][0-9]{0,8}(?:ms|s|m|h|d)$',
  expected: 'a duration such as 500ms, 10s or 5m',
};

export const rate: SchemaNode = {
  type: 'string',
  pattern: '^[1-9][0-9]{0,8}/[1-9][0-9]{0,8}(?:ms|s|m|h|d)$',
  expected: 'a rate such as 100/10s',
};

export const network: SchemaNode = {
  type: 'string',
  pattern: '^[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?$',
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
