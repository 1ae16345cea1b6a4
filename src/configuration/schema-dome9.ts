import { absolutePath, filePath, mapping, type RootSchema, type SchemaNode, sensor } from './schema-nodes.ts';

/** Defaults of dome9.yaml; `list` and `sensor` follow from the host. */
export const DOME9_DEFAULTS = {
  api: 'v2',
  url: 'https://api.dome9.com',
  state: '/var/lib/honeyport/dome9',
  maxItems: 500,
} as const;

/** What the documented API takes as the name of a list. */
export const LONGEST_LIST_NAME = 50;

/** What Basic authentication can carry; the part before the colon without one. */
function secretText(characters: string): SchemaNode {
  return {
    type: 'string',
    pattern: `^[${characters}]{1,512}$`,
    expected: 'a text of 1 to 512 printable ASCII characters, in quotes where it is a number',
  };
}

const key = mapping(
  'a mapping with the keys id and secret',
  {
    id: {
      ...secretText('\\x21-\\x39\\x3b-\\x7e'),
      title: 'Key id',
      description: "The V2 key's id; of v1 the account's e-mail address. Else DOME9_ACCESS_ID.",
      examples: ['00000000-0000-0000-0000-000000000000'],
      expected: 'a text of 1 to 512 printable ASCII characters without blanks and colons',
    },
    secret: {
      ...secretText('\\x20-\\x7e'),
      title: 'Key secret',
      description: "The V2 key's secret; of v1 the API key. Else DOME9_SECRET_KEY.",
      examples: ['the secret'],
    },
  },
  ['id', 'secret'],
);

/** dome9.yaml as JSON Schema, draft 2020-12. Its problems never show a value that could be the key: dome9.ts. */
export const DOME9_SCHEMA: RootSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'honeyport dome9 configuration',
  description: 'The configuration file of honeyport dome9, /etc/honeyport/dome9.yaml.',
  ...mapping('a mapping with the key key', {
    api: {
      title: 'API',
      description:
        'v2 keeps an IP list; v1 is the old blacklist call, not verified against the live service.',
      default: DOME9_DEFAULTS.api,
      examples: ['v2', 'v1'],
      enum: ['v2', 'v1'],
      expected: 'v2 or v1',
    },
    url: {
      title: 'URL',
      description: "Where the account's API is: https, or http to this host itself.",
      default: DOME9_DEFAULTS.url,
      examples: [DOME9_DEFAULTS.url, 'https://api.eu1.dome9.com'],
      type: 'string',
      pattern: '^https?://[\\x21-\\x7e]{1,500}$',
      expected: 'a URL such as https://api.dome9.com',
    },
    key: {
      ...key,
      title: 'Key',
      description:
        'What the API is entered with. Else DOME9_ACCESS_ID and DOME9_SECRET_KEY of the environment.',
      examples: [{ id: '00000000-0000-0000-0000-000000000000', secret: 'the secret' }],
    },
    ca: {
      ...filePath,
      title: 'Authorities',
      description:
        "PEM file of the authorities that may have signed the API's certificate. Without it, those that this host trusts.",
      examples: ['/etc/honeyport/proxy-ca.pem'],
      expected: 'an absolute path such as /etc/honeyport/proxy-ca.pem',
    },
    sensor: {
      ...sensor,
      description: "The name of this host in the comments of its items. Without it, the host's name.",
    },
    list: {
      title: 'List',
      description: 'Name of the IP list of v2. Without it, honeyport- and the sensor.',
      examples: ['honeyport-web-1'],
      type: 'string',
      pattern: `^(?=.*[A-Za-z])[A-Za-z0-9/_:-]{1,${LONGEST_LIST_NAME}}$`,
      expected: `1 to ${LONGEST_LIST_NAME} of the characters A-Z a-z 0-9 / - _ : with a letter among them`,
    },
    state: {
      ...absolutePath,
      title: 'State',
      description:
        "Directory in which fail2ban's action records what is wanted; its option state is the same.",
      default: DOME9_DEFAULTS.state,
      examples: [DOME9_DEFAULTS.state],
      expected: `an absolute path such as ${DOME9_DEFAULTS.state}`,
    },
    max_items: {
      title: 'Most items',
      description: 'Most items of the list, with those that are not ours; of more bans the newest are taken.',
      default: DOME9_DEFAULTS.maxItems,
      examples: [DOME9_DEFAULTS.maxItems],
      type: 'integer',
      minimum: 1,
      maximum: 100_000,
      expected: 'a number between 1 and 100000',
    },
  }),
};
