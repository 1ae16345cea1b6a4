import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findOtherLogs } from '../../src/system/log-readers.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { CLI } from '../support/listener.ts';
import { requireProgram } from '../support/programs.ts';

const LOG = '/var/log/honeyport/honeyport.log';
const RUN_TIMEOUT_MS = 30_000;

const GOOD = `decoys:\n  - ports: [23, 5900-5902]\n  - { name: b, ports: 22 }\nlog: { file: { path: ${LOG} } }\n`;

test('check says what a good file amounts to', (context) => {
  const { etc, run } = makeHost(context, { 'honeyport.yaml': GOOD });
  const file = join(etc, 'honeyport.yaml');
  assert.deepEqual(run('check', '-c', file), {
    code: 0,
    stdout: `${file}: decoys: 2, ports: 5, allow entries: 0, log: ${LOG}\n`,
    stderr: '',
  });
});

test('check reads the list files, warns of entries that have ended, and resolves no host name', (context) => {
  const { etc, cwd, run } = makeHost(context, {});
  const list = join(cwd, 'allow.list');
  const file = join(cwd, 'honeyport.yaml');
  const sources = `[192.0.2.7, scanner.example.net, { source: 192.0.2.8, until: 2020-01-31 }, { file: ${list} }]`;
  writeFileSync(file, `decoys: [{ ports: 2222 }]\nallow: ${sources}\n`);
  writeFileSync(list, '# scanners\n198.51.100.0/24 until=2020-02-29\n198.51.100.7\n');
  const { code, stdout, stderr } = run('check', '-c', file);
  assert.equal(code, 0, etc);
  assert.equal(stdout, `${file}: decoys: 1, ports: 1, allow entries: 5, log: ${LOG}\n`);
  assert.deepEqual(stderr.split('\n').slice(0, -1), [
    `honeyport: warning: ${file}:2: allow entry 192.0.2.8 ended with 2020-01-31 and allows nobody`,
    `honeyport: warning: ${list}:2: allow entry 198.51.100.0/24 ended with 2020-02-29 and allows nobody`,
  ]);
  writeFileSync(list, '198.51.100.7\n198.51.100.300\n');
  const refused = run('check', '-c', file);
  assert.equal(refused.code, 2);
  assert.equal(
    refused.stderr,
    `honeyport: error: ${list}:2:1: expected an IPv4 or IPv6 address or a network such as 192.0.2.0/24, got "198.51.100.300"\n`,
  );
});

test('check warns of programs that cannot answer, and starts none', (context) => {
  const { cwd, run } = makeHost(context, {});
  const file = join(cwd, 'honeyport.yaml');
  const good = join(cwd, 'good.sh');
  writeFileSync(good, `#!/bin/sh\ntouch ${join(cwd, 'started')}\n`, { mode: 0o755 });
  writeFileSync(join(cwd, 'bad.sh'), '#!/bin/sh\n', { mode: 0o644 });
  const decoys = ['good.sh', 'bad.sh', 'gone.sh'].map(
    (name, i) => `{ name: d${i}, ports: ${i + 1}, response: { command: ["${cwd}/${name}"] } }`,
  );
  writeFileSync(file, `decoys: [${decoys.join(', ')}]\n`);
  const { code, stderr } = run('check', '-c', file);
  assert.equal(code, 0);
  assert.deepEqual(stderr.split('\n').slice(0, -1), [
    `honeyport: warning: decoy d1 cannot answer with ${cwd}/bad.sh: it is not executable for this user`,
    `honeyport: warning: decoy d2 cannot answer with ${cwd}/gone.sh: there is no such file`,
  ]);
  assert.ok(!existsSync(join(cwd, 'started')), 'the program has not run');
});

test('check without a file looks at the built-in default', (context) => {
  const { cwd, run } = makeHost(context, {});
  assert.deepEqual(run('check'), {
    code: 0,
    stdout: `the built-in default: decoys: 1, ports: 3, allow entries: 0, log: ${join(cwd, 'honeyport.log')}\n`,
    stderr: '',
  });
});

test('check without a file named reads the one in /etc', (context) => {
  const { run } = makeHost(context, { 'honeyport/honeyport.yaml': GOOD });
  assert.equal(
    run('check').stdout,
    `/etc/honeyport/honeyport.yaml: decoys: 2, ports: 5, allow entries: 0, log: ${LOG}\n`,
  );
});

test('check finds the jail and the logrotate file that name another log', (context) => {
  const { run } = makeHost(context, {
    'honeyport/honeyport.yaml': GOOD,
    'fail2ban/jail.d/honeyport.conf': `[honeyport]\nlogpath = ${LOG}\n`,
    'fail2ban/jail.d/honeyport.local': '[honeyport]\nenabled = true\nlogpath = /srv/old.log\n',
    'logrotate.d/honeyport': '/srv/older.log {\n  weekly\n}\n',
  });
  const { code, stdout, stderr } = run('check');
  assert.deepEqual(stderr.split('\n'), [
    `honeyport: warning: jail honeyport in /etc/fail2ban/jail.d/honeyport.local names /srv/old.log, but the log is ${LOG}`,
    `honeyport: warning: /etc/logrotate.d/honeyport names /srv/older.log, but the log is ${LOG}`,
    'honeyport: error: some readers of the log would read another file',
    '',
  ]);
  assert.equal(stdout, `/etc/honeyport/honeyport.yaml: decoys: 2, ports: 5, allow entries: 0, log: ${LOG}\n`);
  assert.equal(code, 1);
});

test('check cannot be made to steer the terminal by the files of others', (context) => {
  const { run } = makeHost(context, {
    'honeyport/honeyport.yaml': GOOD,
    'fail2ban/jail.d/honeyport.local': '[honeyport]\nlogpath = /srv/\x1b[2J\x07.log\n',
  });
  const { code, stderr } = run('check');
  assert.equal(code, 1);
  assert.match(stderr, /names \/srv\/\\x1b\[2J\\x07\.log, but/);
  assert.match(stderr, /^[ -~\n]+$/);
});

test('the files that honeyport ships name its default log', (context) => {
  const shipped = readFileSync(new URL('../../fail2ban/jail.d/honeyport.conf', import.meta.url), 'utf8');
  const { etc } = makeHost(context, { 'fail2ban/jail.d/honeyport.conf': shipped });
  assert.deepEqual(findOtherLogs(LOG, etc), []);
  assert.notDeepEqual(findOtherLogs('/srv/other.log', etc), []);
});

/** Files below /etc, and the logs of each finding, by the file that makes it. */
const READERS: readonly {
  readonly title: string;
  readonly files: Readonly<Record<string, string>>;
  readonly findings: Readonly<Record<string, readonly string[]>>;
}[] = [
  { title: 'nothing is installed', files: {}, findings: {} },
  {
    title: 'a jail names the log',
    files: { 'fail2ban/jail.d/honeyport.conf': `[honeyport]\nlogpath = ${LOG}\n` },
    findings: {},
  },
  {
    title: 'a jail names another log',
    files: { 'fail2ban/jail.d/honeyport.conf': '[honeyport]\nlogpath = /other\n' },
    findings: { 'jail honeyport in ETC/fail2ban/jail.d/honeyport.conf': ['/other'] },
  },
  {
    title: 'a later file of the directory wins',
    files: {
      'fail2ban/jail.d/a.conf': '[honeyport]\nlogpath = /other\n',
      'fail2ban/jail.d/b.conf': `[honeyport]\nlogpath = ${LOG}\n`,
    },
    findings: {},
  },
  {
    title: '.local wins over .conf, whatever their names',
    files: {
      'fail2ban/jail.d/a.local': '[honeyport]\nlogpath = /other\n',
      'fail2ban/jail.d/b.conf': `[honeyport]\nlogpath = ${LOG}\n`,
    },
    findings: { 'jail honeyport in ETC/fail2ban/jail.d/a.local': ['/other'] },
  },
  {
    title: 'jail.local wins over jail.conf and jail.d/*.conf',
    files: {
      'fail2ban/jail.conf': '[honeyport]\nlogpath = /first\n',
      'fail2ban/jail.d/a.conf': '[honeyport]\nlogpath = /second\n',
      'fail2ban/jail.local': `[honeyport]\nlogpath = ${LOG}\n`,
    },
    findings: {},
  },
  {
    title: 'a later file that says nothing of the log leaves it',
    files: {
      'fail2ban/jail.conf': '[honeyport]\nlogpath = /other\n',
      'fail2ban/jail.local': '[honeyport]\nenabled = true\n',
    },
    findings: { 'jail honeyport in ETC/fail2ban/jail.conf': ['/other'] },
  },
  {
    title: 'the log stands on a continuation line',
    files: { 'fail2ban/jail.local': `[honeyport]\nlogpath = /other\n   # a comment\n   ${LOG}\n` },
    findings: {},
  },
  {
    title: 'other logs stand on continuation lines',
    files: {
      'fail2ban/jail.local': '[honeyport]\nlogpath =\n  /one\n\t/two tail\nenabled = true\n  /three\n',
    },
    findings: { 'jail honeyport in ETC/fail2ban/jail.local': ['/one', '/two'] },
  },
  {
    title: 'a pattern covers the log',
    files: {
      'fail2ban/jail.local': '[honeyport]\nlogpath = /var/log/honeyport/*.log\n',
      'logrotate.d/honeyport': '/var/log/honeyport/h?neyport.[a-l]og {\n}\n',
    },
    findings: {},
  },
  {
    title: 'a pattern covers other logs only',
    files: {
      'fail2ban/jail.local': '[honeyport]\nlogpath = /var/log/*.log\n',
      'logrotate.d/honeyport': '/var/log/honeyport/[!h]*.log /var/log/honeyport/honeyport+log [\n',
    },
    findings: {
      'jail honeyport in ETC/fail2ban/jail.local': ['/var/log/*.log'],
      'ETC/logrotate.d/honeyport': ['/var/log/honeyport/[!h]*.log', '/var/log/honeyport/honeyport+log'],
    },
  },
  {
    title: 'a jail has another filter',
    files: {
      'fail2ban/jail.local':
        '[sshd]\nlogpath = /var/log/auth.log\n[honeyport]\nfilter = honeyport-aggressive\nlogpath = /other\n',
    },
    findings: {},
  },
  {
    title: 'a jail of another name has the filter, with a parameter',
    files: { 'fail2ban/jail.local': '[decoy-ssh]\nfilter = honeyport[decoy=ssh]\nlogpath = /other\n' },
    findings: { 'jail decoy-ssh in ETC/fail2ban/jail.local': ['/other'] },
  },
  {
    title: 'one of two jails names another log',
    files: {
      'fail2ban/jail.local': `[honeyport]\nlogpath = ${LOG}\n[again]\nfilter: honeyport\nlogpath: /other\n`,
    },
    findings: { 'jail again in ETC/fail2ban/jail.local': ['/other'] },
  },
  {
    title: 'comments and Windows line ends stand about',
    files: {
      'fail2ban/jail.local': `# [honeyport]\r\n#logpath = /other\r\n[honeyport]\r\nlogpath = ${LOG}\r\n; logpath = /x\r\n`,
    },
    findings: {},
  },
  {
    title: 'logrotate names the log in quotation marks, among others',
    files: { 'logrotate.d/honeyport': `/one /two\n"/with space" "${LOG}" {\n  weekly\n}\n` },
    findings: {},
  },
  {
    title: 'logrotate names other logs',
    files: { 'logrotate.d/honeyport': '# comment\n"/with space/x.log" /two{\n  weekly\n}\n' },
    findings: { 'ETC/logrotate.d/honeyport': ['/with space/x.log', '/two'] },
  },
  {
    title: 'a script of logrotate names the log, and its head another',
    files: {
      'logrotate.d/honeyport': `/other {\n  postrotate\n    ${LOG}\n    /bin/true\n  endscript\n}\n`,
    },
    findings: { 'ETC/logrotate.d/honeyport': ['/other'] },
  },
];

for (const { title, files, findings } of READERS) {
  const counted = Object.keys(findings).length;
  test(`${counted === 0 ? 'no reader' : 'a reader'} is found where ${title}`, (context) => {
    const { etc } = makeHost(context, files);
    const wanted = Object.entries(findings).map(([reader, logs]) => ({
      reader: reader.replace('ETC', etc),
      logs,
    }));
    const found = findOtherLogs(LOG, etc).map(({ reader, logs }) => ({ reader, logs }));
    assert.deepEqual(found, wanted);
  });
}

test('schema prints a JSON Schema of every key', (context) => {
  const { code, stdout, stderr } = makeHost(context, {}).run('schema');
  const { $schema, properties } = JSON.parse(stdout);
  assert.match($schema, /^https?:\/\/json-schema\.org\/draft/);
  assert.ok('decoys' in properties && 'log' in properties);
  assert.equal(stderr, '');
  assert.equal(code, 0);
});

test('schema prints that of dome9.yaml, too', (context) => {
  const { run } = makeHost(context, {});
  const { code, stdout } = run('schema', 'dome9');
  assert.equal(code, 0);
  assert.ok('max_items' in JSON.parse(stdout).properties, stdout);
  assert.deepEqual(run('schema', 'honeyport'), run('schema'));
});

const COMMANDS = ['run', 'check', 'schema', 'allow', 'why', 'dome9'];
const ARGUMENTS: Readonly<Record<string, string>> = {
  allow: ' [command]',
  why: ' <address>',
  schema: ' [file]',
  dome9: ' [command]',
};

for (const command of COMMANDS) {
  test(`${command} has help of its own`, (context) => {
    const { run } = makeHost(context, {});
    const help = run(command, '--help');
    const usage = `Usage: honeyport ${command} [options]${ARGUMENTS[command] ?? ''}\n\n`;
    assert.ok(help.stdout.startsWith(usage), help.stdout);
    assert.match(help.stdout.slice(usage.length), /^[A-Z].*\.\n/s);
    assert.deepEqual([help.code, help.stderr], [0, '']);
    assert.deepEqual(run('help', command), help);
    assert.deepEqual(run(command, '-h'), help);
  });
}

test('the help names every command, and without arguments it is the answer to a mistake', (context) => {
  const { run } = makeHost(context, {});
  const help = run('--help');
  assert.deepEqual([help.code, help.stderr], [0, '']);
  for (const command of COMMANDS) assert.match(help.stdout, new RegExp(`^  ${command} `, 'm'));
  assert.deepEqual(run(), { code: 2, stdout: '', stderr: help.stdout });
});

test('the version is that of the package, everywhere', (context) => {
  const { run } = makeHost(context, {});
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  for (const args of [
    ['--version'],
    ['-V'],
    ['run', '--version'],
    ['check', '-V'],
    ['schema', '--version'],
    ['allow', 'check', '-V'],
    ['why', '-V'],
    ['dome9', '-V'],
    ['dome9', 'status', '--version'],
  ])
    assert.deepEqual(run(...args), { code: 0, stdout: `${version}\n`, stderr: '' });
});

interface Host {
  /** What is /etc for the honeyport that `run` starts. */
  readonly etc: string;
  readonly cwd: string;
  run(...args: string[]): { code: number | null; stdout: string; stderr: string };
}

/** A host whose /etc has these files and no others; the mount that makes it so goes with the process. */
function makeHost(context: TestContext, files: Readonly<Record<string, string>>): Host {
  const etc = temporaryDirectory(context);
  const cwd = temporaryDirectory(context);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(etc, name)), { recursive: true });
    writeFileSync(join(etc, name), text);
  }
  const script = 'mount --bind "$1" /etc; shift; exec "$@"';
  const unshare = [
    requireProgram('unshare'),
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-ec',
    script,
    'sh',
  ];
  const [command, ...before] = [...unshare, etc, process.execPath, CLI];
  // Node warns of certificates in /etc that its environment names
  const env = { PATH: process.env.PATH };
  const run = (...args: string[]) => {
    const result = spawnSync(command!, [...before, ...args], {
      cwd,
      env,
      encoding: 'utf8',
      timeout: RUN_TIMEOUT_MS,
    });
    return { code: result.status, stdout: result.stdout, stderr: result.stderr };
  };
  return { etc, cwd, run };
}
