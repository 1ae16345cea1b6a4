import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { Event } from '../../src/event.ts';
import { createLineFormatter } from '../../src/format/line.ts';
import { LINE_KEYS } from '../../src/format/line-keys.ts';
import { parseLine } from '../../src/format/parse-line.ts';
import { createSyslogFormatter, type SyslogFormat } from '../../src/format/syslog.ts';
import { configurationOf } from '../configuration/support.ts';
import { everyEvent, fieldsIn } from '../support/siem-events.ts';

const SIEM = fileURLToPath(new URL('../../siem/', import.meta.url));
const PAGES = fileURLToPath(new URL('../../docs/siem/', import.meta.url));
const ORIGIN = {
  sensor: 'web-1',
  pid: 812,
  version: '0.1.0',
  facility: 'local0',
  enterprise: 32473,
} as const;
const OURS = ['syslog-ng', 'wazuh', 'splunk', 'sigma', 'graylog'];
const BAN_LINE =
  '2026-11-22T03:04:59.004+00:00 web-1 honeyport[640]: ban src=2001:db8::/64 until=never count=1 jail=honeyport ' +
  'id=k2v90qzd.7 cause=7f3k9q2x.42 net=2001:db8::/64 restored=yes';

const formatLine = createLineFormatter(ORIGIN);
const messageOf = (format: SyslogFormat) => createSyslogFormatter(format, ORIGIN);
const read = (path: string) => readFileSync(join(SIEM, path), 'utf8');

describe('siem/', () => {
  for (const folder of OURS) {
    for (const name of readdirSync(join(SIEM, folder))) {
      test(`${folder}/${name} says in its head how it was verified`, () => {
        const head = read(`${folder}/${name}`).split('\n').slice(0, 8).join('\n');
        assert.match(head, /Tested with \S+ \d|Written from [\s\S]*not run/);
      });
    }
  }
});

describe('docs/siem/', () => {
  for (const name of ['syslog-ng', 'wazuh', 'splunk', 'graylog', 'sentinel', 'qradar', 'sigma']) {
    test(`${name}.md is short, says what was not run, and its configuration is right`, () => {
      const page = readFileSync(join(PAGES, `${name}.md`), 'utf8');
      assert.ok(page.split('\n').length <= 70, 'more than 70 lines');
      assert.match(page, /[Nn]ot run|not tested/);
      const snippets = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text]) => text!);
      assert.ok(snippets.length > 0, 'no honeyport.yaml');
      for (const snippet of snippets) assert.equal(configurationOf(snippet).log.syslog.length, 1);
      for (const [path] of page.matchAll(/siem\/[a-z-]+\/[A-Za-z_.-]+\.[a-z]+/g))
        assert.notEqual(read(path.slice(5)), '');
    });
  }
});

describe('siem/wazuh', () => {
  const decoders = elements(read('wazuh/honeyport_decoders.xml'), 'decoder');
  const rules = elements(read('wazuh/honeyport_rules.xml'), 'rule');

  test('is well-formed XML', () => {
    for (const name of readdirSync(join(SIEM, 'wazuh'))) assertWellFormed(read(`wazuh/${name}`));
  });

  /*
   * What OS_CleanMSG (src/analysisd/cleanevent.c) leaves of a line: RFC 3164's header goes; of a time with a dot at its
   * twentieth character 32 characters go, then a host and a program name, if there still is a host.
   */
  const decoded: Record<string, (event: Event) => Cleaned> = {
    'the file': (event) => cleaned(formatLine(event), 32),
    'the file of a sensor with a short name': (event) =>
      cleaned(createLineFormatter({ ...ORIGIN, sensor: 'w1' })(event), 32),
    'a manager that takes no header off': (event) => ({ program: '', log: formatLine(event) }),
    rfc3164: (event) => cleaned(messageOf('rfc3164')(event).replace(/^<\d+>/, ''), 16),
  };
  for (const [name, logOf] of Object.entries(decoded)) {
    test(`decodes every event of ${name}`, () => {
      for (const event of everyEvent()) {
        const fields = decode(logOf(event));
        const keys = fieldsIn(formatLine(event));
        const expected: Record<string, string> =
          keys.spt === undefined
            ? { action: event.kind, ...(keys.src ? { srcip: keys.src } : {}) }
            : {
                action: event.kind,
                srcip: keys.src!,
                srcport: keys.spt,
                dstip: keys.dst!,
                dstport: keys.dpt!,
                protocol: 'tcp',
                decoy: keys.decoy!,
                id: keys.id!,
              };
        assert.deepEqual(fields, expected);
      }
    });
  }

  test('decodes a ban', () => {
    assert.deepEqual(decode(cleaned(BAN_LINE, 32)), { action: 'ban', srcip: '2001:db8::' });
  });

  test('has one rule for each event, in the range for local rules', () => {
    const ids = rules.map(({ attributes }) => Number(attributes.id));
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(
      ids.every((id) => id >= 100_000 && id <= 120_000),
      `${ids}`,
    );
    const actions = [
      ...Object.keys(LINE_KEYS),
      'ban',
      'prolong',
      'unban',
      'would-ban',
      'would-prolong',
      'would-unban',
    ];
    for (const action of actions) {
      const taking = rules.filter(({ body }) => {
        const pattern = /<action type="pcre2">(.*)<\/action>/.exec(body)?.[1];
        return pattern !== undefined && new RegExp(pattern).test(action);
      });
      assert.equal(taking.length, 1, action);
    }
    for (const { body } of rules) {
      const other = /<if_(?:matched_)?sid>(\d+)</.exec(body)?.[1];
      assert.ok(other === undefined || ids.includes(Number(other)), `no rule ${other}`);
    }
  });

  /** What the children of the decoder that takes the text give; the first that matches wins. */
  function decode({ program, log }: Cleaned): Record<string, string> | undefined {
    const parents = decoders.filter(({ body }) => !body.includes('<parent>'));
    const isTaken = parents.some(({ body }) => {
      const name = regexIn(body, 'program_name');
      return name === undefined ? regexIn(body, 'prematch')!.test(log) : name.test(program);
    });
    if (!isTaken) return undefined;
    for (const { body } of decoders.filter(({ body }) => body.includes('<parent>'))) {
      const match = regexIn(body, 'regex')!.exec(log);
      if (match === null) continue;
      const names = /<order>(.*)<\/order>/.exec(body)![1]!.split(', ');
      assert.equal(names.length, match.length - 1, 'as many names as groups');
      return Object.fromEntries(names.map((name, index) => [name, match[index + 1]!]));
    }
    return undefined;
  }
});

/** PCRE2 as it is used there is read alike by JavaScript: classes, groups, look-ahead, no possessive quantifier. */
function regexIn(body: string, tag: string): RegExp | undefined {
  const text = new RegExp(`<${tag} type="pcre2">(.*)</${tag}>`).exec(body)?.[1];
  return text === undefined ? undefined : new RegExp(text);
}

/** What Wazuh's decoders are asked about. */
interface Cleaned {
  readonly program: string;
  readonly log: string;
}

/** See OS_CleanMSG: without a host there is no program, and the log begins where the host would. */
function cleaned(line: string, length: number): Cleaned {
  const rest = line.slice(length).replace(/^ /, '');
  const [head, program] = /^[A-Za-z0-9_.-]+ ([A-Za-z0-9_.-]+)\[\d+\]: ?/.exec(rest) ?? [];
  return head === undefined
    ? { program: '', log: rest }
    : { program: program!, log: rest.slice(head.length) };
}

function elements(xml: string, name: string): { attributes: Record<string, string>; body: string }[] {
  const pattern = new RegExp(`<${name}((?: [a-z]+="[^"]*")+)>([\\s\\S]*?)</${name}>`, 'g');
  const found = [...xml.replace(/<!--[\s\S]*?-->/g, '').matchAll(pattern)];
  assert.ok(found.length > 0, `no ${name}`);
  return found.map(([, attributes, body]) => ({
    attributes: Object.fromEntries(
      [...attributes!.matchAll(/([a-z]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!]),
    ),
    body: body!,
  }));
}

/** Wazuh's files may have several elements at the top, which is why no parser of XML is asked. */
function assertWellFormed(xml: string): void {
  const comments = xml.match(/<!--[\s\S]*?-->/g) ?? [];
  for (const comment of comments) assert.ok(!comment.slice(4, -3).includes('--'), comment);
  const open: string[] = [];
  const rest = xml
    .replace(/<!--[\s\S]*?-->/g, '')
    .replace(
      /<(\/?)([a-z0-9_-]+)((?: [a-z0-9_]+="[^"<]*")*) ?(\/?)>/g,
      (_, end, name, _attributes, empty) => {
        if (end) assert.equal(open.pop(), name);
        else if (!empty) open.push(name);
        return '';
      },
    );
  assert.deepEqual(open, []);
  // in texts `<` would begin an element, and `>` is plain
  assert.ok(
    !/<(?!!)(?![=])/.test(rest.replace(/\(\?<?[!=]/g, '')),
    `stray < in ${rest.trim().slice(0, 200)}`,
  );
  assert.doesNotMatch(rest, /&(?!lt;|gt;|amp;|quot;)/);
}

describe('siem/splunk', () => {
  const props = stanzas(read('splunk/props.conf'));
  const transforms = stanzas(read('splunk/transforms.conf'));
  const cases = {
    honeyport: formatLine,
    'honeyport:rfc5424': messageOf('rfc5424'),
    'honeyport:rfc3164': messageOf('rfc3164'),
  };

  for (const [sourcetype, format] of Object.entries(cases)) {
    test(`gives every key of every event of ${sourcetype}`, () => {
      for (const event of everyEvent()) {
        const { event: kind, dvc, process_id, ...keys } = extract(sourcetype, format(event));
        assert.deepEqual({ kind, dvc, process_id }, { kind: event.kind, dvc: 'web-1', process_id: '812' });
        const escaped = sourcetype === 'honeyport:rfc5424' ? /\\(["\\\]])/g : /\\(")/g;
        const values = Object.entries(keys).map(([key, value]) => [key, value.replace(escaped, '$1')]);
        assert.deepEqual(Object.fromEntries(values), fieldsIn(formatLine(event)));
      }
    });

    test(`finds the time of ${sourcetype}`, () => {
      const { TIME_PREFIX, TIME_FORMAT, MAX_TIMESTAMP_LOOKAHEAD } = props[sourcetype]!;
      for (const event of everyEvent()) {
        const text = format(event);
        const prefix = new RegExp(TIME_PREFIX!).exec(text)![0];
        const time = text.slice(prefix.length).slice(0, Number(MAX_TIMESTAMP_LOOKAHEAD));
        assert.match(time, timePattern(TIME_FORMAT!));
        if (TIME_FORMAT!.includes('%Y')) assert.equal(Date.parse(time), event.time);
      }
    });
  }

  test('breaks lines at line feeds, and has room for the longest', () => {
    const longest = { ...everyEvent().find(({ kind }) => kind === 'data')!, text: '\0'.repeat(512) } as Event;
    for (const [sourcetype, format] of Object.entries(cases)) {
      const { LINE_BREAKER, TRUNCATE } = props[sourcetype]!;
      assert.equal(`a\nb`.split(new RegExp(LINE_BREAKER!))[0], 'a');
      assert.ok(format(longest).length < Number(TRUNCATE), TRUNCATE);
    }
  });

  test('gives the keys of a ban', () => {
    const { event, dvc, process_id, ...keys } = extract('honeyport', BAN_LINE);
    assert.deepEqual({ event, dvc, process_id }, { event: 'ban', dvc: 'web-1', process_id: '640' });
    assert.deepEqual(keys, fieldsIn(BAN_LINE));
  });

  test('uses transforms that exist, and tags event types that exist', () => {
    const used = Object.values(props).flatMap((stanza) => stanza['REPORT-honeyport']!.split(', '));
    assert.deepEqual([...new Set(used)].sort(), Object.keys(transforms).sort());
    const types = Object.keys(stanzas(read('splunk/eventtypes.conf'))).map((name) => `eventtype=${name}`);
    assert.deepEqual(Object.keys(stanzas(read('splunk/tags.conf'))), types);
  });

  function extract(sourcetype: string, text: string): Record<string, string> {
    const stanza = props[sourcetype]!;
    const names = stanza['REPORT-honeyport']!.split(', ');
    const regexes = [stanza['EXTRACT-honeyport_head']!, ...names.map((name) => transforms[name]!.REGEX!)];
    // named groups are written alike in PCRE and JavaScript
    return Object.assign({}, ...regexes.map((regex) => new RegExp(regex).exec(text)?.groups ?? {}));
  }
});

function stanzas(text: string): Record<string, Record<string, string>> {
  const found: Record<string, Record<string, string>> = {};
  let current: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const name = /^\[(.+)\]$/.exec(line)?.[1];
    const [, key, value] = /^([A-Za-z_-]+) = (.*)$/.exec(line) ?? [];
    if (name !== undefined) found[name] = current = {};
    else if (key !== undefined) current[key] = value!;
    else assert.match(line, /^(?:#.*)?$/, 'neither stanza, key nor comment');
  }
  return found;
}

/** The directives of strptime that are used there. */
function timePattern(format: string): RegExp {
  const directives: Record<string, string> = {
    '%Y': '\\d{4}',
    '%m': '\\d\\d',
    '%d': '\\d\\d',
    '%e': '[ \\d]\\d',
    '%b': '[A-Z][a-z]{2}',
    '%H': '\\d\\d',
    '%M': '\\d\\d',
    '%S': '\\d\\d',
    '%3N': '\\d{3}',
    '%:z': '[+-]\\d\\d:\\d\\d',
  };
  const pattern = format.replace(/%(?:3N|:z|[A-Za-z])|\./g, (part) =>
    part === '.' ? '\\.' : directives[part]!,
  );
  return new RegExp(`^${pattern}$`);
}

describe('siem/sigma', () => {
  const rule = parse(read('sigma/decoy_port_connection.yml'));
  const correlation = parse(read('sigma/many_decoy_ports.yml'));

  test('has the fields that the specification asks for', () => {
    for (const { title, id, status, level } of [rule, correlation]) {
      assert.ok(title.length <= 256, title);
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      assert.ok(['stable', 'test', 'experimental'].includes(status));
      assert.ok(['informational', 'low', 'medium', 'high', 'critical'].includes(level));
    }
    assert.notEqual(rule.id, correlation.id);
    assert.ok(rule.logsource.product && rule.logsource.definition, 'no logsource');
    for (const tag of rule.tags) assert.match(tag, /^attack\.[a-z0-9._-]+$/);
    const { type, rules, 'group-by': groups, timespan, condition } = correlation.correlation;
    assert.equal(type, 'value_count');
    assert.deepEqual(rules, [rule.name]);
    assert.match(timespan, /^\d+[smhd]$/);
    for (const field of [...groups, condition.field, ...rule.fields]) assert.ok(isKey(field), field);
  });

  test('finds connect and nothing else', () => {
    assert.equal(rule.detection.condition, 'selection');
    const found = everyEvent().filter((event) => {
      const { event: parsed } = parseLine(formatLine(event))!;
      const fields: Record<string, unknown> = { ...parsed, event: parsed.kind };
      return Object.entries(rule.detection.selection).every(([key, value]) => fields[key] === value);
    });
    assert.deepEqual(
      found,
      everyEvent().filter(({ kind }) => kind === 'connect'),
    );
  });

  function isKey(name: string): boolean {
    return LINE_KEYS.connect.some((key) => key.name === name);
  }
});

describe('siem/graylog', () => {
  const text = read('graylog/honeyport.rules').replace(/^\/\/.*$/gm, '');
  const [connection, listener] = text.split(/^end$/m);

  test('names the fields that come of structured data', () => {
    const used = (part: string) =>
      [...part.matchAll(/[`"]((?:conn|honeyport)@\d+_[a-z_]+)[`"]/g)].map(([, name]) => name!);
    for (const event of everyEvent()) {
      const names = fieldNames(messageOf('rfc5424')(event));
      const part = 'spt' in event ? connection! : listener!;
      assert.notEqual(used(part).length, 0);
      for (const name of used(part)) assert.ok(names.includes(name), `${event.kind} has no ${name}`);
      assert.ok(part.includes('to_string($message.application_name) == "honeyport"'), part);
    }
  });

  test('is two rules with their three words', () => {
    for (const part of [connection!, listener!])
      assert.match(part, /^\s*rule "[^"]+"\nwhen\n[\s\S]+\nthen\n[\s\S]+$/);
    assert.equal(text.match(/^end$/gm)?.length, 2);
  });

  /** `<element>_<key>`, as prefixElements of SyslogCodec.java makes them. */
  function fieldNames(message: string): string[] {
    const elements = message.matchAll(/\[([a-z]+(?:@\d+)?)((?: [A-Za-z_]+="(?:[^"\\]|\\.)*")*)\]/g);
    return [...elements].flatMap(([, element, keys]) =>
      [...keys!.matchAll(/ ([A-Za-z_]+)="(?:[^"\\]|\\.)*"/g)].map(([, key]) => `${element}_${key}`),
    );
  }
});
