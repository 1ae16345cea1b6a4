import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_LEFTOVERS, planText } from '../../src/setup/plan.ts';

test('no name of a file in a plan steers the terminal or begins a line', () => {
  const text = planText({
    verb: 'install',
    root: '/image',
    lines: ['! /etc/fail2ban/jail.d/a\n+ /etc/shadow \x1b[2J'],
    refusals: [],
    notes: [],
    checks: [],
    steps: [],
    leftovers: NO_LEFTOVERS,
  });
  assert.equal(text, '! /etc/fail2ban/jail.d/a\\x0a+ /etc/shadow \\x1b[2J\n');
});
