import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  fail2banArgv,
  makeConfiguration,
  RELEASES,
  type Release,
  temporaryDirectory,
} from '../support/fail2ban.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** Ways to spoil the filter: the samples are worth something only if they notice each. */
const MUTATIONS: readonly { what: string; change: (filter: string) => string }[] = [
  { what: 'the anchor of the syslog form is dropped', change: swap('= ^<_syslog>', '= <_syslog>') },
  { what: 'the anchor of the RFC 5424 form is dropped', change: swap('^<_rfc5424>', '<_rfc5424>') },
  { what: 'every event word is taken', change: swap('_connect = connect ', '_connect = \\w+ ') },
  { what: 'an event word that ends in connect is taken', change: swap('= connect ', '= \\w*connect ') },
  { what: 'every tag is taken', change: swap('_daemon = honeyport', '_daemon = [^\\s\\[]+') },
  {
    what: 'a tag that begins like ours is taken',
    change: swap('_daemon = honeyport', '_daemon = honeyport\\w*'),
  },
  { what: 'the tag is optional', change: swap(' <_daemon>\\[\\d{1,10}\\]:?', '(?: <_daemon>\\[\\d+\\]:?)?') },
  { what: 'the process id is optional', change: swap('\\[\\d{1,10}\\]:?', '(?:\\[\\d+\\])?:?') },
  { what: 'the id is not required', change: swap(/ id=.*<\/F-EVENTID>/, '') },
  { what: 'the id may be empty', change: swap('\\.\\d{1,20}', '\\.\\d*') },
  { what: 'anything may follow the id', change: swap('(?:\\s|$)\n', '\n') },
  { what: 'the id replaces the address', change: swap(/F-EVENTID/g, 'F-ID') },
  { what: 'text may stand before src', change: swap('= connect <', '= connect .*<') },
  { what: 'text may stand before connect', change: swap('<_syslog> {1,2}', '<_syslog> .*') },
  { what: 'every protocol is taken', change: swap('proto=tcp', 'proto=\\w+') },
  { what: 'names are looked up', change: swap('<ADDR>', '<HOST>') },
  { what: 'a tag of the line is lost', change: swap('dpt=<F-DPT>\\d{1,5}</F-DPT>', 'dpt=\\d{1,5}') },
  { what: 'the decoy is compared only with the start', change: swap('</F-DECOY> id', '</F-DECOY>\\S* id') },
  { what: 'the alternatives of decoy are not grouped', change: swap(/<F-DECOY>|<\/F-DECOY>/g, '') },
  {
    what: 'structured data may hold anything',
    change: swap(/_structured_data = .*/, '_structured_data = .*'),
  },
  { what: 'structured data is not taken', change: swap(/_structured_data = .*/, '_structured_data = -') },
  { what: 'the date may stand anywhere', change: swap('= ^(?:<\\d{1,3}>1 )?', '= ') },
  { what: 'the zone is not read', change: swap('(?:\\.%%f)?%%z', '') },
  { what: 'the traditional date is not read', change: swap(/^ +\^%%b.*$/m, '') },
];

/** Replaces one part of the filter, and insists that it was there: a mutation that changes nothing proves nothing. */
function swap(part: string | RegExp, by: string): (filter: string) => string {
  return (filter) => {
    const changed = filter.replace(part, () => by);
    assert.notEqual(changed, filter, `Expected ${part} in the filter, got none`);
    return changed;
  };
}

for (const release of RELEASES) {
  describe(`the filter with ${release === 'host' ? "this machine's" : "Debian 13's"} fail2ban`, () => {
    let directory: string;

    before(() => {
      directory = temporaryDirectory();
      makeConfiguration(join(directory, 'etc'), release);
      cpSync(HERE, join(directory, 'test'), { recursive: true });
    });
    after(() => rmSync(directory, { recursive: true, force: true }));

    test('takes and refuses the sample lines as they say', () => {
      const { code, output } = runSamples(release, directory);
      assert.equal(code, 0, output);
      assert.match(output, /^Ran 1 test/m);
    });

    for (const { what, change } of MUTATIONS) {
      test(`is caught by the samples when ${what}`, (context) => {
        const file = join(directory, 'etc/filter.d/honeyport.conf');
        const original = readFileSync(file, 'utf8');
        context.after(() => writeFileSync(file, original));
        writeFileSync(file, change(original));
        const { code, output } = runSamples(release, directory);
        assert.equal(code, 1, output);
        // A filter that does not compile would fail, too, and say nothing about the samples.
        assert.match(output, /^AssertionError: honeyport/m);
      });
    }
  });
}

function runSamples(release: Release, directory: string): { code: number | null; output: string } {
  const script = join(directory, 'test/sample-factory.py');
  const python = ['python3', script, join(directory, 'etc'), join(directory, 'test/samples')];
  const [command, ...args] = fail2banArgv(release, python, [directory]);
  const { status, stdout, stderr } = spawnSync(command!, args, { encoding: 'utf8', timeout: 60_000 });
  return { code: status, output: stdout + stderr };
}
