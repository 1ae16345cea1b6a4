import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { createWantedReader, WantedError } from '../../src/dome9/wanted.ts';
import { temporaryDirectory } from '../support/directory.ts';
import { recordBans } from '../support/dome9-service.ts';

const BAN = { ip: '192.0.2.7', since: 1_764_000_000, until: 1_764_086_400 };

/** A state directory with an empty one for what is wanted. */
function stateOf(context: TestContext) {
  const state = temporaryDirectory(context);
  const directory = join(state, 'wanted');
  mkdirSync(directory);
  return {
    state,
    directory,
    reader: createWantedReader(state),
    write: (name: string, content: unknown) =>
      writeFileSync(
        join(directory, name),
        typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content),
      ),
  };
}

function jail(bans: unknown, more: object = {}) {
  return { version: 1, jail: 'honeyport', leftOut: 0, bans, ...more };
}

function refusal(read: () => unknown): string {
  try {
    read();
    return 'nothing was refused';
  } catch (error) {
    assert.ok(error instanceof WantedError, String(error));
    return error.message;
  }
}

test('what the action has recorded is wanted, with everything that it says', (context) => {
  const { state, directory, reader } = stateOf(context);
  recordBans(state, [
    { ...BAN, dpt: 23, decoy: 'telnet', id: '7f3k9q2x.42' },
    { ip: '2001:db8::/32', since: 5, until: null },
  ]);
  assert.equal(reader.directory, directory);
  const { wants, leftOut } = reader.read();
  assert.equal(leftOut, 0);
  assert.deepEqual(
    [...wants],
    [
      ['192.0.2.7', { ...BAN, jail: 'honeyport', decoyPort: 23, decoy: 'telnet', eventId: '7f3k9q2x.42' }],
      [
        '2001:db8::/32',
        {
          ip: '2001:db8::/32',
          since: 5,
          until: null,
          jail: 'honeyport',
          decoyPort: undefined,
          decoy: undefined,
          eventId: undefined,
        },
      ],
    ],
  );
});

test('an empty directory wants nothing, and a jail without bans neither', (context) => {
  const { reader, write } = stateOf(context);
  assert.equal(reader.read().wants.size, 0);
  write('a.json', { version: 1, jail: 'a', bans: [] });
  assert.deepEqual([...reader.read().wants], []);
});

test('without the directory it cannot be known what is wanted, and it is said what to do', (context) => {
  const state = temporaryDirectory(context);
  const reader = createWantedReader(state);
  assert.match(
    refusal(() => reader.read()),
    /\/wanted is not there: no jail of fail2ban with the action honeyport-dome9\.py and this state= has started yet$/,
  );
  writeFileSync(join(state, 'wanted'), '');
  assert.match(
    refusal(() => reader.read()),
    /^cannot read .*\/wanted: ENOTDIR/,
  );
});

test('addresses have one form, and a network of one address is that address', (context) => {
  const { reader, write } = stateOf(context);
  const forms = ['192.0.2.1/32', '::ffff:192.0.2.2', '2001:DB8:0::1', '2001:db8::2/128', '10.0.0.0/8'];
  write('a.json', jail(forms.map((ip) => ({ ...BAN, ip }))));
  assert.deepEqual(
    [...reader.read().wants.keys()],
    ['192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2', '10.0.0.0/8'],
  );
});

test('of an address that several jails want, or one twice, the ban that lasts longest counts', (context) => {
  const { state, reader } = stateOf(context);
  recordBans(state, [{ ...BAN, until: 2_000_000_000 }, { ip: '192.0.2.8' }], 'a');
  recordBans(state, [{ ...BAN, until: null }, BAN], 'b');
  recordBans(state, [{ ...BAN, ip: '::ffff:192.0.2.7', until: 2_100_000_000 }], 'c');
  const { wants } = reader.read();
  assert.deepEqual([...wants.keys()].sort(), ['192.0.2.7', '192.0.2.8']);
  const { until, jail } = wants.get('192.0.2.7')!;
  assert.deepEqual([until, jail], [null, 'b']);
});

test('what the jails left out is added up', (context) => {
  const { reader, write } = stateOf(context);
  write('a.json', jail([BAN], { leftOut: 3 }));
  write('b.json', { version: 1, jail: 'b', bans: [] });
  write('c.json', jail([], { leftOut: 4 }));
  assert.equal(reader.read().leftOut, 7);
});

const BROKEN: readonly (readonly [title: string, content: unknown, why: RegExp])[] = [
  ['an empty file', '', /JSON/],
  ['a cut file', '{"version":1,"jail":"a","bans":[{"ip":"192.0.2.1"', /JSON/],
  ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0xfe]), /JSON/],
  ['a list', [jail([])], /expected the file to be a mapping/],
  ['null', 'null', /expected the file to be a mapping/],
  ['another version', jail([], { version: 2 }), /expected version 1; is fail2ban\/ of the same release/],
  ['no version', { jail: 'a', bans: [] }, /expected version 1/],
  ['no jail', { version: 1, bans: [] }, /expected jail to be a text/],
  ['no bans', { version: 1, jail: 'a' }, /expected bans to be a list/],
  ['bans that are none', jail({}), /expected bans to be a list/],
  ['left out that is no number', jail([], { leftOut: '1' }), /expected leftOut to be a number/],
  ['left out that is null', jail([], { leftOut: null }), /expected leftOut to be a number/],
  ['a ban that is none', jail([BAN, '192.0.2.1']), /expected ban 2 to be a mapping/],
  ['a ban that is null', jail([null]), /expected ban 1 to be a mapping/],
  ['no address', jail([{ since: 1, until: 2 }]), /ban 1: expected ip to be an address/],
  ['a host name', jail([{ ...BAN, ip: 'a.example' }]), /ban 1: expected ip to be an IPv4 or IPv6 address/],
  ['bits beyond the prefix', jail([{ ...BAN, ip: '10.0.0.1/8' }]), /ban 1: expected ip to be no bits/],
  ['an address with a zone', jail([{ ...BAN, ip: 'fe80::1%eth0' }]), /ban 1: expected ip/],
  ['no beginning', jail([{ ip: '192.0.2.1', until: 2 }]), /ban 1: expected since/],
  ['a beginning before all time', jail([{ ...BAN, since: -1 }]), /ban 1: expected since/],
  ['no end', jail([{ ip: '192.0.2.1', since: 2 }]), /ban 1: expected until .*, or null/],
  ['an end that is a text', jail([{ ...BAN, until: '2' }]), /ban 1: expected until/],
  ['an end beyond the year 9999', jail([{ ...BAN, until: 253_402_300_800 }]), /ban 1: expected until/],
  [
    'an end beyond numbers',
    `{"version":1,"jail":"a","bans":[{"ip":"::1","since":1,"until":1e999}]}`,
    /until/,
  ],
  ['port 0', jail([{ ...BAN, dpt: 0 }]), /ban 1: expected dpt to be a port/],
  ['port 65536', jail([{ ...BAN, dpt: 65_536 }]), /ban 1: expected dpt to be a port/],
  ['half a port', jail([{ ...BAN, dpt: 22.5 }]), /ban 1: expected dpt to be a port/],
  ['a decoy with a blank', jail([{ ...BAN, decoy: 'a b' }]), /ban 1: expected decoy to be a decoy's name/],
  ['a decoy with a line break', jail([{ ...BAN, decoy: 'a\n' }]), /ban 1: expected decoy/],
  ['an event that is none', jail([{ ...BAN, id: 'x' }]), /ban 1: expected id to be an event's id/],
  ['an event with more', jail([{ ...BAN, id: 'x.1 jail=sshd' }]), /ban 1: expected id/],
  ['an event that is null', jail([{ ...BAN, id: null }]), /ban 1: expected id/],
];

for (const [title, content, why] of BROKEN) {
  test(`a record with ${title} is refused by its name, and nothing of the others is taken`, (context) => {
    const { state, directory, reader, write } = stateOf(context);
    recordBans(state, [{ ip: '198.51.100.1' }], 'a');
    assert.equal(reader.read().wants.size, 1);
    write('b.json', content);
    const message = refusal(() => reader.read());
    assert.ok(message.startsWith(`cannot use ${join(directory, 'b.json')}: `), message);
    assert.ok(message.endsWith('; nothing is changed until it can be read'), message);
    assert.match(message, why);
    assert.equal(
      refusal(() => reader.read()),
      message,
    );
    rmSync(join(directory, 'b.json'));
    assert.deepEqual([...reader.read().wants.keys()], ['198.51.100.1']);
  });
}

test('whatever a file says, it is wanted whole or refused by its name', (context) => {
  const { directory, reader, write } = stateOf(context);
  const value = fc.oneof(fc.constantFrom(null, 0, 1, -1, 1.5, '', '192.0.2.1', [], {}, true), fc.string());
  const ban = fc.record(
    { ip: value, since: value, until: value, dpt: value, decoy: value, id: value },
    { requiredKeys: [] },
  );
  const file = fc.record(
    {
      version: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, value),
      jail: fc.oneof({ weight: 9, arbitrary: fc.constant('a') }, value),
      leftOut: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, value),
      bans: fc.oneof({ weight: 9, arbitrary: fc.array(fc.oneof(ban, fc.constant(BAN), value)) }, value),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(file, (content) => {
      write('a.json', content);
      let read: readonly string[];
      try {
        read = [...reader.read().wants.keys()];
      } catch (error) {
        if (!(error instanceof WantedError)) throw error;
        assert.ok(error.message.startsWith(`cannot use ${directory}/a.json: `), error.message);
        return;
      }
      const ips = (content.bans as { ip: string }[]).map(({ ip }) => ip);
      assert.deepEqual(read.toSorted(), [...new Set(ips)].sort());
    }),
    { numRuns: 150 },
  );
});

test('hidden files and those of other names are no record of a jail', (context) => {
  const { state, directory, reader, write } = stateOf(context);
  recordBans(state, [BAN]);
  for (const name of [
    '.honeyport.tmp',
    '.json',
    '.a.json',
    'a.json.new',
    'a.txt',
    'json',
    'a.JSON',
    'a.json~',
  ])
    write(name, 'nonsense');
  mkdirSync(join(directory, 'directory'));
  assert.deepEqual([...reader.read().wants.keys()], [BAN.ip]);
});

test('what is no regular file of its own is refused without waiting', (context) => {
  const { directory, reader } = stateOf(context);
  const at = (name: string) => join(directory, name);
  writeFileSync(at('real'), JSON.stringify(jail([BAN])));
  const refused = (name: string) => {
    const message = refusal(() => reader.read());
    assert.ok(message.startsWith(`cannot use ${at(name)}: `), message);
    rmSync(at(name), { recursive: true });
    return message;
  };
  symlinkSync('real', at('link.json'));
  assert.match(refused('link.json'), /ELOOP/);
  symlinkSync('nowhere', at('dangling.json'));
  assert.match(refused('dangling.json'), /ENOENT/);
  execFileSync('mkfifo', [at('fifo.json')]);
  assert.match(refused('fifo.json'), /it is not a regular file/);
  mkdirSync(at('directory.json'));
  assert.match(refused('directory.json'), /it is not a regular file/);
  writeFileSync(at('large.json'), '');
  truncateSync(at('large.json'), (32 << 20) + 1);
  assert.match(refused('large.json'), /it has 33554433 bytes/);
  assert.equal(reader.read().wants.size, 0);
});

test('64 jails are read, and more are refused', (context) => {
  const { directory, reader, write } = stateOf(context);
  for (let n = 0; n < 64; n++) write(`jail-${n}.json`, jail([{ ...BAN, ip: `192.0.2.${n}` }]));
  assert.equal(reader.read().wants.size, 64);
  write('one-more.json', jail([]));
  assert.equal(
    refusal(() => reader.read()),
    `cannot read ${directory}: expected at most 64 files, got 65`,
  );
});

test('it is the same object as before while no file has changed', (context) => {
  const { state, directory, reader, write } = stateOf(context);
  assert.equal(reader.read(), reader.read());
  recordBans(state, [BAN], 'a');
  const first = reader.read();
  assert.equal(reader.read(), first);
  write('.hidden', 'x');
  assert.equal(reader.read(), first);

  recordBans(state, [BAN], 'a');
  const renewed = reader.read();
  assert.notEqual(renewed, first);
  assert.deepEqual(renewed, first);

  renameSync(join(directory, 'a.json'), join(directory, 'b.json'));
  assert.notEqual(reader.read(), renewed);

  const before = reader.read();
  recordBans(state, [], 'c');
  const two = reader.read();
  assert.notEqual(two, before);
  rmSync(join(directory, 'c.json'));
  assert.notEqual(reader.read(), two);
  rmSync(join(directory, 'b.json'));
  assert.equal(reader.read().wants.size, 0);
});

test('a file that is written over in its place is read again, also with its old size and time', (context) => {
  const { directory, reader, write } = stateOf(context);
  write('a.json', jail([{ ...BAN, ip: '192.0.2.1' }]));
  utimesSync(join(directory, 'a.json'), 1000, 1000);
  assert.deepEqual([...reader.read().wants.keys()], ['192.0.2.1']);
  write('a.json', jail([{ ...BAN, ip: '192.0.2.2' }]));
  utimesSync(join(directory, 'a.json'), 1001, 1001);
  assert.deepEqual([...reader.read().wants.keys()], ['192.0.2.2']);
  write('b.json', jail([{ ...BAN, ip: '192.0.2.3' }]));
  utimesSync(join(directory, 'b.json'), 1001, 1001);
  renameSync(join(directory, 'b.json'), join(directory, 'a.json'));
  assert.deepEqual([...reader.read().wants.keys()], ['192.0.2.3']);
});

test('100,000 bans are read', (context) => {
  const { reader, write } = stateOf(context);
  const bans = Array.from({ length: 100_000 }, (_, at) => ({
    ...BAN,
    ip: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`,
    dpt: 65_535,
  }));
  write('a.json', jail(bans));
  const wanted = reader.read();
  assert.equal(wanted.wants.size, 100_000);
  assert.equal(wanted.wants.get(bans.at(-1)!.ip)?.decoyPort, 65_535);
  assert.equal(reader.read(), wanted);
});

test('a record cannot leave out less than nothing', (context) => {
  const { reader, write } = stateOf(context);
  write('a.json', jail([], { leftOut: -5 }));
  assert.match(
    refusal(() => reader.read()),
    /a\.json: expected leftOut/,
  );
});
